"""An event loop in a thread of its own, and one in a process of its own."""

import asyncio
import os
import threading
from concurrent.futures import ProcessPoolExecutor


async def work(n):
    await asyncio.sleep(0.01)
    return n * n, os.getpid(), threading.get_ident()


def run_in_its_own_loop(n):
    return asyncio.run(work(n))


def main():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    square, process, ident = asyncio.run_coroutine_threadsafe(work(3), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    print(f"in a thread: {square}")
    assert (square, process) == (9, os.getpid())
    assert ident != threading.get_ident()

    with ProcessPoolExecutor(1) as executor:
        square, process, _ = executor.submit(run_in_its_own_loop, 4).result(60)
    print(f"in a process: {square}")
    assert square == 16
    assert process != os.getpid()


if __name__ == "__main__":
    main()

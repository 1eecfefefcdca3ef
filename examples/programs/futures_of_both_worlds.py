"""Futures of threads and of asyncio side by side.

Named tasks, `asyncio.wait` with a timeout, a future that another task sets, `wrap_future`, the
default executor and one of one's own.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

held = threading.Event()


def greet(name):
    return f"hello {name}"


def blocked():
    assert held.wait(60)
    return "released"


async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2, thread_name_prefix="own") as executor:

        async def call(name):
            return await loop.run_in_executor(executor, greet, name)

        tasks = [asyncio.create_task(call(name), name=f"task of {name}") for name in ("ada", "bob")]
        done, pending = await asyncio.wait(tasks, timeout=60)
        assert not pending
        for task in sorted(done, key=asyncio.Task.get_name):
            print(f"{task.get_name()}: {task.result()}")

        slow = executor.submit(blocked)  # a concurrent.futures.Future
        awaitable = asyncio.wrap_future(slow)
        done, pending = await asyncio.wait([awaitable], timeout=0.02)
        print(f"asyncio.wait with a timeout: {len(done)} done, {len(pending)} pending")
        assert not done
        held.set()
        print("wrap_future:", await awaitable)
        assert awaitable.result() == slow.result() == "released"

        promise = loop.create_future()
        asyncio.create_task(call("the future")).add_done_callback(
            lambda task: promise.set_result(task.result())
        )
        print("set by another task:", await promise)

        name = await loop.run_in_executor(executor, lambda: threading.current_thread().name)
        default = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        print("threads:", name.partition("_")[0], "and", default.partition("_")[0])
        assert name.startswith("own_")
        assert default.startswith("asyncio_")


asyncio.run(main())

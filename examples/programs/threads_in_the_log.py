"""Six blocking calls on 3 threads, and `asyncio.wait`: each thread takes two of them.

The log goes to standard error; it has the threads' names, and any order.
"""

import asyncio
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

three_together = threading.Barrier(3, timeout=60)


def blocking_call(number):
    three_together.wait()
    logging.info("call %d", number)
    return threading.current_thread().name


async def main():
    logging.basicConfig(level=logging.INFO, format="%(threadName)s: %(message)s")
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(3, thread_name_prefix="worker") as executor:
        calls = [loop.run_in_executor(executor, blocking_call, n) for n in range(6)]
        done, pending = await asyncio.wait(calls, timeout=60)
    assert not pending
    used = Counter(call.result() for call in done)
    for name, times in sorted(used.items()):
        print(f"{name}: {times} calls")
    assert used == {"worker_0": 2, "worker_1": 2, "worker_2": 2}


asyncio.run(main())

"""Six blocking calls on 3 processes, and `asyncio.wait`: each process takes two of them.

The log goes to standard error; it has process ids, and any order.
"""

import asyncio
import logging
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor


def initialize(barrier):
    global three_together
    three_together = barrier
    logging.basicConfig(level=logging.INFO, format="%(process)d: %(message)s")


def blocking_call(number):
    three_together.wait(60)
    logging.info("call %d", number)
    return os.getpid()


async def main():
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(3, context, initialize, (context.Barrier(3),)) as executor:
        calls = [loop.run_in_executor(executor, blocking_call, n) for n in range(6)]
        done, pending = await asyncio.wait(calls, timeout=60)
    assert not pending
    used = Counter(call.result() for call in done)
    print(f"{len(used)} processes, with {' and '.join(map(str, used.values()))} calls")
    assert sorted(used.values()) == [2, 2, 2]
    assert os.getpid() not in used


if __name__ == "__main__":
    asyncio.run(main())

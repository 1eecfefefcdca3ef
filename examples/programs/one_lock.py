"""Coroutines gathered; and ten threads that increment one number under a lock."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

lock = threading.Lock()
all_ten = threading.Barrier(10, timeout=60)
number = 0


async def double(n):
    await asyncio.sleep(0)
    return 2 * n


def increment():
    global number
    all_ten.wait()
    with lock:
        number += 1


async def main():
    doubled = await asyncio.gather(*map(double, range(5)))
    print("coroutines:", doubled)
    assert doubled == [0, 2, 4, 6, 8]

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(10) as executor:
        await asyncio.gather(*(loop.run_in_executor(executor, increment) for _ in range(10)))
    print("ten threads:", number)
    assert number == 10


asyncio.run(main())

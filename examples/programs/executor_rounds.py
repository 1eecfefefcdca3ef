"""16 blocking calls on 4 threads, gathered: 4 rounds of 4."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

CALLS, THREADS = 16, 4
rounds = 0


def count_round():
    global rounds
    rounds += 1


# Each call waits until four are there; a fifth thread would break the count.
four_together = threading.Barrier(THREADS, action=count_round, timeout=60)


def blocking_call(number):
    four_together.wait()
    return number


async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=THREADS) as executor:
        calls = [loop.run_in_executor(executor, blocking_call, n) for n in range(CALLS)]
        results = await asyncio.gather(*calls)
    print(f"{CALLS} blocking calls on {THREADS} threads took {rounds} rounds")
    assert results == list(range(CALLS))
    assert rounds == CALLS // THREADS


asyncio.run(main())

"""Eight CPU-bound calls on 4 processes, gathered: every process takes its share."""

import asyncio
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

CALLS, PROCESSES = 8, 4


def initialize(barrier):
    global all_together
    all_together = barrier


def sum_of_squares(n):
    all_together.wait(60)  # passes only if each process runs one call now
    return os.getpid(), sum(i * i for i in range(n))


async def main():
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("forkserver")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, initialize, (barrier,)) as executor:
        calls = [loop.run_in_executor(executor, sum_of_squares, 20_000) for _ in range(CALLS)]
        results = await asyncio.gather(*calls)
    processes = {pid for pid, _ in results}
    print(f"{CALLS} calls ran in {len(processes)} processes; this one ran none of them")
    assert len(processes) == PROCESSES
    assert os.getpid() not in processes
    assert {total for _, total in results} == {2_666_466_670_000}


if __name__ == "__main__":
    asyncio.run(main())

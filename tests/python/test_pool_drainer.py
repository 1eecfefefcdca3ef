"""Who reads completions: the role passes between threads, loops and the supervisor, losing none.

Every kind of waiting is mixed here: blocked threads, event loops, the standard library's `wait`
and `as_completed`, callbacks, polling; each task's outcome arrives exactly once, everywhere.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

import manyhands as mh
import pool_tasks as tasks

# The first loop opens libuv's own pipe for signals, which stays open for ever.
uvloop.new_event_loop().close()

Way = Callable[[mh.Pool, range], list[int]]
"""Submits `identity` for each number, waits in its own way, gives the results in order."""


def by_result(pool: mh.Pool, numbers: range) -> list[int]:
    return [pool.submit(tasks.identity, number).result() for number in numbers]


def by_results_at_the_end(pool: mh.Pool, numbers: range) -> list[int]:
    futures = [pool.submit(tasks.identity, number) for number in numbers]
    return [future.result() for future in futures]


def by_short_timeouts(pool: mh.Pool, numbers: range) -> list[int]:
    def patiently(future: mh.Future[int]) -> int:
        while True:
            try:
                return future.result(random.choice([0, 1e-6, 1e-4, 1e-3]))
            except TimeoutError:
                continue

    return [patiently(pool.submit(tasks.identity, number)) for number in numbers]


def by_gather(pool: mh.Pool, numbers: range) -> list[int]:
    async def main() -> list[int]:
        return await asyncio.gather(*[pool.submit(tasks.identity, n) for n in numbers])

    return asyncio.run(main())


def by_single_awaits(pool: mh.Pool, numbers: range) -> list[int]:
    async def main() -> list[int]:
        return [await pool.submit(tasks.async_sleep, 0, number) for number in numbers]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def by_cancelled_awaits(pool: mh.Pool, numbers: range) -> list[int]:
    async def main() -> list[int]:
        results = []
        for number in numbers:
            waiting = asyncio.ensure_future(pool.submit(tasks.identity, number))
            for _ in range(random.randrange(3)):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            results.append(await pool.submit(tasks.identity, number))
        return results

    return asyncio.run(main())


def by_run_in_executor(pool: mh.Pool, numbers: range) -> list[int]:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *[loop.run_in_executor(pool, tasks.identity, number) for number in numbers]
        )

    return asyncio.run(main())


def by_wait(pool: mh.Pool, numbers: range) -> list[int]:
    futures: list[cf.Future[int]] = [pool.submit(tasks.identity, number) for number in numbers]
    left = set(futures)
    while left:
        _, left = cf.wait(left, return_when=cf.FIRST_COMPLETED)
    return [future.result(0) for future in futures]


def by_as_completed(pool: mh.Pool, numbers: range) -> list[int]:
    futures = [pool.submit(tasks.identity, number) for number in numbers]
    return sorted(future.result(0) for future in cf.as_completed(futures))


def by_callbacks(pool: mh.Pool, numbers: range) -> list[int]:
    results: list[int] = []
    for number in numbers:
        future = pool.submit(tasks.identity, number)
        future.add_done_callback(lambda ended: results.append(ended.result(0)))
    tasks.until(lambda: len(results) >= len(numbers))
    return sorted(results)


def by_polling(pool: mh.Pool, numbers: range) -> list[int]:
    futures = [pool.submit(tasks.identity, number) for number in numbers]
    for future in futures:
        while not future.done():
            time.sleep(0)
    return [future.result(0) for future in futures]


def by_map(pool: mh.Pool, numbers: range) -> list[int]:
    return list(pool.map(tasks.identity, numbers))


def by_unordered_map(pool: mh.Pool, numbers: range) -> list[int]:
    return sorted(pool.map(tasks.identity, numbers, ordered=False))


def by_async_map(pool: mh.Pool, numbers: range) -> list[int]:
    async def main() -> list[int]:
        return await pool.map(tasks.async_square, numbers)

    return [round(number**0.5) for number in asyncio.run(main())]


WAYS: list[Way] = [
    by_result,
    by_results_at_the_end,
    by_short_timeouts,
    by_gather,
    by_single_awaits,
    by_cancelled_awaits,
    by_run_in_executor,
    by_wait,
    by_as_completed,
    by_callbacks,
    by_polling,
    by_map,
    by_unordered_map,
    by_async_map,
]


def together(pool: mh.Pool, ways: Sequence[Way], count: int) -> None:
    """Each way in a thread of its own, all at the same time."""
    results: list[list[int] | BaseException | None] = [None] * len(ways)
    start = threading.Barrier(len(ways))

    def go(index: int, way: Way) -> None:
        start.wait()
        try:
            results[index] = way(pool, range(index * count, (index + 1) * count))
        except BaseException as error:
            results[index] = error

    threads = [
        threading.Thread(target=go, args=pair, name=pair[1].__name__) for pair in enumerate(ways)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(i * count, (i + 1) * count)) for i in range(len(ways))]


def test_all_ways_of_waiting_at_once(pool: mh.Pool) -> None:
    for _ in range(5):
        together(pool, WAYS, 100)


@pytest.mark.parametrize("seed", range(15))
def test_any_ways_of_waiting_at_once(pool: mh.Pool, seed: int) -> None:
    """Few at a time, so that roles are handed over often and often to nobody."""
    chosen = random.Random(seed)
    for _ in range(4):
        together(pool, chosen.choices(WAYS, k=chosen.randint(2, 5)), 40)


def test_several_loops_and_threads_share_each_future(pool: mh.Pool) -> None:
    """One task, waited for in every way at once: all see the same one outcome."""
    for round_number in range(10):
        futures = [pool.submit(tasks.sleep, 0.0005, [number]) for number in range(40)]
        seen: list[list[Any]] = []

        def in_thread(futures: Any = futures, seen: Any = seen) -> None:
            seen.append([future.result() for future in futures])

        def in_loop(futures: Any = futures, seen: Any = seen) -> None:
            async def main() -> None:
                seen.append(list(await asyncio.gather(*futures)))

            asyncio.run(main())

        def in_wait(futures: Any = futures, seen: Any = seen) -> None:
            cf.wait(futures)
            seen.append([future.result(0) for future in futures])

        threads = [threading.Thread(target=way) for way in (in_thread, in_loop, in_wait) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 6, round_number
        for outcomes in zip(*seen, strict=True):
            assert all(outcome is outcomes[0] for outcome in outcomes)


def test_a_reader_that_gives_up_hands_over(pool: mh.Pool, tmp_path: Path) -> None:
    """Whoever reads for all times out again and again; the others never wait for it."""
    for number in range(30):
        begun, go = tmp_path / f"begun{number}", tmp_path / f"go{number}"
        slow = pool.submit(tasks.announce_and_wait, str(begun), str(go))
        impatient = [
            threading.Thread(
                target=lambda f=slow, t=0.001 * n: pytest.raises(TimeoutError, f.result, t)
            )
            for n in range(3)
        ]
        for thread in impatient:
            thread.start()
        assert pool.submit(tasks.square, 3).result() == 9
        for thread in impatient:
            thread.join()
        go.touch()
        slow.result()


def test_a_busy_loop_does_not_keep_threads_waiting(pool: mh.Pool) -> None:
    """The loop has the role and is then held up by its own program."""
    held_up, release = threading.Event(), threading.Event()

    async def main() -> int:
        waiting = asyncio.ensure_future(pool.submit(tasks.sleep, 0.05, 7))
        await asyncio.sleep(0.01)
        held_up.set()
        release.wait(tasks.PATIENCE)
        return await waiting

    with cf.ThreadPoolExecutor(1) as other:
        looped = other.submit(asyncio.run, main())
        held_up.wait(tasks.PATIENCE)
        try:
            futures = [pool.submit(tasks.square, number) for number in range(6000)]
            assert [future.result() for future in futures] == [n * n for n in range(6000)]
        finally:
            release.set()
        assert looped.result() == 7

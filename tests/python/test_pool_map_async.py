"""`Pool.map` for event loops: async iteration, awaited lists, asynchronous input."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import manyhands as mh
import pool_tasks as tasks

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# The first loop opens libuv's own pipe for signals, which stays open for ever.
uvloop.new_event_loop().close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on a fresh event loop."""

    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            loops.append(weakref.ref(runner.get_loop()))
            return runner.run(main)

    yield run

    def are_gone() -> bool:
        gc.collect()
        return all(loop() is None for loop in loops)

    # (A thread that has just woken one may still hold it.)
    tasks.until(are_gone, "that the pool keeps no loop alive")


async def arange(end: int | None, pause: float | None = None) -> AsyncIterator[int]:
    for number in itertools.count() if end is None else range(end):
        if pause is not None:
            await asyncio.sleep(pause)
        yield number


def touch_numbered(directory: str, number: int) -> int:
    (Path(directory) / str(number)).touch()
    tasks.sleep(0.01)
    return number


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number


async def async_fail_at_seven(number: int) -> int:
    return fail_at_seven(number)


async def wait_backwards(number: int) -> int:
    await asyncio.sleep(0.02 * (3 - number % 4))
    return number


@pytest.mark.parametrize("fn", [tasks.square, tasks.async_square])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    "source", [lambda: range(1500), lambda: arange(1500)], ids=["sync", "async"]
)
def test_iterated_and_awaited_it_gives_all_results(
    pool: mh.Pool, run: Run, fn: Callable[..., Any], ordered: bool, source: Callable[[], Any]
) -> None:
    async def main() -> None:
        iterated = [value async for value in pool.map(fn, source(), ordered=ordered)]
        awaited = await pool.map(fn, source(), ordered=ordered)
        expected = [number**2 for number in range(1500)]
        for results in (iterated, awaited):
            assert (results if ordered else sorted(results)) == expected

    run(main())


def test_coroutines_come_in_order_or_as_they_end(pool: mh.Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        assert await pool.map(wait_backwards, range(12)) == list(range(12))
        go, here = str(tmp_path / "go"), str(tmp_path)
        paths = [go, go, here, go]
        results = pool.map(tasks.async_wait_for_file, paths, ordered=False, chunksize=1)
        iterator = aiter(results)
        assert await anext(iterator) == here
        Path(go).touch()
        assert [value async for value in iterator] == [go] * 3

    run(main())


def test_sync_and_async_iterables_go_side_by_side(pool: mh.Pool, run: Run) -> None:
    async def pairs() -> AsyncIterator[tuple[int, int]]:
        yield 2, 3
        yield 3, 2

    async def main() -> None:
        assert await pool.map(pow, arange(4), [3, 2, 1]) == [0, 1, 2]
        assert await pool.map(pow, itertools.count(), arange(3)) == [1, 1, 4]
        assert await pool.starmap(pow, pairs()) == [8, 9]
        assert await pool.map(tasks.square, []) == []
        assert await pool.map(tasks.square, arange(0)) == []

    run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_slow_asynchronous_input_gives_results_before_it_ends(
    pool: mh.Pool, run: Run, ordered: bool
) -> None:
    received: list[int] = []

    async def source() -> AsyncIterator[int]:
        for number in range(1000):
            yield number
            await asyncio.sleep(0.05)
            if received:
                return
        pytest.fail("no result came while the input went on")

    async def main() -> None:
        async for value in pool.map(tasks.identity, source(), ordered=ordered):
            received.append(value)

    run(main())
    assert sorted(received) == list(range(len(received)))


def test_a_result_comes_while_the_next_input_is_awaited(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        answered = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 1
            await answered.wait()
            yield 2

        results = aiter(pool.map(tasks.square, source()))
        assert await anext(results) == 1
        answered.set()
        assert await anext(results) == 4
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    run(main())


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("buffersize", [1, 10, None])
def test_endless_input_is_read_a_bounded_number_ahead(
    pool: mh.Pool, run: Run, asynchronous: bool, buffersize: int | None
) -> None:
    read = 0

    async def asource() -> AsyncIterator[int]:
        nonlocal read
        for read in itertools.count(1):
            yield read

    def source() -> Iterator[int]:
        nonlocal read
        for read in itertools.count(1):
            yield read

    async def main() -> None:
        given: Any = asource() if asynchronous else source()
        async with contextlib.aclosing(
            pool.map(tasks.identity, given, buffersize=buffersize)
        ) as results:
            count = 0
            async for _ in results:
                count += 1
                assert read - count <= (buffersize or 20_000) + 1
                if count == 3000:
                    break

    run(main())


@pytest.mark.parametrize("fn", [fail_at_seven, async_fail_at_seven])
def test_an_error_comes_at_its_place(pool: mh.Pool, run: Run, fn: Callable[..., Any]) -> None:
    async def main() -> None:
        results: list[int] = []
        with pytest.raises(ValueError, match="seven"):
            async for value in pool.map(fn, arange(None)):
                results.append(value)
        assert results == list(range(7))

    run(main())


@pytest.mark.parametrize("asynchronous", [True, False])
def test_an_error_of_the_input_comes_after_the_results_before_it(
    pool: mh.Pool, run: Run, asynchronous: bool
) -> None:
    async def asource() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        raise KeyError("input")

    def source() -> Iterator[int]:
        yield from range(10)
        raise KeyError("input")

    async def main() -> None:
        results: list[int] = []
        with pytest.raises(KeyError, match="input"):
            async for value in pool.map(tasks.identity, asource() if asynchronous else source()):
                results.append(value)
        assert results == list(range(10))

    run(main())


def test_a_timeout_is_for_the_whole_iteration(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        results = []
        with pytest.raises(TimeoutError):
            async for value in pool.map(tasks.async_sleep, [0.01, 600], "ab", timeout=2):
                results.append(value)
        assert results == ["a"]

    with mh.Pool(1) as own:
        pool = own
        # Its loop has been started.
        assert pool.submit(tasks.async_square, 3).result() == 9
        run(main())
        pool.kill()


@pytest.mark.parametrize("end", ["aclose", "cancel", "drop"])
def test_ending_early_withdraws_what_has_not_begun(
    pool: mh.Pool, run: Run, tmp_path: Path, end: str
) -> None:
    async def main() -> None:
        results = pool.map(touch_numbered, itertools.repeat(str(tmp_path)), arange(None))
        iterator = aiter(results)
        await anext(iterator)
        if end == "aclose":
            await results.aclose()
            await results.aclose()
        elif end == "cancel":
            endless = asyncio.create_task(awaited(pool, tmp_path))
            await asyncio.sleep(0.05)
            endless.cancel()
            with pytest.raises(asyncio.CancelledError):
                await endless
            await results.aclose()
        del results, iterator
        await asyncio.sleep(0.01)

    run(main())
    tasks.until(lambda: pool._status()[1] == 0, "that nothing is in flight")
    assert len(list(tmp_path.iterdir())) < 80


async def awaited(pool: mh.Pool, directory: Path) -> list[int]:
    return await pool.map(touch_numbered, itertools.repeat(str(directory)), arange(None))


def test_the_loop_gets_its_turns_while_results_abound(pool: mh.Pool, run: Run) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async for _ in pool.map(tasks.identity, range(50_000)):
            pass
        ticking.cancel()
        return ticks

    assert run(main()) >= 5


def test_several_maps_may_be_under_way_at_once(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        first, second, third = await asyncio.gather(
            pool.map(tasks.square, range(500)),
            pool.map(tasks.async_square, arange(500)),
            pool.map(tasks.identity, arange(20, 0.001), ordered=False),
        )
        assert first == second == [number**2 for number in range(500)]
        assert sorted(third) == list(range(20))

    run(main())


def test_one_way_of_going_through_excludes_the_others(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        results = pool.map(tasks.square, range(3))
        assert next(results) == 0
        with pytest.raises(RuntimeError, match="being iterated"):
            aiter(results)
        with pytest.raises(RuntimeError, match="once"):
            await results
        other = pool.map(tasks.square, range(3))
        assert await anext(aiter(other)) == 0
        with pytest.raises(RuntimeError, match="async-iterated"):
            next(other)
        await other.aclose()

    run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_item_that_cannot_be_pickled_raises_after_the_results_before_it(
    pool: mh.Pool, run: Run, asynchronous: bool
) -> None:
    items = [*range(25), threading.Lock()]

    async def source() -> AsyncIterator[Any]:
        for item in items:
            yield item

    async def main() -> list[int]:
        results = []
        given = source() if asynchronous else items
        with pytest.raises(TypeError) as caught:
            async for result in pool.map(tasks.identity, given, chunksize=10):
                results.append(result)
        assert "Item 25:" in caught.value.__notes__[-1]
        return results

    assert run(main()) == list(range(20))


def test_results_do_not_wait_for_the_next_items_of_slow_blocking_input(
    pool: mh.Pool, run: Run
) -> None:
    results: list[int] = []
    given_before = 0

    def source() -> Iterator[int]:
        nonlocal given_before
        for number in range(200):
            time.sleep(0.2)
            given_before += len(results) == number
            if given_before > 4:
                return
            yield number

    async def main() -> None:
        async for result in pool.map(tasks.square, source()):
            results.append(result)

    run(main())
    assert results == [n * n for n in range(len(results))]
    assert given_before > 4


def test_a_timeout_ends_the_iteration_also_where_the_input_blocks(pool: mh.Pool, run: Run) -> None:
    def source() -> Iterator[int]:
        while True:
            time.sleep(0.01)
            yield 1

    async def main() -> None:
        async for _ in pool.map(tasks.identity, source(), timeout=0.3):
            pass

    with pytest.raises(TimeoutError):
        run(main())

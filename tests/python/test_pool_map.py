"""`Pool.map` and `starmap` for threads: order, laziness, bounds, errors, endings."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tqdm.auto import tqdm

import manyhands as mh
import pool_tasks as tasks


class Counter:
    """An iterator that knows how far it was read."""

    def __init__(self, end: int | None = None) -> None:
        self.read = 0
        self._end = end

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.read == self._end:
            raise StopIteration
        self.read += 1
        return self.read - 1


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number


def sleep_and_return(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number


def touch_numbered(directory: str, number: int) -> int:
    (Path(directory) / str(number)).touch()
    time.sleep(0.01)
    return number


def inner_map(count: int) -> list[int]:
    with mh.Pool(2) as pool:
        return list(pool.map(tasks.square, range(count)))


def test_gives_results_in_order_of_the_input(pool: mh.Pool) -> None:
    assert list(pool.map(sleep_and_return, range(100))) == list(range(100))
    assert list(pool.map(sleep_and_return, range(100), chunksize=7)) == list(range(100))


def test_gives_results_as_they_come_when_asked(pool: mh.Pool, tmp_path: Path) -> None:
    assert set(pool.map(sleep_and_return, range(100), ordered=False)) == set(range(100))
    go, here = str(tmp_path / "go"), str(tmp_path)
    results = pool.map(tasks.wait_for_file, [go, here, here], ordered=False, chunksize=1)
    assert next(results) == here
    Path(go).touch()
    assert set(results) == {go, here}


def test_iterables_go_side_by_side_and_end_with_the_shortest(pool: mh.Pool) -> None:
    assert list(pool.map(pow, [2, 3, 4], itertools.count(1))) == [2, 9, 64]
    assert list(pool.map(pow, [2, 3], [2, 3], [5, 5])) == [4, 2]
    assert list(pool.map(tasks.square, [])) == []


def test_starmap_takes_tuples_of_arguments(pool: mh.Pool) -> None:
    assert list(pool.starmap(pow, [(2, 5), (3, 2)])) == [32, 9]
    assert list(pool.starmap(pow, ([2, n] for n in range(50)), ordered=True)) == [
        2**n for n in range(50)
    ]


def test_an_argument_that_is_a_tuple_stays_one(pool: mh.Pool) -> None:
    assert list(pool.map(tasks.identity, [(1, 2), (), (3,)])) == [(1, 2), (), (3,)]
    assert list(pool.map(len, [(1, 2), (), (3,)], chunksize=3)) == [2, 0, 1]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    items=st.lists(st.integers() | st.text(max_size=5) | st.binary(max_size=400), max_size=60),
    chunksize=st.none() | st.integers(1, 70),
    buffersize=st.none() | st.integers(1, 70),
    ordered=st.booleans(),
)
def test_is_the_builtin_map_whatever_the_sizes(
    pool: mh.Pool,
    items: list[Any],
    chunksize: int | None,
    buffersize: int | None,
    ordered: bool,
) -> None:
    results = pool.map(
        tasks.identity, items, chunksize=chunksize, buffersize=buffersize, ordered=ordered
    )
    if ordered:
        assert list(results) == items
    else:
        assert sorted(results, key=repr) == sorted(items, key=repr)


def test_nothing_is_read_before_the_first_result_is_asked_for(pool: mh.Pool) -> None:
    source = Counter(10)
    results = pool.map(tasks.square, source)
    time.sleep(0.02)
    assert source.read == 0
    assert list(results) == [n * n for n in range(10)]


def test_results_never_asked_for_are_warned_about(pool: mh.Pool) -> None:
    with pytest.warns(RuntimeWarning, match="never asked for") as caught:
        pool.map(tasks.square, [1])
    assert caught[0].filename == __file__


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [None, 1, 4, 100])
@pytest.mark.parametrize("buffersize", [1, 5, 40])
def test_reads_no_more_than_buffersize_ahead(
    pool: mh.Pool, ordered: bool, chunksize: int | None, buffersize: int
) -> None:
    source = Counter(300)
    results = pool.map(
        tasks.identity, source, chunksize=chunksize, buffersize=buffersize, ordered=ordered
    )
    for given_back, _ in enumerate(results):
        assert source.read - given_back <= buffersize + 1


def test_reads_a_bounded_number_ahead_of_an_endless_input(pool: mh.Pool) -> None:
    source = Counter()
    results = pool.map(tasks.identity, source)
    farthest = 0
    for given_back, _ in zip(range(50_000), results, strict=False):
        farthest = max(farthest, source.read - given_back)
    results.close()
    assert farthest <= 20_000


def test_slow_tasks_are_read_few_ahead(pool: mh.Pool) -> None:
    source = Counter()
    results = pool.map(lambda n: tasks.sleep(0.01, n), source)
    assert [next(results) for _ in range(20)] == list(range(20))
    results.close()
    assert source.read <= 20 + 40


@pytest.mark.parametrize("ordered", [True, False])
def test_the_first_result_comes_before_a_slow_input_ends(pool: mh.Pool, ordered: bool) -> None:
    received: list[int] = []

    def slow() -> Iterator[int]:
        for number in range(1000):
            yield number
            time.sleep(0.05)
            if received:
                return
        pytest.fail("no result came while the input went on")

    for result in pool.map(tasks.identity, slow(), ordered=ordered):
        received.append(result)
    assert sorted(received) == list(range(len(received)))


def test_the_input_is_read_in_the_consumers_thread(pool: mh.Pool) -> None:
    readers = set()

    def source() -> Iterator[int]:
        for number in range(200):
            readers.add(threading.current_thread())
            yield number

    assert sum(pool.map(tasks.identity, source())) == sum(range(200))
    assert readers == {threading.current_thread()}


@pytest.mark.parametrize("chunksize", [None, 1, 5, 100])
def test_an_error_comes_at_its_place_and_ends_the_iteration(
    pool: mh.Pool, chunksize: int | None
) -> None:
    results = pool.map(fail_at_seven, range(30), chunksize=chunksize)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="seven") as caught:
        next(results)
    assert isinstance(caught.value.__cause__, mh.RemoteTraceback)
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_withdraws_what_has_not_begun(pool: mh.Pool, tmp_path: Path) -> None:
    def touch_or_fail(number: int) -> None:
        touch_numbered(str(tmp_path), number)
        fail_at_seven(number)

    with pytest.raises(ValueError, match="seven"):
        list(pool.map(touch_or_fail, range(1000), chunksize=1))
    pool.submit(tasks.square, 1).result()
    assert len(list(tmp_path.iterdir())) < 40


def test_an_error_of_the_input_comes_after_the_results_before_it(pool: mh.Pool) -> None:
    def source() -> Iterator[int]:
        yield from range(10)
        raise KeyError("input")

    results = pool.map(tasks.identity, source())
    assert [next(results) for _ in range(10)] == list(range(10))
    with pytest.raises(KeyError, match="input"):
        next(results)


def test_an_item_that_cannot_be_pickled_raises_and_is_named(pool: mh.Pool) -> None:
    with pytest.raises(TypeError) as caught:
        list(pool.map(tasks.identity, [1, 2, threading.Lock()], chunksize=3))
    note = caught.value.__notes__[-1]
    assert "Item 2: argument 1 of pool_tasks.identity, of type lock" in note


def test_items_that_cannot_be_pickled_are_counted_from_the_first_of_the_input(
    pool: mh.Pool,
) -> None:
    results = []
    with pytest.raises(TypeError) as caught:
        for result in pool.map(tasks.identity, [*range(25), threading.Lock()], chunksize=10):
            results.append(result)
    assert "Item 25:" in caught.value.__notes__[-1]
    assert results == list(range(20)), "what was shipped before gives its results"


@pytest.mark.parametrize("ordered", [True, False])
def test_a_timeout_is_for_the_whole_iteration(pool: mh.Pool, ordered: bool) -> None:
    results = pool.map(tasks.sleep, [0.01, 0.01, 2, 2], timeout=0.5, ordered=ordered, chunksize=1)
    with pytest.raises(TimeoutError):
        list(results)
    assert list(pool.map(tasks.square, [2], timeout=tasks.PATIENCE)) == [4]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("end", ["close", "drop"])
def test_ending_early_withdraws_what_has_not_begun(
    pool: mh.Pool, tmp_path: Path, end: str, ordered: bool
) -> None:
    gc.disable()  # dropping is enough; no cycle is to be found first
    try:
        results = pool.map(
            touch_numbered, itertools.repeat(str(tmp_path)), range(1000), ordered=ordered
        )
        next(results)
        if end == "close":
            results.close()
            results.close()
        del results
    finally:
        gc.enable()
    tasks.until(lambda: pool._status()[1] == 0, "that nothing is in flight")
    assert len(list(tmp_path.iterdir())) < 40


def test_a_break_out_of_the_loop_withdraws_the_rest(pool: mh.Pool, tmp_path: Path) -> None:
    for _ in pool.map(touch_numbered, itertools.repeat(str(tmp_path)), itertools.count()):
        break
    tasks.until(lambda: pool._status()[1] == 0, "that nothing is in flight")
    assert len(list(tmp_path.iterdir())) < 40


def test_several_maps_may_be_under_way_at_once(pool: mh.Pool) -> None:
    maps = [pool.map(tasks.identity, range(n, n + 300)) for n in range(0, 1500, 300)]
    rows = list(zip(*maps, strict=True))
    assert [row[0] for row in rows] == list(range(300))
    assert rows[-1] == (299, 599, 899, 1199, 1499)
    nested = pool.map(tasks.square, pool.map(tasks.square, range(100)))
    assert list(nested) == [n**4 for n in range(100)]


def test_a_task_may_have_a_pool_of_its_own() -> None:
    squares = [n * n for n in range(50)]
    with mh.Pool(2) as pool:
        assert list(pool.map(inner_map, [50, 50])) == [squares, squares]


def test_big_items_travel_both_ways(pool: mh.Pool) -> None:
    sizes = [0, 1, 100, 70_000, 1 << 20, 5 << 20] * 2
    items = (bytes([n]) * size for n, size in enumerate(sizes))
    for n, (size, result) in enumerate(zip(sizes, pool.map(tasks.identity, items), strict=True)):
        assert result == bytes([n]) * size


def test_results_can_be_gone_through_once(pool: mh.Pool) -> None:
    results = pool.map(tasks.square, range(3))
    assert iter(results) is results
    assert list(results) == [0, 1, 4]
    assert list(results) == []


def test_asynchronous_input_cannot_be_iterated(pool: mh.Pool) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="async for"):
        list(pool.map(tasks.square, source()))
    with pytest.raises(TypeError, match="async for"):
        list(pool.map(pow, [1], source()))


def test_coroutine_functions_are_mapped_like_others(pool: mh.Pool) -> None:
    assert list(pool.map(tasks.async_square, range(2000))) == [n * n for n in range(2000)]


def test_arguments_are_checked_at_once(pool: mh.Pool) -> None:
    with pytest.raises(TypeError, match="at least one iterable"):
        pool.map(tasks.square)
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        pool.map(tasks.square, 5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="must be callable"):
        pool.map(5, [1])  # type: ignore[call-overload]
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            pool.map(tasks.square, [1], chunksize=wrong)
        with pytest.raises(ValueError, match="buffersize must be None or > 0"):
            pool.map(tasks.square, [1], buffersize=wrong)


def test_progress_is_shown_on_standard_error(
    pool: mh.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its own lock, for processes too, would be a semaphore that lives as long as this process.
    tqdm.set_lock(threading.RLock())
    assert len(list(pool.map(tasks.square, range(30), progress=True))) == 30
    shown = capsys.readouterr()
    assert "30/30" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("ordered", [True, False])
def test_results_do_not_wait_for_the_next_items_of_slow_input(pool: mh.Pool, ordered: bool) -> None:
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

    for result in pool.map(tasks.square, source(), ordered=ordered):
        results.append(result)
    assert sorted(results) == [n * n for n in range(len(results))]
    assert given_before > 4


def test_a_map_that_is_iterated_too_late_says_so() -> None:
    with mh.Pool(1) as pool:
        results = pool.map(tasks.square, [1])
    with pytest.raises(RuntimeError, match="shutdown") as caught:
        list(results)
    assert "while it is iterated" in caught.value.__notes__[0]

"""Payloads: of any size, both ways, without copies that are not needed, in bounded memory."""

from __future__ import annotations

import array
import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks

np = pytest.importorskip("numpy")

MB = 1 << 20
EDGES = [0, 1, 100, 127, 128, 129, 255, 256, 257, 4095, 4096, 32767, 32768, 32769, 65536, 70_001]


def length(data: Any) -> int:
    return len(data)


def write_into(values: Any) -> Any:
    values[0] = 42
    return values


def resident(pid: int | str = "self") -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def shared_pages() -> int:
    """Bytes in the memory files of this process's pools."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        try:
            if "memfd:manyhands" in os.readlink(path):
                total += os.stat(path).st_blocks * 512
        except OSError:
            continue
    return total


@pytest.mark.parametrize("kind", [bytes, bytearray, str, list], ids=lambda kind: kind.__name__)
def test_every_size_comes_back_as_it_went(pool: mh.Pool, kind: type) -> None:
    for size in EDGES:
        value = "x" * size if kind is str else kind(bytes(size))
        result = pool.submit(tasks.identity, value).result()
        assert type(result) is kind
        assert result == value
    values = [bytes([7]) * size for size in EDGES]
    assert list(pool.map(tasks.identity, values)) == values


async def async_of_size(size: int) -> bytes:
    return bytes(size)


def fail_with(size: int) -> None:
    raise ValueError("x" * size)


@pytest.mark.parametrize("around", [0, 1024, 2048, 32768, 65536])
def test_no_size_is_a_boundary_that_is_missed(pool: mh.Pool, around: int) -> None:
    """As argument, result and error; alone, as the only item of a batch, and as one of several."""
    sizes = range(max(0, around - 600), around + 600)
    wanted = [bytes(size) for size in sizes]
    for fn in (bytes, async_of_size):
        futures = [pool.submit(fn, size) for size in sizes]
        assert [future.result() for future in futures] == wanted
        assert list(pool.map(fn, sizes, chunksize=1)) == wanted
        assert list(pool.map(fn, sizes, chunksize=100)) == wanted
    assert list(pool.map(tasks.identity, wanted, chunksize=1)) == wanted
    assert list(pool.map(tasks.identity, wanted, chunksize=100)) == wanted
    for size in sizes:
        with pytest.raises(ValueError, match=r"^x*$"):
            list(pool.map(fail_with, [size]))


@pytest.mark.parametrize("size", [MB, 5 * MB, 64 * MB])
def test_large_bytes_travel_both_ways(pool: mh.Pool, size: int) -> None:
    value = os.urandom(MB) * (size // MB)
    assert pool.submit(tasks.identity, value).result() == value
    assert pool.submit(length, data=value).result() == size
    assert pool.submit(tasks.identity, [value, (value,)]).result() == [value, (value,)]


def test_several_large_arguments_keep_their_places(pool: mh.Pool) -> None:
    first, second = b"a" * 100_000, b"b" * 200_000

    def describe(*args: Any, **kwargs: Any) -> Any:
        return [len(arg) for arg in args], {key: len(value) for key, value in kwargs.items()}

    assert pool.submit(describe, "x", first, "", second, k=first).result() == (
        [1, 100_000, 0, 200_000],
        {"k": 100_000},
    )


@pytest.mark.parametrize("shape", [(0,), (1,), (1000,), (300, 400), (3, 5, 7)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "i2", "c16", "S5", "M8[s]"])
def test_arrays_come_back_equal_and_writable(
    pool: mh.Pool, shape: tuple[int, ...], order: Any, dtype: str
) -> None:
    value = np.zeros(shape, dtype, order=order)
    result = pool.submit(tasks.identity, value).result()
    assert result.dtype == value.dtype
    assert result.shape == shape
    assert (result == value).all()
    assert result.flags.writeable


def test_a_task_gets_an_array_of_its_own_to_write_to(pool: mh.Pool) -> None:
    value = np.zeros(100_000)
    assert pool.submit(write_into, value).result()[0] == 42
    assert value[0] == 0
    for result in pool.map(write_into, [value] * 5):
        assert result[0] == 42
        result[1] = 7
    assert list(pool.submit(write_into, array.array("i", [1, 2])).result()) == [42, 2]


def test_views_and_slices_of_arrays_travel(pool: mh.Pool) -> None:
    value = np.arange(10_000.0).reshape(100, 100)
    for view in (value[::2], value.T, value[:, 3], value[5:5], np.broadcast_to(value[0], (9, 100))):
        assert (pool.submit(tasks.identity, view).result() == view).all()
    frozen = np.arange(50_000)
    frozen.flags.writeable = False
    assert (pool.submit(tasks.identity, frozen).result() == frozen).all()


def test_arrays_of_objects_and_nested_arrays_travel(pool: mh.Pool) -> None:
    value = {
        "a": [np.arange(5000), {"b": np.ones((50, 50))}],
        "c": np.array([1, "x", None], object),
    }
    result = pool.submit(tasks.identity, value).result()
    assert (result["a"][0] == value["a"][0]).all()
    assert (result["a"][1]["b"] == 1).all()
    assert list(result["c"]) == [1, "x", None]


def test_pickle_buffers_travel_beside_the_pickle(pool: mh.Pool) -> None:
    def total(buffer: Any) -> int:
        return sum(memoryview(buffer)[:10])

    data = bytearray(b"\x01" * 100_000)
    assert pool.submit(total, pickle.PickleBuffer(data)).result() == 10


def test_many_payloads_at_once(pool: mh.Pool) -> None:
    values = [bytes([n % 251]) * (n * 997 % 200_000) for n in range(400)]
    futures = [pool.submit(tasks.identity, value) for value in values]
    assert [future.result() for future in futures] == values


def test_arguments_may_be_kept_for_ever(pool: mh.Pool) -> None:
    """What one task keeps is not overwritten by the next."""
    kept: list[Any] = []

    def keep(value: Any) -> list[bool]:
        kept.append(value)
        return [bool((value == value[0]).all()) for value in kept]

    with mh.Pool(1) as own:
        for number in range(20):
            assert all(own.submit(keep, np.full(50_000, number)).result())


def test_more_than_four_gigabytes_pass_in_bounded_memory() -> None:
    with mh.Pool(2) as pool:
        value = os.urandom(MB) * 32
        (worker,) = {pool.submit(os.getpid).result()}
        for _ in range(4):
            assert pool.submit(tasks.identity, value).result() == value
        before = resident(), shared_pages()
        for _ in range(65):
            assert len(pool.submit(tasks.identity, value).result()) == len(value)
        grown = resident() - before[0], shared_pages() - before[1]
        assert max(grown) < 200 * MB, grown
        assert resident(worker) < 600 * MB


def test_unread_results_and_abandoned_ones_are_given_back() -> None:
    with mh.Pool(2) as pool:
        value = bytes(4 * MB)
        for _ in range(30):
            futures = [pool.submit(tasks.identity, value) for _ in range(8)]
            futures[-1].result()
            del futures
        tasks.until(lambda: pool._status()[1] == 0)
        assert shared_pages() < 400 * MB


def test_a_long_map_of_small_items_takes_no_memory(pool: mh.Pool) -> None:
    def count(results: Any) -> int:
        return sum(1 for _ in results)

    count(pool.map(tasks.square, range(50_000)))
    before = resident()
    assert count(pool.map(tasks.square, iter(range(300_000)))) == 300_000
    assert count(pool.map(tasks.square, iter(range(100_000)), ordered=False)) == 100_000
    assert resident() - before < 20 * MB


def test_a_map_of_large_items_is_bounded_by_what_is_in_flight(pool: mh.Pool) -> None:
    before = resident()
    items = (bytes(MB) for _ in itertools.repeat(None, 300))
    assert sum(len(result) for result in pool.map(tasks.identity, items, buffersize=8)) == 300 * MB
    assert resident() - before < 150 * MB

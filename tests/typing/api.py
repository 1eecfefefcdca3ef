"""What type checkers make of the public names: checked by mypy --strict, never run.

An unused `type: ignore` is an error there, so the lines that carry one prove that a mistake is
found.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, assert_type

import manyhands as mh
from manyhands.futures import ProcessPoolExecutor, ThreadPoolExecutor


def square(x: int) -> int:
    return x * x


def describe(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


async def fetch(url: str, retries: int = 3) -> bytes:
    return url.encode() * retries


class Page:
    def __init__(self, url: str) -> None:
        self.url = url

    def size(self, unit: float) -> float:
        return len(self.url) / unit

    async def load(self) -> bytes:
        return b""


async def urls() -> AsyncIterator[str]:
    yield "a"


def construction() -> None:
    mh.Pool()
    mh.Pool(
        2,
        kind="process",
        concurrency=100,
        start_method="spawn",
        initializer=print,
        initargs=("ready",),
        max_tasks=1000,
        name="crawler",
    )
    assert_type(mh.Pool(8, kind="thread"), mh.Pool)
    mh.Pool(kind="greenlet")  # type: ignore[arg-type]
    mh.Pool(start_method="clone")  # type: ignore[arg-type]
    mh.Pool(workers="2")  # type: ignore[arg-type]
    mh.Pool(2, "process")  # type: ignore[call-arg]


def submitting(pool: mh.Pool) -> None:
    # A function's result, and what a coroutine function's coroutine returns.
    assert_type(pool.submit(square, 3), mh.Future[int])
    assert_type(pool.submit(describe, "x", loud=True), mh.Future[str])
    assert_type(pool.submit(fetch, "http://a"), mh.Future[bytes])
    assert_type(pool.submit(fetch, "http://a", retries=1), mh.Future[bytes])
    assert_type(pool.submit(Page, "http://a"), mh.Future[Page])
    assert_type(pool.submit(Page("").size, 2.0), mh.Future[float])
    assert_type(pool.submit(Page("").load), mh.Future[bytes])
    assert_type(pool.submit(lambda: 1), mh.Future[int])
    assert_type(pool.submit(functools.partial(square, 2)), mh.Future[int])

    pool.submit(square, "3")  # type: ignore[call-overload]
    pool.submit(square)  # type: ignore[call-overload]
    pool.submit(3)  # type: ignore[call-overload]


def futures(pool: mh.Pool) -> None:
    future = pool.submit(square, 3)
    assert_type(future.result(), int)
    assert_type(future.result(timeout=1.5), int)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.done(), bool)
    assert_type(future.running(), bool)
    assert_type(future.cancel(), bool)
    assert_type(future.cancelled(), bool)

    def called(ended: mh.Future[int]) -> None:
        assert_type(ended.result(), int)

    def called_as_in_the_library(ended: concurrent.futures.Future[int]) -> None:
        assert_type(ended.result(), int)

    future.add_done_callback(called)
    future.add_done_callback(called_as_in_the_library)

    # It is the standard library's future too.
    plain: concurrent.futures.Future[int] = future
    assert_type(plain.result(), int)
    assert_type(concurrent.futures.wait([future]).done, set[concurrent.futures.Future[int]])
    for ended in concurrent.futures.as_completed([future]):
        assert_type(ended, concurrent.futures.Future[int])


async def awaiting(pool: mh.Pool) -> None:
    assert_type(await pool.submit(square, 3), int)
    assert_type(await pool.submit(fetch, "http://a"), bytes)
    assert_type(
        await asyncio.gather(pool.submit(square, 3), pool.submit(fetch, "http://a")),
        tuple[int, bytes],
    )
    assert_type(await asyncio.wait_for(pool.submit(square, 3), 1), int)
    assert_type(await asyncio.shield(pool.submit(square, 3)), int)
    assert_type(await asyncio.wrap_future(pool.submit(square, 3)), int)
    async with asyncio.timeout(1):
        assert_type(await pool.submit(square, 3), int)


def mapping(pool: mh.Pool) -> None:
    assert_type(pool.map(square, [1, 2]), mh.MapResults[int])
    assert_type(list(pool.map(square, [1, 2])), list[int])
    assert_type(next(pool.map(square, [1, 2])), int)
    assert_type(pool.map(fetch, ["a"], [1]), mh.MapResults[bytes])
    assert_type(list(pool.map(fetch, ["a"])), list[bytes])
    assert_type(list(pool.map(Page, iter("ab"))), list[Page])
    assert_type(pool.starmap(pow, [(2, 5)]), mh.MapResults[Any])
    assert_type(pool.starmap(describe, [("a",)]), mh.MapResults[str])
    assert_type(list(pool.starmap(fetch, [("a", 1)])), list[bytes])
    for value in pool.map(
        square, [1], timeout=5.0, chunksize=10, buffersize=100, ordered=False, progress=True
    ):
        assert_type(value, int)
    results = pool.map(square, [1])
    iterator: Iterator[int] = results
    assert_type(next(iterator), int)
    results.close()

    pool.map(square, [1], ordered="yes")  # type: ignore[call-overload]
    pool.map(square, 1)  # type: ignore[call-overload]
    pool.map(square, [1], retries=3)  # type: ignore[call-overload]
    pool.map()  # type: ignore[call-overload]


async def mapping_on_a_loop(pool: mh.Pool) -> None:
    assert_type(await pool.map(square, [1, 2]), list[int])
    assert_type(await pool.map(fetch, urls()), list[bytes])
    assert_type(await pool.starmap(fetch, [("a", 1)]), list[bytes])
    async for page in pool.map(fetch, urls(), ordered=False):
        assert_type(page, bytes)
    assert_type([page async for page in pool.map(fetch, ["a"])], list[bytes])
    results = pool.map(fetch, urls())
    as_async: AsyncIterator[bytes] = aiter(results)
    assert_type(await anext(as_async), bytes)
    await results.aclose()


def blocks_and_ends() -> None:
    with mh.Pool() as pool:
        assert_type(pool, mh.Pool)
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)
    pool.kill()


async def async_blocks() -> None:
    async with mh.Pool(concurrency=100) as pool:
        assert_type(pool, mh.Pool)


async def on_threads() -> None:
    assert_type(await mh.to_thread(int, "ff", base=16), int)
    with ThreadPoolExecutor(2, thread_name_prefix="crawl") as executor:
        assert_type(executor.submit(divmod, 17, 5), mh.Future[tuple[int, int]])
        assert_type(executor.map(len, ["a"], buffersize=2), Iterator[int])


async def as_an_executor(pool: mh.Pool) -> None:
    executor: concurrent.futures.Executor = pool
    assert_type(executor.submit(square, 3), concurrent.futures.Future[int])
    assert_type(list(executor.map(square, [1])), list[int])
    loop = asyncio.get_running_loop()
    assert_type(await loop.run_in_executor(pool, square, 3), int)


def drop_in() -> None:
    with ProcessPoolExecutor(2, on_worker_death="break") as executor:
        assert_type(executor, ProcessPoolExecutor)
        assert_type(executor.submit(square, 3), mh.Future[int])
        assert_type(executor.submit(fetch, "u", retries=2), mh.Future[bytes])
        assert_type(list(executor.map(square, [1, 2], chunksize=2)), list[int])
        standard: concurrent.futures.ProcessPoolExecutor = executor
        print(standard)
    ProcessPoolExecutor(on_worker_death="weep")  # type: ignore[arg-type]


def errors(error: BaseException) -> None:
    match error:
        case mh.WorkerDied():
            assert_type(error.pid, int)
            assert_type(error.exitcode, int | None)
            assert_type(error.signal, int | None)
            assert_type(error.signal_name, str | None)
            assert_type(error.task, str)
            assert_type(error.seconds, float)
            broken: concurrent.futures.BrokenExecutor = error
            print(broken)
        case mh.RemoteError():
            assert_type(error.type_name, str)
            assert_type(error.message, str)
            assert_type(error.traceback, str)
        case mh.InitializerFailed() | mh.PoolBroken():
            executor_broken: concurrent.futures.BrokenExecutor = error
            print(executor_broken)
        case mh.RemoteTraceback():
            assert_type(error.tb, str)
            assert_type(error.__traceback__, TracebackType | None)


def the_rest() -> None:
    assert_type(mh.usable_cores(), int)
    mh.patch(on_worker_death="break")
    mh.patch(on_worker_death="explode")  # type: ignore[arg-type]
    mh.unpatch()
    assert_type(mh.__version__, str)
    print(mh.nothing_of_this_name)  # type: ignore[attr-defined]

"""The standard library's pools: executors, `multiprocessing.Pool`, threads under asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

from functions import nothing
from systems import Awaited, Blocking, System

T = TypeVar("T")


class Executor(Blocking):
    """Anything with the interface of `concurrent.futures.Executor`."""

    executor: Any

    def stop(self) -> None:
        self.executor.shutdown()

    def submit_all(self, count: int) -> list[int]:
        submit = self.executor.submit
        futures = [submit(nothing, number) for number in range(count)]
        return [future.result() for future in futures]

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.executor.submit(function, argument).result()
        return result


class ProcessPoolFork(Executor):
    """`ProcessPoolExecutor` with the start method that was Linux's default until 3.14."""

    name = "ProcessPoolExecutor (fork)"
    module = "concurrent.futures.process"
    start_method: ClassVar[str] = "fork"

    def start(self, workers: int) -> None:
        context = multiprocessing.get_context(self.start_method)
        self.executor = self.load().ProcessPoolExecutor(workers, mp_context=context)


class ProcessPoolSpawn(ProcessPoolFork):
    """`ProcessPoolExecutor` with fresh interpreters."""

    name = "ProcessPoolExecutor (spawn)"
    start_method = "spawn"


class ProcessPoolForkserver(ProcessPoolFork):
    """`ProcessPoolExecutor` with the default of 3.14, which is ours too."""

    name = "ProcessPoolExecutor (forkserver)"
    start_method = "forkserver"


class Threads(Executor):
    """`ThreadPoolExecutor`: no other process, so the floor for convenience."""

    name = "ThreadPoolExecutor"
    module = "concurrent.futures.thread"
    in_process = True

    def start(self, workers: int) -> None:
        self.executor = self.load().ThreadPoolExecutor(workers)


class ThreadsAwaited(Awaited):
    """`loop.run_in_executor` on threads: how asyncio programs make blocking calls."""

    name = "ThreadPoolExecutor, awaited"
    module = "concurrent.futures.thread"
    in_process = True
    executor: Any

    async def start(self, workers: int) -> None:
        self.executor = self.load().ThreadPoolExecutor(workers)

    async def stop(self) -> None:
        self.executor.shutdown()

    async def submit_all(self, count: int) -> list[int]:
        run = asyncio.get_running_loop().run_in_executor
        futures = [run(self.executor, nothing, number) for number in range(count)]
        return await asyncio.gather(*futures)

    async def call(self, function: Callable[[T], T], argument: T) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, function, argument)


class Finished(concurrent.futures.Executor):
    """Calls at once, in the caller's thread: the price of `run_in_executor` and nothing else."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class NullExecutor(ThreadsAwaited):
    """`loop.run_in_executor` where the result is there before anybody waits."""

    name = "an executor that only calls, awaited"

    async def start(self, workers: int) -> None:
        self.executor = Finished()


class MultiprocessingPool(Blocking):
    """`multiprocessing.Pool.apply_async`."""

    name = "multiprocessing.Pool.apply_async"
    module = "multiprocessing.pool"
    pool: Any

    def start(self, workers: int) -> None:
        context = multiprocessing.get_context("fork")
        self.pool = self.load().Pool(workers, context=context)

    def stop(self) -> None:
        self.pool.close()
        self.pool.join()

    def submit_all(self, count: int) -> list[int]:
        apply = self.pool.apply_async
        results = [apply(nothing, (number,)) for number in range(count)]
        return [result.get() for result in results]

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.pool.apply_async(function, (argument,)).get()
        return result


SYSTEMS: list[type[System]] = [
    ProcessPoolFork,
    ProcessPoolSpawn,
    ProcessPoolForkserver,
    MultiprocessingPool,
    Threads,
    ThreadsAwaited,
    NullExecutor,
]

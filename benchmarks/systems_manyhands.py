"""manyhands, waited for and awaited, with each start method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from functions import nothing, nothing_async
from systems import Awaited, Blocking, System
from systems_stdlib import Threads, ThreadsAwaited

T = TypeVar("T")

OURS = "manyhands"
OURS_AWAITED = "manyhands, awaited"
OUR_THREADS = "manyhands, threads"
OUR_THREADS_AWAITED = "manyhands, threads, awaited"


class Manyhands(Blocking):
    """`manyhands.Pool` as a newcomer would use it."""

    name = OURS
    module = "manyhands"
    distribution = "manyhands"
    start_method: ClassVar[str | None] = None
    pool: Any

    def start(self, workers: int) -> None:
        self.pool = self.load().Pool(workers, start_method=self.start_method)

    def stop(self) -> None:
        self.pool.shutdown()

    def submit_all(self, count: int) -> list[int]:
        submit = self.pool.submit
        futures = [submit(nothing, number) for number in range(count)]
        return [future.result() for future in futures]

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.pool.submit(function, argument).result()
        return result


class ManyhandsFork(Manyhands):
    """The same with `fork`, to set beside the peers that fork."""

    name = "manyhands (fork)"
    start_method = "fork"


class ManyhandsSpawn(Manyhands):
    """The same with `spawn`, to set beside the peers that spawn."""

    name = "manyhands (spawn)"
    start_method = "spawn"


class ManyhandsAwaited(Awaited):
    """The same pool from a coroutine."""

    name = OURS_AWAITED
    module = "manyhands"
    distribution = "manyhands"
    pool: Any

    async def start(self, workers: int) -> None:
        self.pool = self.load().Pool(workers)
        await self.pool.__aenter__()

    async def stop(self) -> None:
        await self.pool.__aexit__(None, None, None)

    async def submit_all(self, count: int) -> list[int]:
        submit = self.pool.submit
        futures = [submit(nothing, number) for number in range(count)]
        return [await future for future in futures]

    async def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = await self.pool.submit(function, argument)
        return result

    async def map_coroutines(self, count: int) -> list[int]:
        results: list[int] = await self.pool.map(nothing_async, range(count))
        return results

    async def call_coroutine(self, number: int) -> int:
        result: int = await self.pool.submit(nothing_async, number)
        return result


class ManyhandsThreads(Threads):
    """`manyhands.futures.ThreadPoolExecutor` in place of the standard library's."""

    name = OUR_THREADS
    module = "manyhands.futures"
    distribution = "manyhands"


class ManyhandsThreadsAwaited(ThreadsAwaited):
    """The same under `loop.run_in_executor`."""

    name = OUR_THREADS_AWAITED
    module = "manyhands.futures"
    distribution = "manyhands"


SYSTEMS: list[type[System]] = [
    Manyhands,
    ManyhandsAwaited,
    ManyhandsThreads,
    ManyhandsThreadsAwaited,
    ManyhandsFork,
    ManyhandsSpawn,
]

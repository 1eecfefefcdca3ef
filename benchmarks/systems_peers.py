"""The peers from the package index: loky, pebble, mpire, aiomultiprocess, distributed, ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from functions import nothing, nothing_async
from systems import COROUTINE_FORM, Awaited, Blocking, System
from systems_stdlib import Executor

T = TypeVar("T")


class Loky(Executor):
    """`loky.ProcessPoolExecutor`, the engine of joblib."""

    name = "loky"
    module = "loky"
    distribution = "loky"

    def start(self, workers: int) -> None:
        self.executor = self.load().ProcessPoolExecutor(workers)


class Pebble(Blocking):
    """`pebble.ProcessPool`."""

    name = "pebble"
    module = "pebble"
    distribution = "pebble"
    pool: Any

    def start(self, workers: int) -> None:
        self.pool = self.load().ProcessPool(max_workers=workers)

    def stop(self) -> None:
        self.pool.close()
        self.pool.join()

    def submit_all(self, count: int) -> list[int]:
        schedule = self.pool.schedule
        futures = [schedule(nothing, args=(number,)) for number in range(count)]
        return [future.result() for future in futures]

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.pool.schedule(function, args=(argument,)).result()
        return result


class Mpire(Blocking):
    """`mpire.WorkerPool.apply_async`."""

    name = "mpire"
    module = "mpire"
    distribution = "mpire"
    pool: Any

    def start(self, workers: int) -> None:
        self.pool = self.load().WorkerPool(n_jobs=workers)

    def stop(self) -> None:
        self.pool.stop_and_join()

    def submit_all(self, count: int) -> list[int]:
        apply = self.pool.apply_async
        results = [apply(nothing, args=(number,)) for number in range(count)]
        return [result.get() for result in results]

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.pool.apply_async(function, args=(argument,)).get()
        return result


class AioMultiprocess(Awaited):
    """`aiomultiprocess.Pool`; it runs coroutines only, so every task here is one."""

    name = "aiomultiprocess"
    module = "aiomultiprocess"
    distribution = "aiomultiprocess"
    pool: Any

    async def start(self, workers: int) -> None:
        self.pool = self.load().Pool(workers)

    async def stop(self) -> None:
        self.pool.close()
        await self.pool.join()

    async def submit_all(self, count: int) -> list[int]:
        return await self.map_coroutines(count)

    async def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = await self.pool.apply(COROUTINE_FORM[function], (argument,))
        return result

    async def map_coroutines(self, count: int) -> list[int]:
        results: list[int] = await self.pool.map(nothing_async, range(count))
        return results

    async def call_coroutine(self, number: int) -> int:
        result: int = await self.pool.apply(nothing_async, (number,))
        return result


class Distributed(Blocking):
    """`dask.distributed` with a cluster on this machine."""

    name = "dask.distributed"
    module = "distributed"
    distribution = "distributed"
    heavy = True
    client: Any

    def start(self, workers: int) -> None:
        self.client = self.load().Client(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
        )

    def stop(self) -> None:
        self.client.shutdown()

    def submit_all(self, count: int) -> list[int]:
        submit = self.client.submit
        futures = [submit(nothing, number, pure=False) for number in range(count)]
        results: list[int] = self.client.gather(futures)
        return results

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.client.submit(function, argument, pure=False).result()
        return result


class Ray(Blocking):
    """`ray` with a cluster on this machine."""

    name = "ray"
    module = "ray"
    distribution = "ray"
    heavy = True
    ray: Any
    remotes: dict[Callable[..., Any], Any]

    def start(self, workers: int) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.ray = self.load()
        self.ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.remotes = {function: self.ray.remote(function) for function in COROUTINE_FORM}

    def stop(self) -> None:
        self.ray.shutdown()

    def submit_all(self, count: int) -> list[int]:
        submit = self.remotes[nothing].remote
        results: list[int] = self.ray.get([submit(number) for number in range(count)])
        return results

    def call(self, function: Callable[[T], T], argument: T) -> T:
        result: T = self.ray.get(self.remotes[function].remote(argument))
        return result


SYSTEMS: list[type[System]] = [Loky, Pebble, Mpire, AioMultiprocess, Distributed, Ray]

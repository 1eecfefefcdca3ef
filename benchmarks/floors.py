"""What no pool can beat on this machine: the figures to hold the others against."""

from __future__ import annotations

import asyncio
import mmap
import os
import pickle
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from functions import nothing
from measures import Effort, Numbers
from systems import System


def floors(_system: System, effort: Effort) -> Numbers:
    """All floors by name; nothing here uses any pool."""
    size = effort.payload
    source = os.urandom(size)
    target = bytearray(size)
    view = memoryview(target)

    def into_warm() -> None:
        view[:] = source

    def through_shared_memory() -> None:
        """Both ways as cheaply as can be: in, out as new bytes, in, out as new bytes."""
        for _ in range(2):
            view[:] = source
            bytes(view)

    dumped = pickle.dumps((1,))
    cores = sorted(os.sched_getaffinity(0))
    numbers: Numbers = {
        "pickle_dumps_ns": per_call(lambda: pickle.dumps((1,))) * 1e9,
        "pickle_loads_ns": per_call(lambda: pickle.loads(dumped)) * 1e9,
        "future_ns": per_call(one_future) * 1e9,
        "copy_warm_gb_per_s": size / median(into_warm) / 1e9,
        "copy_cold_gb_per_s": size / median(lambda: bytes(view)) / 1e9,
        "fresh_pages_gb_per_s": size / median(lambda: touch_fresh(size)) / 1e9,
        "payload_gb_per_s": 2 * size / median(through_shared_memory) / 1e9,
        "eventfd_us": ping_pong(None) * 1e6,
        "eventfd_one_core_us": ping_pong((cores[0], cores[0])) * 1e6,
    }
    if len(cores) > 1:
        numbers["eventfd_two_cores_us"] = ping_pong((cores[0], cores[1])) * 1e6
    return numbers | asyncio.run(executor_that_does_nothing(effort.tasks))


def per_call(function: Callable[[], Any], calls: int = 100_000) -> float:
    """Seconds for one call, the loop around it taken off."""

    def timed(body: Callable[[], Any]) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            body()
        return time.perf_counter() - start

    def empty() -> None:
        return None

    rounds = [(timed(function) - timed(empty)) / calls for _ in range(5)]
    return statistics.median(rounds)


def median(function: Callable[[], Any], calls: int = 9) -> float:
    """Seconds of the middle call, after one to warm up."""
    durations = []
    for _ in range(calls + 1):
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[1:])


def one_future() -> int:
    """The life of a `concurrent.futures.Future` with nobody waiting."""
    future: Future[int] = Future()
    future.set_result(1)
    return future.result()


def touch_fresh(size: int) -> None:
    """Have the kernel hand out shared pages that were never used."""
    with mmap.mmap(-1, size) as pages:
        for offset in range(0, size, mmap.PAGESIZE):
            pages[offset] = 1


def ping_pong(cores: tuple[int, int] | None, rounds: int = 3_000) -> float:
    """Seconds for a wake-up of another process and back, through two eventfds."""
    there, back = os.eventfd(0), os.eventfd(0)
    child = os.fork()
    if child == 0:
        try:
            if cores:
                os.sched_setaffinity(0, {cores[1]})
            for _ in range(rounds):
                os.eventfd_read(there)
                os.eventfd_write(back, 1)
        finally:
            os._exit(0)
    allowed = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, {cores[0]})
    durations = []
    for _ in range(rounds):
        start = time.perf_counter()
        os.eventfd_write(there, 1)
        os.eventfd_read(back)
        durations.append(time.perf_counter() - start)
    os.waitpid(child, 0)
    os.sched_setaffinity(0, allowed)
    os.close(there)
    os.close(back)
    return statistics.median(durations)


class NullExecutor(Executor):
    """Answers at once, on the spot."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function right here."""
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


async def executor_that_does_nothing(tasks: int) -> Numbers:
    """What `loop.run_in_executor` costs when the executor costs nothing."""
    loop = asyncio.get_running_loop()
    executor = NullExecutor()
    start = time.perf_counter()
    await asyncio.gather(*(loop.run_in_executor(executor, nothing, n) for n in range(tasks)))
    gathered = time.perf_counter() - start
    durations = []
    for number in range(2_000):
        start = time.perf_counter()
        await loop.run_in_executor(executor, nothing, number)
        durations.append(time.perf_counter() - start)
    return {
        "null_executor_per_s": tasks / gathered,
        "null_executor_us": statistics.median(durations) * 1e6,
    }

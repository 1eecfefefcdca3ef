"""The measurements, each made in a process of its own that `child.py` started.

Every one opens the pool, warms it up until both sides have settled, checks each result, and
returns named numbers. The garbage collector stays on, as it is for users, but is run before each
timing, so that nobody pays for another's garbage.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from functions import echo, nothing
from systems import Awaited, Blocking, System

Numbers = dict[str, float]

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Effort:
    """How much is measured; the same for every system, save the heavy ones."""

    workers: int = 2
    tasks: int = 20_000
    waves: int = 3
    seconds: float = 0.5
    calls: int = 2_000
    payload: int = 64 * MEGABYTE
    echoes: int = 5
    stream_items: int = 10_000_000
    many_tasks: int = 1_000_000
    idle_seconds: float = 5.0


class WrongResultError(Exception):
    """A system gave back something else than it had to."""


def check(right: bool, what: str) -> None:
    """Stop the measurement if a result is wrong."""
    if not right:
        raise WrongResultError(what)


# --- throughput: submit all, then read all -----------------------------------------------------


def summarize_waves(durations: list[float], tasks: int) -> Numbers:
    """The rate of the middle wave."""
    return {"tasks_per_s": tasks / statistics.median(durations)}


def waves_done(durations: list[float], effort: Effort) -> bool:
    """Enough waves, and enough time, for a steady median."""
    return len(durations) >= effort.waves and sum(durations) >= effort.seconds


def throughput(system: System, effort: Effort) -> Numbers:
    """No-op tasks per second, from the first submission to the last result."""
    expected = list(range(effort.tasks))
    durations: list[float] = []

    def record(start: float, results: list[int]) -> None:
        durations.append(time.perf_counter() - start)
        check(results == expected, "results of no-op tasks differ")

    def blocking(pool: Blocking) -> None:
        pool.start(effort.workers)
        while not waves_done(durations[1:], effort):
            gc.collect()
            start = time.perf_counter()
            record(start, pool.submit_all(effort.tasks))
        pool.stop()

    async def awaited(pool: Awaited) -> None:
        await pool.start(effort.workers)
        while not waves_done(durations[1:], effort):
            gc.collect()
            start = time.perf_counter()
            record(start, await pool.submit_all(effort.tasks))
        await pool.stop()

    run(system, blocking, awaited)
    return summarize_waves(durations[1:], effort.tasks)


def coroutines(system: System, effort: Effort) -> Numbers:
    """No-op coroutines per second through the system's own `map`."""
    expected = list(range(effort.tasks))
    durations: list[float] = []

    async def awaited(pool: Awaited) -> None:
        await pool.start(effort.workers)
        while not waves_done(durations[1:], effort):
            gc.collect()
            start = time.perf_counter()
            results = await pool.map_coroutines(effort.tasks)
            durations.append(time.perf_counter() - start)
            check(results == expected, "results of no-op coroutines differ")
        await pool.stop()

    run(system, None, awaited)
    return summarize_waves(durations[1:], effort.tasks)


# --- one round trip ----------------------------------------------------------------------------


def summarize_calls(durations: list[float]) -> Numbers:
    """Median and tail of single calls, in microseconds."""
    ordered = sorted(durations)
    return {
        "median_us": statistics.median(ordered) * 1e6,
        "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
    }


def roundtrip(system: System, effort: Effort) -> Numbers:
    """One no-op task at a time: submit it, wait for its result, then the next."""
    durations: list[float] = []
    clock = time.perf_counter

    def blocking(pool: Blocking) -> None:
        pool.start(effort.workers)
        end = clock() + effort.seconds
        while clock() < end:
            pool.call(nothing, 0)
        gc.collect()
        end = clock() + 4 * effort.seconds
        while len(durations) < effort.calls and clock() < end:
            number = len(durations)
            start = clock()
            result = pool.call(nothing, number)
            durations.append(clock() - start)
            check(result == number, "result of a single call differs")
        pool.stop()

    async def awaited(pool: Awaited) -> None:
        await pool.start(effort.workers)
        await repeat_calls(lambda number: pool.call(nothing, number), effort, durations)
        await pool.stop()

    run(system, blocking, awaited)
    return summarize_calls(durations)


def coroutine_roundtrip(system: System, effort: Effort) -> Numbers:
    """One no-op coroutine at a time, awaited."""
    durations: list[float] = []

    async def awaited(pool: Awaited) -> None:
        await pool.start(effort.workers)
        await repeat_calls(pool.call_coroutine, effort, durations)
        await pool.stop()

    run(system, None, awaited)
    return summarize_calls(durations)


async def repeat_calls(
    call: Callable[[int], Awaitable[int]], effort: Effort, durations: list[float]
) -> None:
    """Warm up, then time single awaited calls."""
    clock = time.perf_counter
    end = clock() + effort.seconds
    while clock() < end:
        await call(0)
    gc.collect()
    end = clock() + 4 * effort.seconds
    while len(durations) < effort.calls and clock() < end:
        number = len(durations)
        start = clock()
        result = await call(number)
        durations.append(clock() - start)
        check(result == number, "result of a single call differs")


# --- payload -----------------------------------------------------------------------------------


def payload(system: System, effort: Effort) -> Numbers:
    """Bytes to a worker and back; both ways are counted. New bytes every time, all compared."""
    durations: list[float] = []
    body = os.urandom(effort.payload - 8)

    def fresh() -> bytes:
        return len(durations).to_bytes(8, "little") + body

    def record(start: float, sent: bytes, received: bytes) -> None:
        durations.append(time.perf_counter() - start)
        check(sent == received, "the payload came back changed")

    def blocking(pool: Blocking) -> None:
        pool.start(effort.workers)
        for _ in range(2 * effort.workers):
            pool.call(echo, b"warm")
        for _ in range(effort.echoes + 2):
            sent = fresh()
            gc.collect()
            start = time.perf_counter()
            record(start, sent, pool.call(echo, sent))
        pool.stop()

    async def awaited(pool: Awaited) -> None:
        await pool.start(effort.workers)
        for _ in range(2 * effort.workers):
            await pool.call(echo, b"warm")
        for _ in range(effort.echoes + 2):
            sent = fresh()
            gc.collect()
            start = time.perf_counter()
            record(start, sent, await pool.call(echo, sent))
        await pool.stop()

    run(system, blocking, awaited)
    return {"gb_per_s": 2 * effort.payload / statistics.median(durations[2:]) / 1e9}


# --- first result ------------------------------------------------------------------------------


def first(system: System, effort: Effort) -> Numbers:
    """From no pool to the first result; the import of the package is measured on its own."""
    seconds = 0.0

    def blocking(pool: Blocking) -> None:
        nonlocal seconds
        start = time.perf_counter()
        pool.start(effort.workers)
        result = pool.call(nothing, 1)
        seconds = time.perf_counter() - start
        check(result == 1, "the first result is wrong")
        pool.stop()

    async def awaited(pool: Awaited) -> None:
        nonlocal seconds
        start = time.perf_counter()
        await pool.start(effort.workers)
        result = await pool.call(nothing, 1)
        seconds = time.perf_counter() - start
        check(result == 1, "the first result is wrong")
        await pool.stop()

    importlib.import_module(system.module)
    run(system, blocking, awaited)
    return {"first_ms": seconds * 1e3, "import_ms": import_time(system.module) * 1e3}


def import_time(module: str) -> float:
    """Seconds that a fresh interpreter needs to import the module."""
    code = (
        "import importlib, time; start = time.perf_counter(); "
        f"importlib.import_module({module!r}); print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def run(
    system: System,
    blocking: Callable[[Blocking], None] | None,
    awaited: Callable[[Awaited], Awaitable[None]],
) -> None:
    """Run the half of a measurement that fits the system."""
    if isinstance(system, Awaited):

        async def main(pool: Awaited) -> None:
            await awaited(pool)

        asyncio.run(main(system))
    elif isinstance(system, Blocking) and blocking is not None:
        blocking(system)
    else:
        raise TypeError(f"{system.name} runs no coroutines")

"""What manyhands itself must hold, apart from any peer: quiet when idle, bounded, and linear."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from functions import nothing
from measures import MEGABYTE, Effort, Numbers, check
from systems import Awaited, Blocking, System

SETTLE = 2.0  # seconds for the threads of a pool to go to sleep
FEW = 1_000


# --- an idle pool ------------------------------------------------------------------------------


def idle(system: System, effort: Effort) -> Numbers:
    """Wake-ups of an idle pool, counted from outside: context switches of every thread.

    A sleeping thread has none, so anything above 0 is a thread that polls.
    """
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("child.py")), "--idle", system.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        check(parent.stdout.readline() == "ready\n", "the pool did not start")
        time.sleep(SETTLE)
        before = context_switches(parent.pid)
        time.sleep(effort.idle_seconds)
        after = context_switches(parent.pid)
    woken = {task: count - before.get(task, 0) for task, count in after.items()}
    of_parent = sum(count for (pid, _), count in woken.items() if pid == parent.pid)
    return {
        "parent": of_parent,
        "workers": sum(woken.values()) - of_parent,
        "processes": len({pid for pid, _ in after}),
        "threads": len(after),
    }


def stay_idle(system: System, workers: int) -> None:
    """The process that is observed: use the pool a little, then wait for the end of stdin."""
    if isinstance(system, Awaited):
        asyncio.run(stay_idle_on_loop(system, workers))
    elif isinstance(system, Blocking):
        system.start(workers)
        system.submit_all(1_000)
        print("ready", flush=True)
        sys.stdin.read()
        system.stop()


async def stay_idle_on_loop(system: Awaited, workers: int) -> None:
    """The same under an event loop, which sleeps until stdin ends."""
    await system.start(workers)
    await system.submit_all(1_000)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    print("ready", flush=True)
    await ended.wait()
    await system.stop()


def context_switches(root: int) -> dict[tuple[int, int], int]:
    """For every thread of a process and of its descendants, how often it has been switched to."""
    counts: dict[tuple[int, int], int] = {}
    for pid in family(root):
        for task in Path(f"/proc/{pid}/task").glob("*/status"):
            with suppress(OSError):
                lines = task.read_text().splitlines()
                counts[pid, int(task.parent.name)] = sum(
                    int(line.split()[1]) for line in lines if "ctxt_switches" in line
                )
    return counts


def family(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in brackets may hold anything, blanks too; the parent is the second after it.
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


# --- a long stream -----------------------------------------------------------------------------


def stream(system: System, effort: Effort) -> Numbers:
    """`map` over a generator: items per second, and how much the parent's memory grows."""
    pool = opened(system, effort)
    produced = 0

    def source() -> Iterator[int]:
        nonlocal produced
        while produced < effort.stream_items:
            produced += 1
            yield produced

    gc.collect()
    base = peak = resident()
    consumed = total = ahead = 0
    start = time.perf_counter()
    for number in pool.map(nothing, source()):
        consumed += 1
        total += number
        if consumed % 50_000 == 0:
            peak = max(peak, resident())
            ahead = max(ahead, produced - consumed)
    seconds = time.perf_counter() - start
    pool.shutdown()
    count = effort.stream_items
    check(
        (consumed, total) == (count, count * (count + 1) // 2), "the stream lost or changed items"
    )
    return {
        "items_per_s": count / seconds,
        "grown_mb": (peak - base) / MEGABYTE,
        "read_ahead": ahead,
    }


def resident() -> int:
    """Bytes of this process in memory, shared ones too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# --- cost per task -----------------------------------------------------------------------------


def cost(system: System, effort: Effort) -> Numbers:
    """What one task costs among 1,000 and among 1,000,000: it must not depend on how many."""
    pool = opened(system, effort)

    def submitted(count: int) -> int:
        futures = [pool.submit(nothing, number) for number in range(count)]
        total: int = sum(future.result() for future in futures)
        return total

    def mapped(count: int) -> int:
        total: int = sum(pool.map(nothing, range(count)))
        return total

    # As many tasks in both cases, the short waves half before and half after the long one: else
    # other programs would disturb the long wave more than the median short one.
    waves = effort.many_tasks // FEW // 2
    numbers: Numbers = {}
    for form, work in (("submit", submitted), ("map", mapped)):
        work(FEW)
        before = seconds_for(work, FEW, waves)
        many = seconds_for(work, effort.many_tasks, 1) / effort.many_tasks
        few = (before + seconds_for(work, FEW, waves)) / (2 * waves * FEW)
        numbers |= {
            f"{form}_few_us": few * 1e6,
            f"{form}_many_us": many * 1e6,
            f"{form}_ratio": many / few,
        }
    pool.shutdown()
    return numbers


def seconds_for(work: Callable[[int], int], count: int, waves: int) -> float:
    """The time for some waves of `count` tasks each."""
    gc.collect()
    start = time.perf_counter()
    totals = [work(count) for _ in range(waves)]
    seconds = time.perf_counter() - start
    check(totals == [count * (count - 1) // 2] * waves, "tasks were lost or changed")
    return seconds


def opened(system: System, effort: Effort) -> Any:
    """A pool of ours that has run something on every worker."""
    pool = system.load().Pool(effort.workers)
    for future in [pool.submit(nothing, number) for number in range(1_000)]:
        future.result()
    check(threading.active_count() < 100, "the pool starts a thread for each task")
    return pool


# --- the price of the import --------------------------------------------------------------------


def starting(system: System, effort: Effort) -> Numbers:
    """What `import` of the package adds to the start of an interpreter, from outside, in turns."""
    durations: dict[str, list[float]] = {"pass": [], f"import {system.module}": []}
    end = time.perf_counter() + 10 * effort.seconds
    while time.perf_counter() < end:
        for code, seconds in durations.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.perf_counter() - start)
    without, with_it = (statistics.median(seconds) * 1e3 for seconds in durations.values())
    return {"without_ms": without, "more_ms": with_it - without}

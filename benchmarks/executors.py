"""The drop-in beside what it stands in for: `map`, and whole programs that use an executor."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from functions import nothing
from measures import Effort, Numbers, check
from systems import System
from systems_stdlib import ProcessPoolFork

GOOD_CHUNKSIZE = 500

PROGRAMS = 9
"""Runs of a whole program whose median counts; one before them warms up the system's caches."""

PROGRAM = """\
import multiprocessing
import time

from {module} import ProcessPoolExecutor

def square(number):
    return number * number

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    executor = ProcessPoolExecutor({workers}, mp_context=context)
    assert executor.submit(square, 3).result() == 9
    first = time.monotonic()
    second = ProcessPoolExecutor({workers}, mp_context=context)
    assert second.submit(square, 4).result() == 16
    print(first, time.monotonic() - first)
    second.shutdown()
    executor.shutdown()
"""


def executor_map(system: System, effort: Effort) -> Numbers:
    """Items per second through `map`, one by one and in good chunks, up to the last result."""
    assert isinstance(system, ProcessPoolFork)
    system.start(effort.workers)
    numbers: Numbers = {}
    for key, chunksize in (("single_per_s", 1), ("chunked_per_s", GOOD_CHUNKSIZE)):
        durations: list[float] = []
        while len(durations) <= effort.waves or sum(durations[1:]) < effort.seconds:
            gc.collect()
            start = time.perf_counter()
            results = list(system.executor.map(nothing, range(effort.tasks), chunksize=chunksize))
            durations.append(time.perf_counter() - start)
            check(results == list(range(effort.tasks)), "results of a map differ")
        numbers[key] = effort.tasks / statistics.median(durations[1:])
    system.stop()
    return numbers


def program(system: System, effort: Effort) -> Numbers:
    """A program's time from its start to its first result, and that of its second executor."""
    assert isinstance(system, ProcessPoolFork)
    firsts, seconds = [], []
    # Which is where programs import it from.
    package, _, _ = system.module.rpartition(".")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "program.py")
        path.write_text(
            PROGRAM.format(module=package, method=system.start_method, workers=effort.workers)
        )
        for _ in range(1 + PROGRAMS):
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, str(path)], capture_output=True, text=True, check=True
            )
            first, second = map(float, done.stdout.split())
            firsts.append(first - start)
            seconds.append(second)
    return {
        "first_ms": statistics.median(firsts[1:]) * 1e3,
        "second_ms": statistics.median(seconds[1:]) * 1e3,
    }

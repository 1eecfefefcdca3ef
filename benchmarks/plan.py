"""What is measured of whom: subjects, their units, and the bars that manyhands must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from systems import Awaited, Blocking, System
from systems_drop_in import METHODS, drop_in
from systems_manyhands import OUR_THREADS, OUR_THREADS_AWAITED, OURS, OURS_AWAITED

STARTED_OTHERWISE = ("manyhands (fork)", "manyhands (spawn)")
DROP_INS = tuple(map(drop_in, METHODS))
STDLIB_EXECUTORS = tuple(f"ProcessPoolExecutor ({method})" for method in METHODS)


def functions(system: System) -> bool:
    """Systems whose steady state is compared: ours with its default start method only."""
    return system.name not in STARTED_OTHERWISE and system.name not in DROP_INS


def processes(system: System) -> bool:
    """Systems that copy payloads to another process."""
    return functions(system) and not system.in_process


def everyone(system: System) -> bool:
    """Systems whose start is compared: ours with each start method."""
    return system.name not in DROP_INS


def executors(system: System) -> bool:
    """The standard library's executors of processes, and the drop-in for them."""
    return system.name in STDLIB_EXECUTORS or system.name in DROP_INS


def executors_by(method: str) -> Callable[[System], bool]:
    """Those with one start method."""
    return lambda system: executors(system) and system.name.endswith(f"({method})")


def threads(system: System) -> bool:
    """Threads that are waited for."""
    return system.in_process and isinstance(system, Blocking)


def awaited_threads(system: System) -> bool:
    """Threads under `loop.run_in_executor`."""
    return system.in_process and isinstance(system, Awaited)


def coroutine_pools(system: System) -> bool:
    """Systems that run coroutines in their workers."""
    return isinstance(system, Awaited) and type(system).map_coroutines is not Awaited.map_coroutines


@dataclass(frozen=True)
class Subject:
    """One figure of merit, which is one table."""

    key: str
    measure: str
    """The measurement in `child.py` that yields it."""
    number: str
    """Its name among the numbers of that measurement."""
    title: str
    unit: str
    more_is_better: bool
    includes: Callable[[System], bool]
    ours: str = OURS

    def advantage(self, ours: float, theirs: float) -> float:
        """How many times better ours is."""
        return ours / theirs if self.more_is_better else theirs / ours


SUBJECTS = [
    Subject(
        "throughput",
        "throughput",
        "tasks_per_s",
        "No-op functions, submit all, then read all",
        "tasks/s",
        True,
        functions,
    ),
    Subject(
        "roundtrip",
        "roundtrip",
        "median_us",
        "One round trip, median",
        "µs",
        False,
        functions,
    ),
    Subject(
        "payload",
        "payload",
        "gb_per_s",
        "64 MB of bytes there and back (both ways counted)",
        "GB/s",
        True,
        processes,
    ),
    Subject(
        "first",
        "first",
        "first_ms",
        "From no pool to the first result, imports excluded",
        "ms",
        False,
        everyone,
    ),
    Subject(
        "import",
        "first",
        "import_ms",
        "Import in a fresh interpreter",
        "ms",
        False,
        everyone,
    ),
    Subject(
        "coroutines",
        "coroutines",
        "tasks_per_s",
        "No-op coroutines through `map`",
        "tasks/s",
        True,
        coroutine_pools,
        OURS_AWAITED,
    ),
    Subject(
        "coroutine_roundtrip",
        "coroutine_roundtrip",
        "median_us",
        "One coroutine's round trip, median",
        "µs",
        False,
        coroutine_pools,
        OURS_AWAITED,
    ),
    Subject(
        "threads",
        "throughput",
        "tasks_per_s",
        "No-op functions on threads, submit all, then read all",
        "tasks/s",
        True,
        threads,
        OUR_THREADS,
    ),
    Subject(
        "run_in_executor",
        "throughput",
        "tasks_per_s",
        "`gather` of `run_in_executor` calls on threads",
        "tasks/s",
        True,
        awaited_threads,
        OUR_THREADS_AWAITED,
    ),
    Subject(
        "run_in_executor_roundtrip",
        "roundtrip",
        "median_us",
        "One `await run_in_executor` on threads, median",
        "µs",
        False,
        awaited_threads,
        OUR_THREADS_AWAITED,
    ),
    Subject(
        "executor",
        "throughput",
        "tasks_per_s",
        "Executors: no-op functions, submit all, then read all",
        "tasks/s",
        True,
        executors,
        drop_in("forkserver"),
    ),
    Subject(
        "executor_map",
        "executor_map",
        "single_per_s",
        "Executors: `map`, default chunksize",
        "items/s",
        True,
        executors,
        drop_in("forkserver"),
    ),
    Subject(
        "executor_chunks",
        "executor_map",
        "chunked_per_s",
        "Executors: `map`, chunksize 500",
        "items/s",
        True,
        executors,
        drop_in("forkserver"),
    ),
    *(
        Subject(
            f"{number}_{method}",
            "program",
            number,
            f"Executors ({method}): {title}",
            "ms",
            False,
            executors_by(method),
            drop_in(method),
        )
        for method in METHODS
        for number, title in (
            ("first_ms", "from the start of a program to its first result"),
            ("second_ms", "a program's second executor, to its first result"),
        )
    ),
]

OWN_MEASURES = {
    "idle": "wake-ups of an idle pool, for every system that has processes",
    "stream": "`map` over a long generator",
    "cost": "cost per task, few against many",
    "starting": "what the import adds to the start of an interpreter",
    "floors": "what no pool can beat here",
}

THREADS_AWAITED = ("ThreadPoolExecutor, awaited",)
NULL_EXECUTOR = ("an executor that only calls, awaited",)
MP_POOL = ("multiprocessing.Pool.apply_async",)


@dataclass(frozen=True)
class Bar:
    """A ratio that must be reached against the best of some peers."""

    subject: str
    peers: tuple[str, ...]
    factor: float
    text: str


BARS = [
    Bar("throughput", STDLIB_EXECUTORS, 20, "no-op functions: ProcessPoolExecutor, the fastest"),
    Bar("throughput", MP_POOL, 8, "no-op functions: multiprocessing.Pool.apply_async"),
    Bar("roundtrip", STDLIB_EXECUTORS, 5, "round trip: ProcessPoolExecutor, the fastest"),
    Bar("coroutines", ("aiomultiprocess",), 4, "coroutines through `map`: aiomultiprocess"),
    Bar(
        "coroutine_roundtrip", ("aiomultiprocess",), 100, "coroutine's round trip: aiomultiprocess"
    ),
    Bar("payload", STDLIB_EXECUTORS + MP_POOL, 5, "64 MB there and back: the best of the stdlib"),
    Bar("threads", ("ThreadPoolExecutor",), 5, "no-op functions on threads: ThreadPoolExecutor"),
    Bar(
        "run_in_executor",
        THREADS_AWAITED,
        2.2,
        "`gather` of `run_in_executor` calls: ThreadPoolExecutor",
    ),
    Bar(
        "run_in_executor",
        NULL_EXECUTOR,
        0.7,
        "`gather` of `run_in_executor` calls: an executor that only calls",
    ),
    Bar(
        "run_in_executor_roundtrip",
        THREADS_AWAITED,
        1.5,
        "one `await run_in_executor`: ThreadPoolExecutor",
    ),
    Bar("executor", STDLIB_EXECUTORS, 20, "drop-in, no-op functions: ProcessPoolExecutor"),
    Bar("executor_map", STDLIB_EXECUTORS, 20, "drop-in, `map`: ProcessPoolExecutor"),
    Bar("executor_chunks", STDLIB_EXECUTORS, 1.5, "drop-in, `map` in chunks: ProcessPoolExecutor"),
    *(
        Bar(f"first_ms_{method}", (executor,), 1, f"drop-in, a program's first result: {executor}")
        for method, executor in zip(METHODS, STDLIB_EXECUTORS, strict=True)
    ),
    # Elsewhere there is no warm template to start from.
    Bar(
        "second_ms_forkserver",
        (STDLIB_EXECUTORS[METHODS.index("forkserver")],),
        3,
        "drop-in, a program's second executor: ProcessPoolExecutor (forkserver)",
    ),
]


def applicable(measure: str, system: System) -> bool:
    """Whether a measurement is to be made of a system."""
    if measure == "idle":
        return processes(system) and not system.heavy
    if measure in OWN_MEASURES:
        return isinstance(system, Blocking) and system.name == OURS
    return any(s.measure == measure and s.includes(system) for s in SUBJECTS)

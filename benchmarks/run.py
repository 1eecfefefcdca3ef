"""The benchmark: manyhands and its peers side by side, written to `benchmarks/RESULTS.md`.

python benchmarks/run.py
python benchmarks/run.py --only roundtrip,throughput --rounds 3
python benchmarks/run.py --quick
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from isolate import Outcome, become_subreaper, measure
from machine import CpuTime, describe_machine, describe_versions
from measures import Effort
from plan import OWN_MEASURES, SUBJECTS, applicable
from report import write_report
from results import Results
from systems import System, all_systems

RESULTS = Path(__file__).with_name("RESULTS.md")
MEASURES = [*dict.fromkeys(subject.measure for subject in SUBJECTS), *OWN_MEASURES]
LIMITS = {"stream": 600.0, "cost": 300.0}
HEAVY_TASKS = 2_000  # dask.distributed and ray need a second for these


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Measure manyhands and its peers side by side, each in fresh processes and in "
        "turns, and write the tables to benchmarks/RESULTS.md.",
        epilog="Measurements: " + ", ".join(MEASURES),
    )
    parser.add_argument(
        "--only", metavar="LIST", help="measure only these, separated by commas; see below"
    )
    parser.add_argument(
        "--systems", metavar="LIST", help="only systems whose name contains one of these"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how often each is measured (default: 5; quick: 2)"
    )
    parser.add_argument(
        "--all", action="store_true", help="the heavy ones too: dask.distributed and ray"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, a shorter stream: a look, not a result"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--limit", type=float, default=60, metavar="S", help="seconds for one measurement"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where the tables go, besides standard output (default: RESULTS.md beside this "
        "program for a whole run, nowhere for a part of one)",
    )
    options = parser.parse_args()
    options.measures = options.only.split(",") if options.only else MEASURES
    if unknown := set(options.measures) - set(MEASURES):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    options.rounds = options.rounds or (2 if options.quick else 5)
    if not (options.output or options.only or options.systems or options.quick):
        options.output = RESULTS
    return options


def chosen_systems(options: argparse.Namespace) -> list[System]:
    """The systems to measure, ours first."""
    wanted = options.systems.split(",") if options.systems else [""]
    return [
        system
        for system in all_systems().values()
        if (options.all or not system.heavy) and any(part in system.name for part in wanted)
    ]


def schedule(
    measures: list[str], systems: list[System], rounds: int
) -> Iterator[tuple[int, str, System]]:
    """Rounds of A B A B ...; each round starts with another system, so that drift hits all."""
    for turn in range(rounds):
        for name in measures:
            fitting = [system for system in systems if applicable(name, system)]
            if name in OWN_MEASURES and name != "cost" and turn > 0:
                continue
            for index in range(len(fitting)):
                yield turn, name, fitting[(index + turn) % len(fitting)]


def is_compiled(package: str) -> bool:
    """Has somebody compiled the package's modules to bytecode?"""
    spec = find_spec(package)
    return (
        spec is not None
        and spec.origin is not None
        and Path(cache_from_source(spec.origin)).exists()
    )


def main() -> int | str:
    options = parse_options()
    if not is_compiled("manyhands"):
        return (
            "manyhands has no bytecode here, as any package has once it is installed, so each "
            "import would compile it: `make bench` sees to that"
        )
    become_subreaper()
    systems = chosen_systems(options)
    effort = Effort(workers=options.workers)
    if options.quick:
        effort = replace(
            effort, tasks=5_000, seconds=0.2, calls=500, stream_items=1_000_000, many_tasks=200_000
        )
    results = Results(rounds=options.rounds, effort=effort, quick=options.quick)
    started, cpu_time = time.monotonic(), CpuTime.now()
    missing: dict[str, Outcome] = {}
    planned = list(schedule(options.measures, systems, options.rounds))
    for number, (turn, name, system) in enumerate(planned, 1):
        label = f"[{number}/{len(planned)}] round {turn + 1}, {name}, {system.name}: "
        if system.name in missing:
            outcome = missing[system.name]
        else:
            fitted = replace(effort, tasks=HEAVY_TASKS) if system.heavy else effort
            outcome = measure(name, system.name, fitted, LIMITS.get(name, options.limit))
        if outcome.missing:
            missing[system.name] = outcome
        results.add(name, system.name, turn, outcome)
        progress(label + describe(outcome))
    minutes = (time.monotonic() - started) / 60
    where = [*describe_machine(), describe_versions(systems), cpu_time.disturbance(CpuTime.now())]
    text = write_report(results, systems, where, minutes)
    if options.output:
        options.output.write_text(text)
    print(text)
    return 0


def describe(outcome: Outcome) -> str:
    """One outcome in one line."""
    said = outcome.note or ", ".join(f"{key} {n:,.4g}" for key, n in outcome.numbers.items())
    return said + (f" ({outcome.left_behind} left behind)" if outcome.left_behind else "")


def progress(text: str) -> None:
    """Tell someone who waits what is going on."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

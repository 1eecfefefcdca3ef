"""One measurement of one system, in a process that does nothing else.

Started by `run.py`; the numbers go to a file, because systems write what they like to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import bars
import executors
import floors
import measures
from measures import Effort, Numbers
from systems import System, all_systems

MEASURES: dict[str, Callable[[System, Effort], Numbers]] = {
    "throughput": measures.throughput,
    "roundtrip": measures.roundtrip,
    "payload": measures.payload,
    "first": measures.first,
    "coroutines": measures.coroutines,
    "coroutine_roundtrip": measures.coroutine_roundtrip,
    "executor_map": executors.executor_map,
    "program": executors.program,
    "idle": bars.idle,
    "stream": bars.stream,
    "cost": bars.cost,
    "starting": bars.starting,
    "floors": floors.floors,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", metavar="SYSTEM", help="be the process that is observed")
    parser.add_argument("--system")
    parser.add_argument("--measure", choices=MEASURES)
    parser.add_argument("--effort", help="as JSON")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    systems = all_systems()
    if options.idle:
        bars.stay_idle(systems[options.idle], Effort().workers)
        sys.exit(0)
    effort = Effort(**json.loads(options.effort))
    numbers = MEASURES[options.measure](systems[options.system], effort)
    options.out.write_text(json.dumps(numbers))


if __name__ == "__main__":
    main()

"""Runs one measurement in a process of its own, within a time limit.

Whatever happens to it (a crash, a hang, a process left behind) becomes an `Outcome`; nothing that
it started is alive afterwards. To find also daemons that left its session, this process becomes
the subreaper: it inherits every orphan.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from measures import Effort, Numbers

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GRACE = 3.0  # seconds that helper processes may take to notice that their parent has ended


@dataclass(frozen=True)
class Outcome:
    """What came of one measurement: numbers, or a note why there are none."""

    numbers: Numbers = field(default_factory=dict)
    note: str = ""
    missing: bool = False
    """The system cannot be imported; no use to try again."""
    left_behind: int = 0
    """Processes that were still alive a while after the measurement had ended."""


def become_subreaper() -> None:
    """Inherit orphans from now on."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def measure(name: str, system: str, effort: Effort, limit: float) -> Outcome:
    """Run one measurement of one system; never raises because of it."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        out, log = Path(folder, "numbers.json"), Path(folder, "log")
        command = [sys.executable, str(Path(__file__).with_name("child.py"))]
        command += ["--measure", name, "--system", system, "--out", str(out)]
        command += ["--effort", json.dumps(asdict(effort))]
        with log.open("wb") as log_file:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
            try:
                status: int | None = child.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
            left = end_orphans(0.0 if status is None else GRACE)
        if status is None:
            return Outcome(note=f"no end within {limit:.0f} s")
        if status != 0:
            error, _, text = last_line(log).partition(": ")
            if error == "ModuleNotFoundError":
                return Outcome(note=f"not importable: {text}", missing=True)
            return Outcome(note=last_line(log) or f"exit status {status}")
        return Outcome(numbers=json.loads(out.read_text()), left_behind=left)


def end_orphans(grace: float) -> int:
    """Give orphans a while to end by themselves, then end them. How many had to be."""
    deadline = time.monotonic() + grace
    while (orphans := children()) and time.monotonic() < deadline:
        reap()
        time.sleep(0.02)
    left = len(orphans)
    while orphans:  # each one that is ended may leave its own children
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap()
        orphans = children()
    return left


def children() -> list[int]:
    """The living and the dead among the children of this process."""
    listed = (task.read_text() for task in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for line in listed for pid in line.split()]


def reap() -> None:
    """Bury the dead."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def last_line(log: Path) -> str:
    """The last thing that the measurement said: the error's text, as a rule."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:160]

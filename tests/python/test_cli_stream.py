"""How results flow while `manyhands map` runs: live, in bounded memory, until somebody ends it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import pool_tasks as tasks
from pool_tasks import PATIENCE

JOBS = """
import asyncio, os, time

def upper(text):
    return text.upper()

async def aupper(text):
    return text.upper()

def length(text):
    return len(text)

def stuck(name):
    open(name, "w").close()
    time.sleep(600)

async def astuck(name):
    open(name, "w").close()
    await asyncio.sleep(600)
"""


class Running:
    """A `manyhands map` under way, in a process group of its own as a shell would start it."""

    def __init__(self, folder: Path, *arguments: str, stdin: int | IO[bytes] = subprocess.PIPE):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "manyhands", "map", "--workers", "2", *arguments],
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self.unread = b""

    def send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def line(self, timeout: float = PATIENCE) -> Any:
        """The next result, parsed."""
        assert self.process.stdout is not None
        while b"\n" not in self.unread:
            assert select.select([self.process.stdout], [], [], timeout)[0], "no result came"
            block = os.read(self.process.stdout.fileno(), 1 << 20)
            assert block, "there are no more results"
            self.unread += block
        line, _, rest = self.unread.partition(b"\n")
        self.unread = rest
        return json.loads(line)

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Exit status and standard error."""
        _, stderr = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, stderr.decode()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start `manyhands map` in a folder with a module `jobs`."""
    (tmp_path / "jobs.py").write_text(JOBS)
    started: list[Running] = []

    def start(*arguments: str, **options: Any) -> Running:
        started.append(Running(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
        with running.process:
            pass


@pytest.mark.parametrize(
    "options",
    [
        ["jobs:upper"],
        ["jobs:aupper"],
        ["jobs:upper", "--unordered"],
        ["jobs:upper", "--chunksize=9"],
    ],
    ids=" ".join,
)
def test_a_result_appears_before_the_next_input_is_there(
    start: Callable[..., Running], options: list[str]
) -> None:
    running = start(*options)
    for letter in "abc":
        running.send(f"{letter}\n")
        assert running.line() == letter.upper()
    status, stderr = running.end()
    assert status == 0
    assert "3 done" in stderr


def test_a_file_of_results_grows_live_too(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start("jobs:upper", "-o", "results")
    running.send("a\n")
    results = tmp_path / "results"
    tasks.until(lambda: results.exists() and results.read_text() == '"A"\n')
    assert running.end()[0] == 0


def test_memory_does_not_grow_with_the_input(start: Callable[..., Running], tmp_path: Path) -> None:
    def peak_megabytes() -> float:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    running = start("jobs:upper", "--chunksize=4", "-q", stdin=subprocess.PIPE)
    line = "x" * 10_000
    peaks = []
    for _ in range(2):
        for _ in range(100):
            running.send(f"{line}\n" * 50)
            for _ in range(50):
                assert len(running.line()) == len(line)
        peaks.append(peak_megabytes())
    # 50 MB in, 50 MB out between the two.
    assert peaks[1] - peaks[0] < 10
    assert running.end() == (0, "")


def test_a_reader_that_pauses_holds_back_the_input(start: Callable[..., Running]) -> None:
    running = start("jobs:upper")
    assert running.process.stdin is not None
    descriptor = running.process.stdin.fileno()
    os.set_blocking(descriptor, False)
    line = b"x" * 9_999 + b"\n"
    taken = 0
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 2:
        try:
            taken += os.write(descriptor, line * 10)
            quiet_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        assert taken < 50_000_000, "it reads on and on"


def test_one_input_larger_than_all_that_may_be_in_flight_passes(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    with (tmp_path / "inputs").open("wb") as file:
        for _ in range(3):
            file.write(b"x" * (70 << 20) + b"\n")
    running = start("jobs:length", "-f", "inputs")
    assert [running.line() for _ in range(3)] == [70 << 20] * 3
    assert running.end()[0] == 0


def test_when_nobody_reads_on_it_ends_quietly(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    (tmp_path / "inputs").write_text("a\n" * 200_000)
    running = start("jobs:upper", "-f", "inputs")
    assert running.line() == "A"
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert running.process.wait(PATIENCE) == 128 + signal.SIGPIPE
    assert running.process.stderr is not None
    assert running.process.stderr.read() == b""


@pytest.mark.parametrize("function", ["stuck", "astuck"])
def test_ctrl_c_ends_at_once_whatever_runs(
    start: Callable[..., Running], tmp_path: Path, function: str
) -> None:
    running = start(f"jobs:{function}", "one", "two", "three", "four")
    tasks.until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists())
    running.interrupt()
    status, stderr = running.end()
    assert status == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("manyhands: interrupted: 0 done")
    assert len(stderr.splitlines()) == 1


def test_ctrl_c_keeps_what_is_done(start: Callable[..., Running]) -> None:
    running = start("jobs:upper")
    running.send("a\n")
    assert running.line() == "A"
    running.interrupt()
    status, stderr = running.end()
    assert status == 130
    assert "interrupted: 1 done" in stderr


def test_a_terminal_gets_a_progress_bar_and_a_pipe_none(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    arguments = [sys.executable, "-m", "manyhands", "map", "jobs:upper", "a", "b"]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (25, 80))
    try:
        subprocess.run(
            arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs, check=True
        )
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "100%" in shown
    assert "2/2" in shown
    assert "2 done, 0 failed" in shown

    running = start("jobs:upper", "a", "b")
    assert running.end()[1].count("\n") == 1

"""What the pool's tests run in workers, and what several of them need."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import manyhands as mh

PATIENCE = 60.0
"""Seconds after which something hangs: only ever waited for when a test fails."""


def identity(value: Any) -> Any:
    return value


def square(number: int) -> int:
    return number * number


def process_name() -> str:
    return multiprocessing.current_process().name


def process_number(*_: Any) -> int:
    return os.getpid()


def sleep(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


def touch(path: str, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write("x")


def wait_for_file(path: str) -> str:
    """Runs until the file is there."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


def announce_and_wait(begun: str, go: str, value: Any = None) -> Any:
    """Says that it runs by making one file; ends when there is another."""
    Path(begun).touch()
    wait_for_file(go)
    return value


def fail(error: BaseException) -> None:
    raise error


def leave(status: int) -> None:
    os._exit(status)


def kill_self(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(PATIENCE)


def square_or_die(number: int, victims: tuple[int, ...] = (7,)) -> int:
    if number in victims:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def thread_name() -> str:
    return threading.current_thread().name


async def async_square(number: int) -> int:
    return number * number


async def async_sleep(seconds: float, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return value


async def async_fail(error: BaseException) -> None:
    raise error


async def async_leave(status: int) -> None:
    os._exit(status)


async def async_wait_for_file(path: str) -> str:
    """Is under way until the file is there."""
    while not os.path.exists(path):
        await asyncio.sleep(0.005)
    return path


async def echo(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


under_way = 0
most_under_way = 0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="untouched")


async def crowd(directory: str, size: int) -> tuple[int, int]:
    """(process, most coroutines under way in it so far); ends only when so many have come."""
    global under_way, most_under_way
    under_way += 1
    most_under_way = max(most_under_way, under_way)
    Path(directory, uuid.uuid4().hex).touch()
    try:
        while len(os.listdir(directory)) < size:
            await asyncio.sleep(0.005)
        # Whoever comes too early is to be seen.
        await asyncio.sleep(0.005)
        return os.getpid(), most_under_way
    finally:
        under_way -= 1


async def meet(directory: str, name: str, others: list[str]) -> str:
    """Ends only when all the others are under way at the same time."""
    (Path(directory) / name).touch()
    while not all((Path(directory) / other).exists() for other in others):
        await asyncio.sleep(0.002)
    return name


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Waits for a condition; its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.005)
    return value


def alive(pid: int) -> bool:
    """Does the process run (a zombie does not)?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def thread_pool(workers: int = 2, **settings: Any) -> Any:
    return mh.Pool(workers, kind="thread", **settings)


def workers_of(pool: Any) -> list[int]:
    """The processes of a pool, all of them ready."""

    def ready() -> list[int]:
        rows = pool._status()[0]
        return [pid for pid, phase in rows if phase == "ready" and pid]

    return until(lambda: len(ready()) == pool._workers and ready(), "that all workers are ready")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process is under SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def start_program(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python program of its own, in a process group of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        text=True,
        start_new_session=True,
        env={**os.environ, **environment, **options.pop("env", {})},
        **options,
    )


def run_program(*arguments: str, stdin: str | None = None, cwd: Any = None) -> tuple[int, str, str]:
    """Status, standard output, standard error of a Python program."""
    with start_program(
        *arguments, stdin=subprocess.PIPE if stdin is not None else None, cwd=cwd
    ) as program:
        try:
            out, error = program.communicate(stdin, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            raise
    return program.returncode, out, error


def run(source: str, *, code: int = 0) -> str:
    """A program of its own, with so much on its standard output and then its standard error.

    (Newer interpreters warn of forks beside threads: that is not shown.)
    """
    program = textwrap.dedent(source)
    status, out, error = run_program("-W", "ignore", "-X", "faulthandler", "-c", program)
    assert status == code, out + error
    return out + error

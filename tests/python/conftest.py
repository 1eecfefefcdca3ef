"""For every test: what it started must be gone afterwards, and nothing may hang for ever.

The watchdog proper is pytest's own (`faulthandler_timeout` in pyproject.toml): it dumps the stack
of every thread and ends the run, whoever holds the GIL.
"""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_tasks import workers_of

MARK = f"MANYHANDS_TESTS={uuid.uuid4()}"
GRACE = 20.0  # seconds; generous, since it is only waited for when something is wrong
SEMAPHORES = f"mh-{uuid.uuid4().hex[:8]}"
"""How the names of semaphores begin that we and our multiprocessing children make.

Others, who run tests or benchmarks as well, may leave theirs behind.
"""

SHARED_MEMORY = ("manyhands", "psm_", f"sem.{SEMAPHORES}", "pym-")  # names in /dev/shm

module_pools: list[Any] = []
"""Those that live longer than a test."""

stderr_key = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Remember the real standard error, and mark all that tests start."""
    config.stash[stderr_key] = os.dup(2)
    # A run in the background of a script begins with Ctrl-C ignored, and all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.current_process()._config["semprefix"] = f"/{SEMAPHORES}"  # type: ignore[attr-defined]
    name, _, value = MARK.partition("=")
    os.environ[name] = value  # inherited, so that even orphans are known for ours


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Watch the teardown, too: pytest's own watchdog stops at the first failure."""
    timeout = float(item.config.getini("faulthandler_timeout"))
    if timeout:
        stderr = item.config.stash[stderr_key]
        faulthandler.dump_traceback_later(timeout, file=stderr, exit=True)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No process, open file or shared memory outlives the test that made it.

    What lives longer on purpose, such as the pool of a module-wide fixture, was there before the
    test; numbers are compared, as that pool may replace its workers and descriptors.
    """
    for pool in module_pools:
        # The test before may have cost it a worker.
        workers_of(pool)
    before = inventory()
    yield
    deadline = time.monotonic() + GRACE
    while left := leftovers(before):
        if time.monotonic() > deadline:
            pytest.fail("the test left behind:\n" + "\n".join(left), pytrace=False)
        gc.collect()
        time.sleep(0.02)


def inventory() -> dict[str, dict[int, str]]:
    """All that there is: kind → what identifies it → what it is."""
    return {"process": processes(), "descriptor": descriptors(), "shared memory": shared_memory()}


def leftovers(before: dict[str, dict[int, str]]) -> list[str]:
    """A line for each thing that is new since `before`, where the number of its kind has grown."""
    report = []
    for kind, now in inventory().items():
        old = before[kind]
        if len(now) > len(old):
            report += [f"  {kind} {key}: {now[key]}" for key in now if old.get(key) != now[key]]
    return report


def processes() -> dict[int, str]:
    """Our descendants, and orphans of theirs, with state and command line."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    marked: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if MARK.encode() in (entry / "environ").read_bytes().split(b"\0"):
                marked.add(pid)
        except OSError:  # ended meanwhile, or somebody else's
            continue
        parents[pid] = int(parent)
        command = b" ".join(words).decode(errors="replace")
        commands[pid] = f"child of {parent}, state {state}: {command:.100}"

    def ours(pid: int) -> bool:
        while pid in parents:
            if pid in marked or parents[pid] == os.getpid():
                return True
            pid = parents[pid]
        return False

    helpers = {os.getpid(), *_helper("_forkserver_pid"), *_helper("_pid")}
    return {pid: text for pid, text in commands.items() if pid not in helpers and ours(pid)}


def descriptors() -> dict[int, str]:
    """Our open files, without those that lead to multiprocessing's helpers."""
    helpers = {*_helper("_forkserver_alive_fd"), *_helper("_fd")}
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
    return {number: target for number, target in found.items() if number not in helpers}


def shared_memory() -> dict[int, str]:
    """What a pool or a test could have put into /dev/shm, by inode.

    Others may run tests as well: what a living process has mapped that is none of ours, is theirs.
    """
    files = {
        file.inode(): file.path
        for file in os.scandir("/dev/shm")
        if file.name.startswith(SHARED_MEMORY)
    }
    if files:
        ours = {os.getpid(), *processes(), *_helper("_forkserver_pid"), *_helper("_pid")}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) not in ours:
                for inode in mapped_shared_memory(entry):
                    files.pop(inode, None)
    return files


def mapped_shared_memory(process: Path) -> set[int]:
    """The files of /dev/shm that a process has mapped, by inode: a semaphore's was named later."""
    try:
        lines = (process / "maps").read_text(errors="replace").splitlines()
    except OSError:  # ended meanwhile, or somebody else's
        return set()
    return {int(line.split()[4]) for line in lines if " /dev/shm/" in line}


def _helper(attribute: str) -> list[int]:
    """Of multiprocessing's fork server and resource tracker, which live as long as we do."""
    singletons = (
        getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None),
        getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None),
    )
    values = (getattr(singleton, attribute, None) for singleton in singletons)
    return [value for value in values if value is not None]


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    """Two workers, for all tests of a module that leave them as they were."""
    import manyhands

    with manyhands.Pool(2) as pool:
        # They are all there, or the first test would be taken for who left them behind.
        workers_of(pool)
        pool.submit(abs, -7).result()
        module_pools.append(pool)
        yield pool
        module_pools.remove(pool)


@pytest.fixture
def threads() -> Iterator[Any]:
    """A pool of two threads."""
    import manyhands

    with manyhands.Pool(2, kind="thread") as pool:
        yield pool


@pytest.fixture
def executor() -> Iterator[Any]:
    """The drop-in for `concurrent.futures.ThreadPoolExecutor`, with two threads."""
    from manyhands.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def busy(executor: Any) -> Iterator[threading.Event]:
    """Both threads of `executor` wait for this event."""
    event, there = threading.Event(), threading.Barrier(3)

    def block() -> None:
        there.wait()
        event.wait()

    for _ in range(2):
        executor.submit(block)
    there.wait()
    yield event
    event.set()

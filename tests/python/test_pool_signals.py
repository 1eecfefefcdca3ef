"""Ctrl-C, and the sudden end of the parent: nothing is lost that need not be, nothing stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import pool_tasks as tasks

METHODS = ["forkserver", "spawn", "fork"]


def group(leader: int) -> list[int]:
    """Running processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and tasks.alive(int(entry.name)):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def start(tmp_path: Path, source: str, **environment: str) -> subprocess.Popen[str]:
    """A program that has written its first line."""
    path = tmp_path / "program.py"
    path.write_text(source)
    program = tasks.start_program(str(path), cwd=tmp_path, env=environment)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def finish(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status and output of a program that has ended with all its processes."""
    try:
        out, error = program.communicate(timeout=tasks.PATIENCE)
        tasks.until(lambda: not group(program.pid), "that all processes are gone")
    finally:
        for pid in group(program.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return program.returncode, out, error


BLOCKED = {
    "result": "for future in futures: future.result()",
    "map": "list(pool.map(sleep, [0.05] * 100000))",
    "wait": "concurrent.futures.wait(futures)",
    "submit": "while True: pool.submit(sleep, 0.05)",
    "exit": "pass",
    "shutdown": "pool.shutdown()",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", BLOCKED)
def test_ctrl_c_is_one_keyboard_interrupt_and_the_workers_are_gone(
    tmp_path: Path, method: str, where: str
) -> None:
    """As a terminal sends it: to every process of the group."""
    program = start(
        tmp_path,
        f"""
import concurrent.futures, time
import manyhands as mh

def sleep(seconds):
    time.sleep(seconds)

if __name__ == "__main__":
    with mh.Pool(2, start_method={method!r}) as pool:
        list(pool.map(sleep, [0] * 4))
        futures = [pool.submit(sleep, 0.05) for _ in range(5000)]
        print("ready", flush=True)
        {BLOCKED[where]}
""",
    )
    time.sleep(0.2)
    os.killpg(program.pid, signal.SIGINT)
    status, _, error = finish(program)
    assert status == -signal.SIGINT
    assert error.count("Traceback") == 1, error
    assert error.splitlines()[-1] == "KeyboardInterrupt"


def test_ctrl_c_ends_a_program_without_with_block(tmp_path: Path) -> None:
    """What is still queued is not waited for."""
    program = start(
        tmp_path,
        """
import time
import manyhands as mh

if __name__ == "__main__":
    pool = mh.Pool(2)
    futures = [pool.submit(time.sleep, 600) for _ in range(100)]
    pool.submit(abs, 1)
    print("ready", flush=True)
    futures[0].result()
""",
    )
    time.sleep(0.2)
    os.killpg(program.pid, signal.SIGINT)
    status, _, error = finish(program)
    assert (status, error.count("Traceback")) == (-signal.SIGINT, 1)


def test_ctrl_c_ends_a_program_in_the_middle_of_its_callbacks(tmp_path: Path) -> None:
    """Those that have not begun are not run, and none is cut off where that is fatal."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import manyhands as mh

def work(future):
    for _ in range(20_000):
        pass

if __name__ == "__main__":
    pool = mh.Pool(1)
    futures = [pool.submit(abs, number) for number in range(3000)]
    for future in futures:
        future.add_done_callback(work)
    futures[-1].result()
    raise KeyboardInterrupt
"""
    )
    status, out, error = tasks.run_program(str(program))
    assert (status, out, error.count("Traceback")) == (-signal.SIGINT, "", 1)
    assert error.splitlines()[-1] == "KeyboardInterrupt"


def test_ctrl_c_ends_while_a_callback_is_stuck(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import threading, time
import manyhands as mh

if __name__ == "__main__":
    pool = mh.Pool(1)
    lock = threading.Lock()
    lock.acquire()
    # It must not have ended yet, or the callback were called here.
    pool.submit(time.sleep, 1).add_done_callback(lambda _: lock.acquire())
    pool.submit(abs, -1).result()
    raise KeyboardInterrupt
"""
    )
    status, _, error = tasks.run_program(str(program))
    assert (status, error.count("Traceback")) == (-signal.SIGINT, 1)


def test_ctrl_c_never_reaches_what_is_being_started(tmp_path: Path) -> None:
    """Else a program that is ended early leaves the tracebacks of its helpers behind."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import signal
from multiprocessing import forkserver
import manyhands as mh

def deaf(pid):
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":") for line in file)
    masks = int(fields["SigBlk"], 16) | int(fields["SigIgn"], 16)
    return bool(masks >> (signal.SIGINT - 1) & 1)

if __name__ == "__main__":
    with mh.Pool(1):
        print(deaf(forkserver._forkserver._forkserver_pid))
"""
    )
    assert tasks.run_program(str(program)) == (0, "True\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_an_asyncio_program(tmp_path: Path, method: str) -> None:
    program = start(
        tmp_path,
        f"""
import asyncio, time
import manyhands as mh

async def main():
    async with mh.Pool(2, start_method={method!r}) as pool:
        await pool.submit(abs, 1)
        print("ready", flush=True)
        await asyncio.gather(*[pool.submit(time.sleep, 0.05) for _ in range(5000)])

if __name__ == "__main__":
    asyncio.run(main())
""",
    )
    time.sleep(0.2)
    os.killpg(program.pid, signal.SIGINT)
    status, _, error = finish(program)
    assert status == -signal.SIGINT
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    assert "Task exception was never retrieved" not in error


def test_ctrl_c_into_a_waiting_thread_loses_nobodys_outcome(tmp_path: Path) -> None:
    """The main thread is interrupted in `result()` again and again, while it reads for others."""
    program = start(
        tmp_path,
        """
import concurrent.futures, os, signal, threading, time
import manyhands as mh

def sleep(seconds, value):
    time.sleep(seconds)
    return value

def use(pool, results, count):
    for number in range(count):
        results.append(pool.submit(sleep, 0.0005, number).result())

if __name__ == "__main__":
    with mh.Pool(2) as pool:
        pool.submit(abs, 1).result()
        results = [[] for _ in range(3)]
        threads = [threading.Thread(target=use, args=(pool, mine, 300)) for mine in results]
        for thread in threads: thread.start()
        stop = threading.Event()
        def interrupt():
            while not stop.is_set():
                time.sleep(0.003)
                os.kill(os.getpid(), signal.SIGINT)
        armed = False
        def handler(*_):
            # Only where the main thread is ready for it.
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, handler)
        print("ready", flush=True)
        pest = threading.Thread(target=interrupt)
        pest.start()
        interrupts = done = 0
        while done < 300 or interrupts < 20:
            future = pool.submit(sleep, 0.002, done)
            while True:
                try:
                    armed = True
                    value = future.result()
                    armed = False
                    break
                except KeyboardInterrupt:
                    interrupts += 1
            assert value == done
            done += 1
        stop.set()
        pest.join()
        for thread in threads: thread.join()
        assert results == [list(range(300))] * 3, [len(mine) for mine in results]
""",
    )
    assert finish(program) == (0, "", "")


def test_a_worker_ignores_ctrl_c_and_passes_it_to_programs_it_starts(tmp_path: Path) -> None:
    program = start(
        tmp_path,
        """
import os, signal, subprocess, sys
import manyhands as mh

def run():
    os.kill(os.getpid(), signal.SIGINT)
    child = subprocess.run([sys.executable, "-c",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)"], stderr=subprocess.DEVNULL)
    return child.returncode

if __name__ == "__main__":
    for method in ("forkserver", "spawn", "fork"):
        with mh.Pool(1, start_method=method) as pool:
            if method == "forkserver":
                print("ready", flush=True)
            print(pool.submit(run).result())
""",
    )
    assert finish(program) == (0, f"{-signal.SIGINT}\n" * 3, "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("state", ["idle", "busy", "stopped", "starting"])
def test_a_killed_parent_leaves_nothing_behind(tmp_path: Path, method: str, state: str) -> None:
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # short: sockets are made in it
    program = start(
        tmp_path,
        f"""
import os, time
import manyhands as mh

if __name__ == "__main__":
    if {state == "starting"}:
        print("ready", flush=True)
    pool = mh.Pool(2, start_method={method!r})
    if {state != "starting"}:
        pids = set()
        while len(pids) < 2:
            pids.add(pool.submit(os.getpid).result())
        with open("pids", "w") as file:
            print(*pids, file=file)
    futures = []
    if {state in ("busy", "stopped")}:
        futures = [pool.submit(time.sleep, 600) for _ in range(10)]
    if {state != "starting"}:
        print("ready", flush=True)
    time.sleep(600)
""",
        TMPDIR=str(temporary),
    )
    if state == "stopped":
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            os.kill(pid, signal.SIGSTOP)
    os.kill(program.pid, signal.SIGKILL)
    finish(program)
    if state == "starting":
        # It may just have made the directory that its fork server would have removed.
        shutil.rmtree(temporary)
    else:
        temporary.rmdir()


def test_sigterm_ends_the_program_and_all_its_processes(tmp_path: Path) -> None:
    program = start(
        tmp_path,
        """
import time
import manyhands as mh

if __name__ == "__main__":
    with mh.Pool(2) as pool:
        pool.submit(abs, 1).result()
        print("ready", flush=True)
        list(pool.map(time.sleep, [600] * 10))
""",
    )
    program.send_signal(signal.SIGTERM)
    finish(program)

"""A worker's process from its start to its seat, and how it looks to a program."""

from __future__ import annotations

import errno
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
from multiprocessing import connection
from typing import Any

import pytest

import pool_tasks as tasks
from manyhands import _worker
from manyhands._engine import WorkerSeat
from manyhands.futures import ProcessPoolExecutor
from manyhands.futures._workers import WorkerProcess


def ended() -> int:
    """The number of a process that has ended, and that its parent has taken note of."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_has_ended_already_is_readable_at_once_and_takes_no_signal() -> None:
    process = WorkerProcess(ended(), "w")
    assert connection.wait([process.sentinel], 0) == [process.sentinel]
    with select.epoll() as poll:
        poll.register(process.sentinel, select.EPOLLIN)
        assert poll.poll(0)
    assert not process.is_alive()
    process.terminate()
    process.kill()
    process.ended(3)
    assert process.exitcode == 3


def test_a_process_that_runs_takes_signals_until_it_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = WorkerProcess(child.pid, "w")
        assert process.is_alive()
        assert connection.wait([process.sentinel], 0) == []
        process.terminate()
    assert child.returncode == -signal.SIGTERM
    assert connection.wait([process.sentinel]) == [process.sentinel]
    assert not process.is_alive()
    process.kill()


def test_what_keeps_a_process_from_being_held_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        WorkerProcess(os.getpid(), "w")


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_process_that_cannot_be_held_takes_no_task(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disowned = []
    original = os.pidfd_open

    def refuse_once(pid: int) -> int:
        if disowned:
            return original(pid)
        disowned.append(original(pid))
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
        # The template, which calls the same function, has been forked by then.
        executor.submit(int).result()
        monkeypatch.setattr(os, "pidfd_open", refuse_once)
        (worker,) = (executor._processes or {}).values()
        worker.kill()
        worker.join()
        answer = executor.submit(os.getpid)
        tasks.until(lambda: disowned)
        assert answer.result() in (executor._processes or {})
        # Nobody has admitted it, so it ends by itself.
        assert connection.wait(disowned) == disowned
        os.close(disowned[0])


def join(send: list[tuple[bytes, list[int]]]) -> Any:
    """Takes the seat that is offered by these messages, after which the parent is gone."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for message, descriptors in send:
        socket.send_fds(ours, [message], descriptors)
    ours.close()
    return theirs.detach()


def test_a_worker_whose_parent_is_gone_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for function in ("ignore_interrupts", "_let_go_of_forkserver"):
        monkeypatch.setattr(_worker, function, lambda: None)
    with pytest.raises(EOFError, match="the pool's owner is gone"):
        WorkerSeat(join([]), None)

    class Control:
        fd = join([])

    class Spec:
        max_tasks, breaks = None, False

    with pytest.raises(SystemExit):
        _worker.main(Control(), Spec())  # type: ignore[arg-type]


def test_a_worker_that_cannot_take_its_seat_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("ignore_interrupts", "_let_go_of_forkserver"):
        monkeypatch.setattr(_worker, function, lambda: None)

    class Control:
        fd = join([(b"of another version", [])])

    class Spec:
        max_tasks, breaks = None, False

    with pytest.raises(OSError, match="not a welcome of this version"):
        _worker.main(Control(), Spec())  # type: ignore[arg-type]

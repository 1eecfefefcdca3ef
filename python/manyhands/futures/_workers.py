"""An executor's worker processes, as `multiprocessing.Process` objects look to a program.

Who makes them is the pool's launcher; here it is recorded what it makes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from manyhands._engine import Batch
    from manyhands._launch import Child, Launcher

__all__ = ["Manager", "Recorder", "WorkerProcess", "wait_for_dropped"]


class WorkerProcess:
    """One worker, from its start on.

    Attributes:
        pid: Its number.
        name: What it is called.
        daemon: Always true: it ends with its owner.
    """

    daemon = True

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name
        self._sentinel = _descriptor(pid)
        self._reaped = threading.Event()
        self._exitcode: int | None = None

    @property
    def ident(self) -> int:
        """The process's number."""
        return self.pid

    @property
    def sentinel(self) -> int:
        """A descriptor that is readable when the process has ended."""
        return self._sentinel

    def is_alive(self) -> bool:
        """Does the process run?"""
        return not self._reaped.is_set() and not _is_readable(self._sentinel)

    @property
    def exitcode(self) -> int | None:
        """Its exit status, minus the signal that ended it; `None` while it runs, or if somebody
        else has taken the status.
        """
        if not self.is_alive():
            self._reaped.wait()
        return self._exitcode

    def join(self, timeout: float | None = None) -> None:
        """Waits for its end."""
        self._reaped.wait(timeout)

    def terminate(self) -> None:
        """Sends SIGTERM, if it runs."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL, if it runs."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.is_alive():
            try:
                signal.pidfd_send_signal(self._sentinel, number)
            except ProcessLookupError:
                # It has just been reaped.
                return

    def close(self) -> None:
        """Nothing: the process is watched by its executor."""

    def ended(self, code: int | None) -> None:
        """The launcher has reaped it."""
        self._exitcode = code
        self._reaped.set()

    def __del__(self) -> None:
        if hasattr(self, "_sentinel"):  # or there was none to be had
            os.close(self._sentinel)

    def __repr__(self) -> str:
        if self._reaped.is_set():
            state = f"stopped exitcode={self._exitcode}"
        else:
            state = "started" if self.is_alive() else "stopped"
        return f"<{type(self).__name__} name={self.name!r} pid={self.pid} {state}>"


def _descriptor(pid: int) -> int:
    """One that is readable when the process has ended.

    Raises:
        OSError: None is left.
    """
    try:
        # Its launcher has not been asked to reap it, so the number is its own, or nobody's.
        return os.pidfd_open(pid)
    except OSError as error:
        # The second, if it is being reaped at this very moment.
        if error.errno not in (errno.ESRCH, errno.EINVAL):
            raise
    # It has ended, and the process that forked it has taken note of that.
    return os.eventfd(1)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class Recorder:
    """A launcher that keeps a table of the processes that there are."""

    def __init__(self, launcher: Launcher, name: str, processes: dict[int, Any]) -> None:
        self._launcher = launcher
        self._name = name
        self._processes = processes
        self._closed = False

    def launch(self, worker: int, fd: int) -> Child:
        """As the launcher."""
        child = self._launcher.launch(worker, fd)
        try:
            process = WorkerProcess(child.pid, f"{self._name}-{worker}")
        except OSError:
            # It finds no seat, and would end when it comes to ask for one. It may have gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            child.reap()
            raise
        self._processes[child.pid] = process
        return RecordedChild(child, process, self._processes)

    def close(self) -> None:
        """As the launcher; no process is left."""
        self._launcher.close()
        self._closed = True
        _ending.pop(self, None)

    def outlives(self, gone: Batch) -> None:
        """The executor was dropped: what `gone` tells the end of still ends what it has."""
        _ending[self] = os.getpid(), gone
        if self._closed:
            _ending.pop(self, None)


_ending: dict[Recorder, tuple[int, Batch]] = {}
"""What ends with the workers of executors that were dropped, and the process that had those."""


def wait_for_dropped() -> None:
    """Waits until executors that were dropped have ended what they had."""
    for owner, gone in list(_ending.values()):
        # A forked child has inherited the entries, and has none of the workers.
        if owner == os.getpid():
            gone.wait()


class RecordedChild:
    """A child whose end is recorded."""

    def __init__(self, child: Child, process: WorkerProcess, processes: dict[int, Any]) -> None:
        self.pid = child.pid
        self._child = child
        self._process = process
        self._processes = processes

    def reap(self) -> int | None:
        """As the child."""
        code: int | None = None
        try:
            code = self._child.reap()
        finally:
            self._processes.pop(self.pid, None)
            self._process.ended(code)
        return code


class Manager:
    """What takes care of an executor's workers, as a thread looks that can be waited for."""

    daemon = False

    def __init__(self, gone: Batch, name: str) -> None:
        self._gone = gone
        self.name = name

    def join(self, timeout: float | None = None) -> None:
        """Waits until no worker is left."""
        self._gone.wait(timeout)

    def is_alive(self) -> bool:
        """May there be workers?"""
        return not self._gone.done()

"""How worker processes are made: through `multiprocessing`.

So what can only be inherited (its locks, its queues) still is.

All calls come from one thread of the pool, which lives as long as the pool: the kernel ends a
worker when the thread that made it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import contextmanager
from multiprocessing import connection, forkserver, resource_tracker

from manyhands import _worker
from manyhands._spec import Handover, WorkerSpec

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["Child", "Launcher", "WorkerSpec", "make_launcher"]


class Child(Protocol):
    """A process that was started."""

    pid: int

    def reap(self) -> int | None:
        """The exit status of the process, which has ended; minus the signal that ended it."""


class Launcher(Protocol):
    """What the engine calls."""

    def launch(self, worker: int, fd: int) -> Child:
        """Starts a worker that takes its seat through `fd`, which the launcher owns."""

    def close(self) -> None:
        """No worker will be started or reaped any more."""


@contextmanager
def signal_mask(mask: set[int]) -> Iterator[None]:
    """A new process inherits this mask, and not that of the thread that starts it.

    The launcher's thread blocks every signal; a process that inherited that would never be told of
    the end of its children.
    """
    before = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_resource_tracker(mask: set[int]) -> None:
    """Starting it unblocks Ctrl-C in this thread, and so in the process that is made next.

    So it is started before that, under a mask of its own.
    """
    with signal_mask(mask):
        resource_tracker.ensure_running()


def workers_mask() -> set[int]:
    """What the calling thread blocks, and Ctrl-C, until a new process can deal with it."""
    return {*signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.SIGINT}


def make_launcher(method: str, name: str, spec: WorkerSpec, context: Any = None) -> Launcher:
    """The launcher for a start method; by the caller's own multiprocessing context, if it has one.

    With fork it is the template that makes processes, in its own way.
    """
    if method == "fork":
        return ForkLauncher(name, spec)
    return ContextLauncher(method, name, spec, context)


class ContextLauncher:
    """By `multiprocessing`'s own spawn or forkserver."""

    def __init__(self, method: str, name: str, spec: WorkerSpec, context: Any) -> None:
        self._context: Any = context or multiprocessing.get_context(method)
        self._name = name
        self._spec = spec
        self._mask = workers_mask()
        if method == "forkserver":
            _warm_forkserver()

    def launch(self, worker: int, fd: int) -> Child:
        try:
            process = self._context.Process(
                target=_worker.main,
                args=(Handover(fd), self._spec),
                name=f"{self._name}-{worker}",
            )
            _start_resource_tracker(self._mask)
            with signal_mask(self._mask), _main_without_file():
                process.start()
        finally:
            os.close(fd)
        return ContextChild(process)

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def _main_without_file() -> Iterator[None]:
    """A program read from standard input has no file that a worker could import, though its
    main module names one (`<stdin>`), which multiprocessing would look for.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or not file.startswith("<"):
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


class ContextChild:
    """A `multiprocessing.Process`."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    def reap(self) -> int | None:
        self._process.join()
        code: int | None = self._process.exitcode
        if code is None:
            # Somebody else, such as os.wait() in the program, has taken the exit status; without
            # one multiprocessing would take the process for alive.
            self._process._popen.returncode = 255
        self._process.close()
        return code


def _forget_forkserver() -> None:
    """A forked child cannot use its parent's server, and starts one of its own when it needs one.

    (multiprocessing itself would wait for the parent's as if it were a child of this process.)
    """
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        os.close(server._forkserver_alive_fd)
        server._lock = threading.Lock()
        server._forkserver_pid = None
        server._forkserver_alive_fd = None
        server._forkserver_address = None


os.register_at_fork(after_in_child=_forget_forkserver)


def _warm_forkserver() -> None:
    """Starts the server before the first worker, with the package loaded in it."""
    server: Any = forkserver._forkserver
    if server._forkserver_pid is None:
        modules = [*server._preload_modules, "manyhands._worker", "manyhands._template"]
        server.set_forkserver_preload(list(dict.fromkeys(modules)))
    mask = workers_mask()
    _start_resource_tracker(mask)
    with signal_mask(mask):
        forkserver.ensure_running()


_REQUEST = struct.Struct("!I")
_REPLY = struct.Struct("!Ii")
_STARTED = -(2**31)


class ForkLauncher:
    """By fork, from a template that was forked when the pool was made, before it had threads."""

    def __init__(self, name: str, spec: WorkerSpec) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._exits: dict[int, int] = {}
        context = multiprocessing.get_context("fork")
        self._template = context.Process(
            target=_template, args=(theirs, self._socket, name, spec), name=f"{name}-template"
        )
        with signal_mask(workers_mask()):
            self._template.start()
        theirs.close()

    def launch(self, worker: int, fd: int) -> Child:
        try:
            socket.send_fds(self._socket, [_REQUEST.pack(worker)], [fd])
        finally:
            os.close(fd)
        while True:
            pid, code = self._receive()
            if code == _STARTED:
                return TemplateChild(pid, self)
            self._exits[pid] = code

    def reap(self, pid: int) -> int:
        """The exit status of one of the template's children."""
        while pid not in self._exits:
            ended, code = self._receive()
            self._exits[ended] = code
        return self._exits.pop(pid)

    def _receive(self) -> tuple[int, int]:
        message = self._socket.recv(_REPLY.size)
        if not message:
            raise RuntimeError("the template that forks the workers has died")
        pid, code = _REPLY.unpack(message)
        return pid, code

    def close(self) -> None:
        self._socket.close()
        self._template.join()
        self._template.close()


class TemplateChild:
    """A process forked by the template."""

    def __init__(self, pid: int, launcher: ForkLauncher) -> None:
        self.pid = pid
        self._launcher = launcher

    def reap(self) -> int | None:
        return self._launcher.reap(self.pid)


def _template(
    requests: socket.socket, parents_end: socket.socket, name: str, spec: WorkerSpec
) -> None:
    """The template: forks workers when asked, reports their ends, ends with its parent."""
    _worker.ignore_interrupts()
    parents_end.close()
    # End of file does not come while another child of the parent holds its end open.
    parent = os.pidfd_open(os.getppid())
    context = multiprocessing.get_context("fork")
    # Ends as its owner's child; its own children are workers, which may have pools of their own.
    children: dict[int, Any] = {}
    while True:
        ready = connection.wait([requests, parent, *children])
        if parent in ready:
            os._exit(1)
        for sentinel in [found for found in ready if found in children]:
            process = children.pop(sentinel)
            pid = process.pid
            process.join()
            requests.send(_REPLY.pack(pid, process.exitcode))
            process.close()
        if requests not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST.size, 1)
        if not message:
            if children:
                # The parent has died, and they with this process; one that is stopped could not
                # be waited for.
                os._exit(1)
            return
        (worker,) = _REQUEST.unpack(message)
        process = context.Process(
            target=_forked,
            args=(Handover(descriptors[0]), requests, spec),
            name=f"{name}-{worker}",
        )
        with signal_mask(workers_mask()):
            process.start()
        os.close(descriptors[0])
        children[process.sentinel] = process
        requests.send(_REPLY.pack(process.pid, _STARTED))


def _forked(control: Handover, requests: socket.socket, spec: WorkerSpec) -> None:
    requests.close()
    _worker.main(control, spec)

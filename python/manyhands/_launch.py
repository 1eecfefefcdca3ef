"""How worker processes are made: through `multiprocessing`.

So what can only be inherited (its locks, its queues) still is.

All calls come from one thread of the pool, which lives as long as the pool: the kernel ends a
worker when the thread that made it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager

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
    from multiprocessing import resource_tracker

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
        from manyhands._launch_fork import ForkLauncher

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
    module = sys.modules.get("multiprocessing.forkserver")
    if module is None:
        return
    server: Any = module._forkserver
    if server._forkserver_pid is not None:
        os.close(server._forkserver_alive_fd)
        server._lock = threading.Lock()
        server._forkserver_pid = None
        server._forkserver_alive_fd = None
        server._forkserver_address = None


os.register_at_fork(after_in_child=_forget_forkserver)


def _warm_forkserver() -> None:
    """Starts the server before the first worker, with the package loaded in it."""
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._forkserver_pid is None:
        # What the program has imported of ours, its main module will import in each worker: then
        # it is there already.
        faces = [name for name in ("manyhands.futures._process",) if name in sys.modules]
        modules = [*server._preload_modules, "manyhands._worker", "manyhands._spec", *faces]
        modules.append("manyhands._template")
        server.set_forkserver_preload(list(dict.fromkeys(modules)))
    mask = workers_mask()
    _start_resource_tracker(mask)
    with signal_mask(mask):
        forkserver.ensure_running()

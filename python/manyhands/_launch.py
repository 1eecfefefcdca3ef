"""How worker processes are made: through `multiprocessing`.

So what can only be inherited (its locks, its queues) still is.

All calls come from one thread of the pool, which lives as long as the pool: the kernel ends a
worker when the thread that made it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import contextmanager

from manyhands import _worker
from manyhands._server import signal_mask, start_resource_tracker, workers_mask
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


def make_launcher(method: str, name: str, spec: WorkerSpec, context: Any = None) -> Launcher:
    """The launcher for a start method; by the caller's own multiprocessing context, if it has one.

    With fork it is the template that makes processes, in its own way. Of forkserver, the server has
    been started by the caller, before it imported this.
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
        self._main_file = _main_file()

    def launch(self, worker: int, fd: int) -> Child:
        try:
            process = self._context.Process(
                target=_worker.main,
                args=(Handover(fd), self._spec),
                name=f"{self._name}-{worker}",
            )
            start_resource_tracker(self._mask)
            with signal_mask(self._mask), _main_with_file(self._main_file):
                process.start()
        finally:
            os.close(fd)
        return ContextChild(process)

    def close(self) -> None:
        """Nothing is held."""


def _main_file() -> str | None:
    """The file that a worker has to import for the main module.

    A program read from standard input has none, though its main module names one (`<stdin>`), which
    multiprocessing would look for.
    """
    file: str | None = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if file is None or file.startswith("<") else file


@contextmanager
def _main_with_file(file: str | None) -> Iterator[None]:
    """That of the time when the pool was made: the interpreter takes it away when the program has
    come to its end, and workers are still started then.
    """
    main: Any = sys.modules.get("__main__")
    found = vars(main).get("__file__") if main is not None else None
    if main is None or found == file:
        yield
        return
    _set_file(main, file)
    try:
        yield
    finally:
        _set_file(main, found)


def _set_file(main: Any, file: str | None) -> None:
    if file is not None:
        main.__file__ = file
    elif "__file__" in vars(main):
        del main.__file__


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

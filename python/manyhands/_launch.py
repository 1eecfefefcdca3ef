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
from manyhands._server import (
    main_has_spec,
    may_have_children,
    signal_mask,
    start_resource_tracker,
    workers_mask,
)
from manyhands._spec import Handover, MainFile, WorkerSpec

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
        self._main = MainFile.now()
        main_has_spec()

    def launch(self, worker: int, fd: int) -> Child:
        try:
            start_resource_tracker(self._mask)
            with signal_mask(self._mask), may_have_children(), _main_without_file():
                process = self._context.Process(
                    target=_worker.main_elsewhere,
                    args=(self._main, Handover(fd), self._spec),
                    name=f"{self._name}-{worker}",
                )
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
    # The interpreter may be taking it away at this moment.
    vars(main).pop("__file__", None)
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
        # Not closed: it may be one of the `active_children` that another thread goes through.
        return code

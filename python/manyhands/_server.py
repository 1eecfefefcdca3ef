"""`multiprocessing`'s fork server, started early and with what workers need already in it.

Starting it takes as long as starting an interpreter. So this module imports little: the server
starts first, and what else a pool needs is imported while it does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = [
    "main_has_spec",
    "may_have_children",
    "signal_mask",
    "start_resource_tracker",
    "warm_up",
    "workers_mask",
]

_NEEDED = (
    "manyhands._worker",
    "manyhands._spec",
    # With these multiprocessing runs the main module in each worker, and hands over descriptors.
    "pkgutil",
    "multiprocessing.popen_forkserver",
)
"""What every worker imports."""


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


def workers_mask() -> set[int]:
    """What the calling thread blocks, and Ctrl-C, until a new process can deal with it."""
    return {*signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.SIGINT}


_starting = threading.Lock()
"""Held while a process is started."""


@contextmanager
def may_have_children() -> Iterator[None]:
    """A daemonic process may start none, lest they outlive it; workers end with their owner.

    One thread at a time, since what says so is the process's.
    """
    from multiprocessing import process

    with _starting:
        config: dict[str, Any] = process.current_process()._config  # type: ignore[attr-defined]
        daemon = config.pop("daemon", None)
        try:
            yield
        finally:
            if daemon is not None:
                config["daemon"] = daemon


def main_has_spec() -> None:
    """A debugger may have removed the main module's `__spec__`, for which multiprocessing asks."""
    main = sys.modules.get("__main__")
    if main is not None:
        vars(main).setdefault("__spec__", None)


def start_resource_tracker(mask: set[int]) -> None:
    """Starting it unblocks Ctrl-C in this thread, and so in the process that is made next.

    So it is started before that, under a mask of its own.
    """
    from multiprocessing import resource_tracker

    with signal_mask(mask):
        resource_tracker.ensure_running()


def warm_up() -> None:
    """Starts the server, if it was not started yet, with the package loaded in it.

    One that has died since is started again by the next process that is asked of it.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        return
    # What the program has imported of ours, its main module will import in each worker: then it is
    # there already.
    faces = [name for name in ("manyhands.futures._process",) if name in sys.modules]
    main_has_spec()
    # Later versions of CPython 3.13 have the main module among them, and run it there as no worker
    # would: with other arguments, and whatever it is read from.
    theirs = [name for name in server._preload_modules if name != "__main__"]
    modules = [*theirs, *_NEEDED, *faces, "manyhands._template"]
    server.set_forkserver_preload(list(dict.fromkeys(modules)))
    mask = workers_mask()
    start_resource_tracker(mask)
    with signal_mask(mask):
        forkserver.ensure_running()


def _forget() -> None:
    """A forked child cannot use its parent's server, and starts one of its own when it needs one.

    (multiprocessing itself would wait for the parent's as if it were a child of this process.)
    """
    _starting._at_fork_reinit()  # type: ignore[attr-defined]  # another thread may hold it
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


os.register_at_fork(after_in_child=_forget)

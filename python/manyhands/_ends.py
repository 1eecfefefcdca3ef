"""The end of the interpreter, and of a worker: pools that are still open end what they have."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, TypeVar

    class Ending(Protocol):
        """A pool, or an executor."""

        def _is_ours(self) -> bool: ...
        def shutdown(self, wait: bool = True) -> None: ...

    E = TypeVar("E", bound=Ending)

__all__ = ["GRACE", "LAST_CALLBACKS", "at_the_end", "end_all"]

GRACE = 5.0
"""Seconds that workers with nothing left to do may take to exit before they are killed."""

LAST_CALLBACKS = 1.0
"""Seconds that a callback under way may take when the interpreter ends."""

_finalizers: dict[tuple[int, int], Any] = {}
"""By process and priority."""


def at_the_end(priority: int, call: Callable[..., object], *args: object) -> None:
    """Has it called once when this process ends, before what has a lower priority.

    That is before multiprocessing joins its children; in its children too, where atexit does not
    run, and where what the parent registered is forgotten.
    """
    key = os.getpid(), priority
    known = _finalizers.get(key)
    # multiprocessing forgets what the main module registers as it is imported in a new process.
    if known is None or not known.still_active():
        from multiprocessing import util

        _finalizers[key] = util.Finalize(None, call, args=args, exitpriority=priority)


def end_all(pools: Iterable[E], kill: Callable[[E], object]) -> bool:
    """Ends this process's pools when their tasks have ended, or at once after Ctrl-C.

    Returns:
        Has Ctrl-C ended the program? Then nobody waits for results any more.
    """
    interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    for pool in list(pools):
        if pool._is_ours():
            if interrupted:
                kill(pool)
            else:
                pool.shutdown(wait=True)
    return interrupted

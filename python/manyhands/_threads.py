"""What the thread pools share: starting `threading.Thread`s, and the end of the interpreter."""

from __future__ import annotations

import concurrent.futures.thread
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.thread import BrokenThreadPool

from manyhands._engine import ThreadsBase, _end_threads, usable_cores

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from manyhands._lanes import Lanes

__all__ = [
    "BROKEN",
    "NativeThreads",
    "broken",
    "by_default",
    "cancelled",
    "initializer_failed",
    "join_all",
    "starter",
]

BROKEN = "A thread initializer failed, the thread pool is not usable anymore"

live_lanes: weakref.WeakSet[Lanes] = weakref.WeakSet()
"""The event loops of all pools."""


def _end_all() -> None:
    for lanes in list(live_lanes):
        lanes.close()
    _end_threads()


# As the standard library's executor has it: before the interpreter joins its threads, and so
# before what `atexit` knows. What was submitted is run.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]


def starter(
    threads: set[threading.Thread], *, prune: bool = False
) -> Callable[[str, Callable[[], None]], None]:
    """What starts a pool's threads, and keeps them in `threads`; with `prune` the live ones only.

    It does not know the pool, so that one that nobody has any more can end.
    """

    def start(name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=name)
        thread.start()
        if prune:
            threads.difference_update([t for t in list(threads) if not t.is_alive()])
        threads.add(thread)

    return start


def initializer_failed(error: BaseException) -> None:
    """Logs it, as the standard library does."""
    logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=error)


def broken(text: str) -> BrokenThreadPool:
    """What a pool that can run nothing more raises."""
    return BrokenThreadPool(text)


def cancelled() -> CancelledError:
    """What waiting for a cancelled task raises."""
    return CancelledError()


def join_all(threads: set[threading.Thread]) -> None:
    """Waits until the system has done with threads that have nothing left to do.

    Raises:
        RuntimeError: The calling thread is one of them.
    """
    for thread in list(threads):
        thread.join()


class WorkQueue:
    """The tasks of an executor that no thread has begun."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def qsize(self) -> int:
        """How many there are, withdrawn ones included until their turn comes."""
        return self._count()

    def empty(self) -> bool:
        """Is there none?"""
        return self._count() == 0


def by_default() -> int:
    """As many threads as the standard library has, of the cores that this process may use."""
    return min(32, usable_cores() + 4)


class NativeThreads(ThreadsBase, concurrent.futures.thread.ThreadPoolExecutor):
    """What the pools of threads have in common beside the native part.

    The standard executor is a base because event loops ask for one; none of its code runs.
    """

    _threads: set[threading.Thread]

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._counts()[2]

    @property  # type: ignore[override]
    def _work_queue(self) -> WorkQueue:
        return WorkQueue(lambda: self._counts()[1])

    @_work_queue.setter
    def _work_queue(self, queue: object) -> None:
        # With a queue of their own, programs bound what is submitted ahead, or order it.
        raise AttributeError(
            "calls wait in a native queue, which cannot be replaced. To submit only so many ahead, "
            "use map(…, buffersize=…), or take a semaphore before submit() and release it in "
            "a done-callback; to have them in another order, submit them so"
        )

    def _join_threads(self) -> None:
        """Waits until nothing is left to do, and for the threads.

        Raises:
            RuntimeError: The calling thread is one of them.
        """
        if threading.current_thread() in self._threads:
            raise RuntimeError("cannot join current thread")
        self._join(None)
        join_all(self._threads)

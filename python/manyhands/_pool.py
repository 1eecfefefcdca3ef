"""`Pool`: processes that run functions and coroutines."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, cast, overload

from manyhands import _errors
from manyhands._engine import MAX_WORKERS, Batch, PoolBase, _stop_callbacks, usable_cores
from manyhands._errors import PoolBroken
from manyhands._future import Future, Hub, hub_of
from manyhands._loops import forget_loops
from manyhands._map import MapResults
from manyhands._pickling import main_is_importable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

__all__ = ["Pool"]

P = ParamSpec("P")
T = TypeVar("T")

START_METHODS = ("forkserver", "spawn", "fork")

GRACE = 5.0
"""Seconds that workers with nothing left to do may take to exit before they are killed."""

LAST_CALLBACKS = 1.0
"""Seconds that a callback under way may take when the interpreter ends."""

_live: weakref.WeakSet[Pool] = weakref.WeakSet()
_at_exit: dict[int, Any] = {}

_ending: set[Batch] = set()
"""What ends with the workers of pools that were dropped: they still end what they have."""


class Pool(PoolBase, concurrent.futures.Executor):
    """Worker processes that run functions, and coroutines many at once.

    A worker that dies costs the tasks that it ran (one function, and the coroutines under way),
    which end as `WorkerDied`; the pool goes on with a new worker. The pool is also a
    `concurrent.futures.Executor` (PEP 3148). Large buffers travel beside the pickle (PEP 574).

    At the end of a `with` or `async with` block the pool waits for what was submitted, except when
    the block ends by `KeyboardInterrupt`, `SystemExit` or a cancellation: then workers are killed.

    Args:
        workers: Processes; by default as many as this process may use cores (its affinity and
            its container's quota).
        kind: `"process"`.
        concurrency: Coroutines that each worker runs at once.
        start_method: How processes start: `"forkserver"` (the default), `"spawn"` or `"fork"`. With
            fork, the workers have what the program had when the pool was made.
        initializer: Called in each worker before its first task.
        initargs: The initializer's arguments.
        max_tasks: Tasks after which a worker is replaced by a fresh one; never by default.
        name: Shown in `repr` and as the start of the processes' names.

    Raises:
        ValueError: A number is out of bounds, or a word is none of those above.
        TypeError: A number is no integer, or the initializer is not callable.
        OSError: The system gives no memory, descriptor or process.

    >>> from manyhands import Pool
    >>> with Pool(2) as pool:
    ...     list(pool.map(abs, [-1, 2, -3]))
    [1, 2, 3]

    >>> import asyncio
    >>> async def main():
    ...     async with Pool(2, concurrency=100) as pool:
    ...         return await pool.map(asyncio.sleep, [0.1, 0.1], "ab")
    >>> asyncio.run(main())
    ['a', 'b']
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        kind: Literal["process"] = "process",
        concurrency: int = 16,
        start_method: Literal["forkserver", "spawn", "fork"] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks: int | None = None,
        name: str | None = None,
    ) -> None:
        if kind != "process":
            if cast(str, kind) == "thread":
                raise ValueError(
                    "kind='thread' is not available yet; this version runs kind='process' only"
                )
            raise ValueError(f"kind must be 'process', not {kind!r}")
        workers = min(usable_cores(), MAX_WORKERS) if workers is None else workers
        _check("workers", workers, MAX_WORKERS)
        _check("concurrency", concurrency)
        if max_tasks is not None:
            _check("max_tasks", max_tasks)
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be callable, not {initializer!r}")
        method = start_method or "forkserver"
        if method not in START_METHODS:
            raise ValueError(f"start_method must be one of {START_METHODS}, not {method!r}")

        from manyhands._launch import make_launcher
        from manyhands._spec import WorkerSpec

        self._workers = workers
        self._concurrency = concurrency
        self._start_method = method
        self._name = name or f"manyhands-{id(self):x}"
        self._named = name is not None
        self._hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = (
            weakref.WeakKeyDictionary()
        )
        # With fork the main module is what it was; else each worker imports it.
        by_value = method != "fork" and not main_is_importable()
        spec = WorkerSpec.of(method, initializer, tuple(initargs), concurrency, max_tasks, by_value)
        launcher = make_launcher(method, self._name, spec)
        self._start(workers, launcher, Future, self._hubs, by_value, GRACE, _errors)
        _remember(self)

    if TYPE_CHECKING:
        # The native method, with the type of the result.
        @overload
        def submit(
            self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[T]: ...
        @overload
        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[Any]:
        """Runs `fn` on the items of the iterables, taken side by side as by `zip`.

        The results can be iterated, async-iterated, or awaited for a list. The input is read as
        results are asked for, in the caller's thread or loop, and never far ahead of them; it
        may be asynchronous where the results are.

        Nothing runs before the iteration begins. It ends with the first error; what has not
        begun by then is withdrawn, as when the iteration is closed or abandoned.

        Args:
            fn: A function or a coroutine function.
            *iterables: One for each argument of `fn`.
            timeout: Seconds that the whole iteration may take from this call on.
            chunksize: Items that travel together; by default measured and adapted.
            buffersize: Items that may be in flight, read from the input and not yet given back.
            ordered: Results in order of the input, or else as they come.
            progress: Shows a bar on standard error.

        Raises:
            TypeError: No iterable is given, or one is none; while iterating: one is asynchronous
                and the iteration is not.
            ValueError: `chunksize` or `buffersize` is less than 1.
            TimeoutError: While iterating: the time is over.
            Exception: While iterating: what `fn` raised, at the place of its item.

        >>> from manyhands import Pool
        >>> with Pool(2) as pool:
        ...     list(pool.map(pow, [2, 3], [5, 2]))
        [32, 9]
        """
        return MapResults(
            self, fn, iterables, False, timeout, chunksize, buffersize, ordered, progress
        )

    @overload
    def starmap(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        iterable: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    @overload
    def starmap(
        self,
        fn: Callable[..., T],
        iterable: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    def starmap(
        self,
        fn: Callable[..., Any],
        iterable: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[Any]:
        """As `map`, with one iterable of argument tuples; raises what `map` does.

        >>> from manyhands import Pool
        >>> with Pool(2) as pool:
        ...     list(pool.starmap(pow, [(2, 5), (3, 2)]))
        [32, 9]
        """
        return MapResults(
            self, fn, (iterable,), True, timeout, chunksize, buffersize, ordered, progress
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks, and ends the workers when those submitted have ended.

        Args:
            wait: Returns when no worker is left; else at once.
            cancel_futures: Withdraws what has not begun.

        In a forked child, to which the pool does not belong, it does nothing.

        >>> from manyhands import Pool
        >>> pool = Pool(1)
        >>> future = pool.submit(abs, -7)
        >>> pool.shutdown()
        >>> future.result()
        7
        """
        self._close(cancel_futures)
        if wait and self._is_ours():
            self._join(None)
            self._forget_loops()

    def kill(self) -> None:
        """Ends the workers at once, whatever they run; tasks not ended are cancelled.

        >>> import time
        >>> from manyhands import Pool
        >>> pool = Pool(1)
        >>> future = pool.submit(time.sleep, 60)
        >>> pool.kill()
        >>> future.cancelled()
        True
        """
        self._kill()
        if self._is_ours():
            # Not for callbacks: Ctrl-C may have come where they wait for what it left locked.
            self._gone().wait()
            self._forget_loops()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if _is_escape(exc_type):
            self.kill()
        else:
            try:
                self.shutdown(wait=True)
            except BaseException:
                # Ctrl-C: nobody waits any more.
                self.kill()
                raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if _is_escape(exc_type):
            self._kill()
        else:
            self._close(False)
        import asyncio

        gone = self._gone()
        if not gone.done():
            hub = hub_of(gone)
            waiter = hub.wait(gone)
            if waiter is not None:
                try:
                    await waiter
                except BaseException:
                    hub.forget(waiter)
                    self._kill()
                    raise
        if not self._join(0):
            # A callback still runs, and may be waiting for this loop.
            await asyncio.to_thread(self._join, None)
        self._forget_loops()

    def _forget_loops(self) -> None:
        forget_loops(self._hubs)

    def __del__(self) -> None:
        try:
            self._close(False)
        except RuntimeError:
            # It never started: its arguments were refused.
            return
        _ending.difference_update([gone for gone in list(_ending) if gone.done()])
        if self._is_ours() and not self._is_gone():
            _ending.add(self._gone())

    def __repr__(self) -> str:
        title = f"<Pool {self._name!r}" if getattr(self, "_named", False) else "<Pool"
        try:
            rows, outstanding, backlog, closed = self._status()
        except RuntimeError:
            return f"{title}: not started>"
        error = self._why_broken()
        if error is not None:
            state = f"broken: {error}" if not isinstance(error, PoolBroken) else str(error)
        elif self._is_gone():
            state = "shut down"
        else:
            ready = sum(phase == "ready" for _, phase in rows)
            state = f"{ready} of {len(rows)} workers ready, {outstanding} tasks"
            if backlog:
                state += f" ({backlog} queued)"
            if closed:
                state += ", shutting down"
        return f"{title} ({self._start_method}): {state}>"


def _check(name: str, value: object, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")


def _is_escape(exc_type: type[BaseException] | None) -> bool:
    """Does the block end in a way that waits for nothing (Ctrl-C, exit, cancellation)?"""
    if exc_type is None:
        return False
    if issubclass(exc_type, KeyboardInterrupt | SystemExit):
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and issubclass(exc_type, asyncio.CancelledError)


def _remember(pool: Pool) -> None:
    """Pools that are still open when the interpreter ends, or a worker does, end their tasks."""
    _live.add(pool)
    if os.getpid() not in _at_exit:
        # Before multiprocessing joins its children; in its children too, where atexit
        # does not run, and where what the parent registered is forgotten.
        from multiprocessing import util

        _at_exit[os.getpid()] = util.Finalize(None, _end_all, exitpriority=100)


def _end_all() -> None:
    # Ctrl-C has ended the program: nobody waits for the results any more.
    interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    for pool in list(_live):
        if pool._is_ours():
            if interrupted:
                pool.kill()
            else:
                pool.shutdown(wait=True)
    for gone in list(_ending):
        gone.wait()
    _ending.clear()
    _stop_callbacks(LAST_CALLBACKS)

"""`Pool(kind="thread")`: threads that run functions, and coroutines on event loops of their own."""

from __future__ import annotations

import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from manyhands import _threads
from manyhands._blocks import Blocks, is_escape, until_gone
from manyhands._engine import ThreadBatch, ThreadsBase, _locked
from manyhands._future import Future
from manyhands._mapping import Mapping
from manyhands._pickling import CO_COROUTINE, is_coroutine_function
from manyhands._pool import Pool, _check, count_of, numbers

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from manyhands._engine import Counted
    from manyhands._lanes import Lanes

__all__ = ["ThreadPool", "to_thread"]

P = ParamSpec("P")
T = TypeVar("T")


class _Told:
    """What the native part of a pool calls: it makes the exceptions, and is told of failures."""

    broken = staticmethod(_threads.broken)
    cancelled = staticmethod(_threads.cancelled)

    def __init__(self, pool: ThreadPool) -> None:
        # One that nobody has any more can end.
        self._pool = weakref.ref(pool)

    def initializer_failed(self, error: BaseException) -> None:
        """In a thread for functions; the event loops' threads are not to be had, either."""
        _threads.initializer_failed(error)
        pool = self._pool()
        if pool is not None and pool._lanes is not None:
            pool._lanes.fail()


def _fail(known: weakref.ref[ThreadPool]) -> None:
    """The initializer failed in an event loop's thread; the pool may be gone."""
    pool = known()
    if pool is not None:
        pool._fail()


class ThreadPool(Blocks, Mapping, _threads.NativeThreads):
    """What `Pool(kind="thread")` makes; see there. It is registered as a `Pool`.

    >>> import manyhands as mh
    >>> with mh.Pool(2, kind="thread") as pool:
    ...     list(pool.map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        kind: str = "thread",
        concurrency: int = 16,
        start_method: None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks: int | None = None,
        name: str | None = None,
    ) -> None:
        if kind != "thread":
            raise ValueError(f"kind must be 'thread', not {kind!r}")
        if start_method is not None:
            raise ValueError("start_method is for processes, and kind='thread' has none")
        if workers is None:
            workers = _threads.by_default()
        _check("workers", workers)
        _check("concurrency", concurrency)
        if max_tasks is not None:
            _check("max_tasks", max_tasks)
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be callable, not {initializer!r}")
        self._workers = self._max_workers = workers
        self._concurrency = concurrency
        self._max_tasks = max_tasks
        self._name = name or f"manyhands-{next(numbers)}"
        self._named = name is not None
        self._threads = set()
        self._thread_name_prefix = self._name
        self._prepare = None if initializer is None else (initializer, tuple(initargs))
        self._lanes: Lanes | None = None
        self._lanes_lock = threading.Lock()
        self._killed = False
        self._start(
            workers,
            f"{self._name}_",
            _threads.starter(self._threads, prune=True),
            Future,
            self._prepare,
            _Told(self),
            max_tasks,
            contextvars.copy_context,
        )

    if TYPE_CHECKING:

        @overload
        def submit(
            self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[T]: ...
        @overload
        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs `fn(*args, **kwargs)` in a thread and returns its `Future` at once. A coroutine
        function runs on the event loop of a thread, beside others.

        Raises:
            RuntimeError: The pool is shut down, or no thread could be started.
            concurrent.futures.thread.BrokenThreadPool: The initializer failed.

        >>> import manyhands as mh
        >>> with mh.Pool(1, kind="thread") as pool:
        ...     pool.submit(int, "ff", base=16).result()
        255
        """
        if not _gives_coroutines(fn):
            return super().submit(fn, *args, **kwargs)
        from manyhands._lane_jobs import LoopFuture, Single

        future = self._task(LoopFuture, fn, args, kwargs)
        self._loops().submit(Single(future), self._count_loop)
        return future

    def _count_loop(self) -> Counted:
        try:
            return self._count()
        except RuntimeError:
            why = self._failure()
            if why is not None:
                raise _threads.broken(why) from None
            raise

    def _loops(self) -> Lanes:
        if self._lanes is None:
            from manyhands._lanes import Lanes

            lanes = Lanes(
                self._workers,
                self._concurrency,
                self._max_tasks,
                f"{self._name}_",
                self._prepare,
                self._threads,
                partial(_fail, weakref.ref(self)),
            )
            return _locked(self._lanes_lock, self._take_lanes, lanes)
        return self._lanes

    def _take_lanes(self, lanes: Lanes) -> Lanes:
        if self._lanes is None:
            self._lanes = lanes
        return self._lanes

    def _submit_batch(
        self, func: Callable[..., Any], items: list[Any], singles: bool, first: int = 0
    ) -> ThreadBatch:
        coroutine = _gives_coroutines(func)
        batch = self._batch(func, items, singles, contextvars.copy_context(), not coroutine)
        if coroutine:
            from manyhands._lane_jobs import BatchItem

            loops = self._loops()
            try:
                for _ in items:
                    loops.submit(BatchItem(batch), self._count_loop)
            except BaseException:
                batch.cancel()
                raise
        return batch

    def _is_coroutine(self, func: Callable[..., Any]) -> bool:
        return _gives_coroutines(func)

    def _status(self) -> tuple[list[tuple[int, str]], int, int, bool]:
        threads, queued, closed = self._counts()
        queued += self._lanes.waiting() if self._lanes is not None else 0
        return [(number, "ready") for number in range(threads)], queued, queued, closed

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        return self._failure() or False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks, and ends the threads when those submitted have ended.

        Args:
            wait: Returns when no thread is left; else at once.
            cancel_futures: Withdraws what has not begun.

        Raises:
            RuntimeError: One of its own threads is to wait for the end of all.

        >>> import manyhands as mh
        >>> pool = mh.Pool(1, kind="thread")
        >>> future = pool.submit(abs, -7)
        >>> pool.shutdown()
        >>> future.result()
        7
        """
        self._end_tasks(cancel_futures)
        if wait:
            self._join_threads()

    def _end_tasks(self, cancel: bool) -> None:
        if not self._is_ours():
            return
        # What runs may submit no more from here; the loops end what they have.
        self._close(cancel)
        if self._lanes is not None:
            self._lanes.close(cancel=cancel)

    def kill(self) -> None:
        """Withdraws what has not begun, and cancels coroutines; returns at once.

        A function that runs cannot be stopped: its thread goes on with it, and the interpreter
        waits for it at its end.

        >>> import manyhands as mh
        >>> pool = mh.Pool(1, kind="thread")
        >>> pool.kill()
        """
        if not self._is_ours():
            return
        self._killed = True
        self._kill()
        if self._lanes is not None:
            self._lanes.kill()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if is_escape(exc_type):
            self.kill()
            return
        self._end_tasks(False)
        await until_gone(self._gone(), self.kill)
        self._join(0)
        # They have nothing left to do but to end.
        _threads.join_all(self._threads)

    def __del__(self) -> None:
        # What was submitted is run; the native part does the same for functions.
        lanes = getattr(self, "_lanes", None)
        if lanes is not None and self._is_ours():
            lanes.close()

    def __repr__(self) -> str:
        title = f"<Pool {self._name!r}" if getattr(self, "_named", False) else "<Pool"
        try:
            rows, queued, _, closed = self._status()
        except RuntimeError:
            return f"{title}: not started>"
        if self._broken:
            state = f"broken: {self._broken}"
        elif self._is_gone():
            state = "shut down"
        elif self._killed:
            state = f"shut down, {count_of(len(rows), 'thread')} ending"
        else:
            state = f"{count_of(len(rows), 'thread')}, {count_of(queued, 'task')} queued"
            if closed:
                state += ", shutting down"
        return f"{title} (thread): {state}>"


Pool.register(ThreadPool)


def _gives_coroutines(fn: Any) -> bool:
    kind = type(fn)
    if kind is FunctionType and not fn.__dict__:
        return bool(fn.__code__.co_flags & CO_COROUTINE)
    if kind is BuiltinFunctionType:
        return False
    if not callable(fn):
        raise TypeError(f"the first argument must be callable, not {kind.__name__}: {fn!r}")
    return is_coroutine_function(fn)


_default: dict[int, ThreadPool] = {}


def _default_pool() -> ThreadPool:
    """The pool of `to_thread`; a forked child makes its own."""
    pid = os.getpid()
    pool = _default.get(pid)
    if pool is None:
        # Of two threads that make one at the same time, the second takes the first one's.
        pool = _default.setdefault(pid, ThreadPool(name="manyhands-default"))
    return pool


async def to_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs `fn(*args, **kwargs)` in a thread and awaits it, as `asyncio.to_thread` does.

    It runs in a copy of the caller's context (PEP 567), on a pool of this package's that all
    callers share: threads for as many cores as this process may use, and 4, 32 at most. The pool
    is made at the first call and ends with the interpreter.

    If the caller is cancelled before the function has begun, it does not run.

    Raises:
        RuntimeError: The interpreter is ending, or no thread could be started.
        Exception: What `fn` raises.

    >>> import asyncio
    >>> import manyhands as mh
    >>> asyncio.run(mh.to_thread(pow, 2, 10))
    1024
    """
    return await ThreadsBase.submit(_default_pool(), fn, *args, **kwargs)  # type: ignore[no-any-return]

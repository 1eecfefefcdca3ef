"""`ThreadPoolExecutor`: the standard library's, on native threads.

What a program can see of it is as there (PEP 3148): the same threads, texts and exceptions, the
same end of the interpreter, the same attributes. Differences: `cancel` tells `wait` and
`as_completed` at once, and a forked child that submits gets an error where it would wait for ever.
"""

from __future__ import annotations

import itertools
import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from manyhands import _threads
from manyhands._future import Future
from manyhands._sizes import check_buffersize
from manyhands._threads import NativeThreads, starter

__all__ = ["ThreadPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")

_numbers = itertools.count()


class ThreadPoolExecutor(NativeThreads):
    """Threads that run calls, as `concurrent.futures.ThreadPoolExecutor` does.

    It is one, so `loop.set_default_executor` takes it too. Its futures are `manyhands.Future`s, so
    they can also be awaited. A thread runs one call after the other for as long as there are any;
    it is started when there is a call and no thread is idle.

    Args:
        max_workers: Threads at most; by default the cores that this process may use (its affinity
            and its container's quota) and 4, and no more than 32.
        thread_name_prefix: Threads are named by it, `_` and a number.
        initializer: Called in each thread before its first call. If it raises, the executor is
            broken.
        initargs: Its arguments.

    Raises:
        ValueError: `max_workers` is less than 1.
        TypeError: `initializer` is not callable.

    >>> from manyhands.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     list(executor.map(pow, [2, 3], [5, 2]))
    [32, 9]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers is None:
            max_workers = _threads.by_default()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._max_workers = max_workers
        self._threads = set()
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(_numbers)}"
        self._initializer = initializer  # type: ignore[assignment]
        self._initargs = initargs
        prepare = None if initializer is None else (initializer, tuple(initargs))
        self._start(
            math.ceil(max_workers),  # the standard library takes 2.5 for 3
            f"{self._thread_name_prefix}_",
            starter(self._threads),
            Future,
            prepare,
            _threads,
            None,
            None,
        )

    if TYPE_CHECKING:
        # The native method, with the type of the result.
        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        return self._failure() or False

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Results of `fn` on the items of the iterables, side by side as by `zip`, in their order.

        All calls are submitted at once, or with `buffersize` so many, and one more for each result
        that is taken. When the iteration is closed, abandoned or ends by an error, what has not
        begun is withdrawn.

        Args:
            fn: The function.
            *iterables: One for each of its arguments.
            timeout: Seconds that all results may take from this call on.
            chunksize: Without meaning for threads.
            buffersize: Calls whose results have not been taken, at most.

        Raises:
            TypeError: `buffersize` is no integer.
            ValueError: `buffersize` is less than 1.
            TimeoutError: While iterating: the time is over.
            Exception: While iterating: what `fn` raised, at the place of its items.

        >>> from manyhands.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as executor:
        ...     list(executor.map(abs, range(-3, 0), buffersize=2))
        [3, 2, 1]
        """
        check_buffersize(buffersize)
        deadline = None if timeout is None else timeout + time.monotonic()
        rows = zip(*iterables, strict=False)
        futures = deque(self.submit(fn, *row) for row in islice(rows, buffersize))
        # The iteration keeps no executor that the program has let go of.
        rest = None if buffersize is None else (weakref.ref(self), fn, rows)
        return _results(futures, deadline, rest)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls, and ends the threads when those submitted have ended.

        Args:
            wait: Returns when all threads have ended; else at once.
            cancel_futures: Withdraws what has not begun.

        Raises:
            RuntimeError: One of its own threads is to wait for the end of all.

        >>> from manyhands.futures import ThreadPoolExecutor
        >>> executor = ThreadPoolExecutor(1)
        >>> future = executor.submit(abs, -7)
        >>> executor.shutdown()
        >>> future.result()
        7
        """
        self._close(cancel_futures)
        if wait:
            self._join_threads()


def _results(
    futures: deque[Future[T]],
    deadline: float | None,
    rest: tuple[weakref.ref[ThreadPoolExecutor], Callable[..., T], Iterator[tuple[Any, ...]]]
    | None,
) -> Iterator[T]:
    # Not held here: a future that was taken, nor its result.
    try:
        while futures:
            if rest is not None and (executor := rest[0]()) is not None:
                for row in islice(rest[2], 1):
                    futures.append(executor.submit(rest[1], *row))
                    del row
                del executor
            yield _result_or_cancel(futures.popleft(), deadline)
    finally:
        for future in futures:
            future.cancel()


def _result_or_cancel(future: Future[T], deadline: float | None) -> T:
    try:
        try:
            return future.result(None if deadline is None else deadline - time.monotonic())
        finally:
            future.cancel()
    finally:
        # An exception's traceback leads here.
        del future

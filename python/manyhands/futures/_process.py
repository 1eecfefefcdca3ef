"""`ProcessPoolExecutor`: the standard library's, on this package's pool."""

from __future__ import annotations

import itertools
import multiprocessing
import operator
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from manyhands._ends import GRACE, LAST_CALLBACKS, at_the_end, end_all
from manyhands._engine import (
    MAX_WORKERS,
    PoolBase,
    _join_callbacks,
    _locked,
    _stop_callbacks,
    usable_cores,
)
from manyhands._future import Future
from manyhands._guard import refuse_while_importing
from manyhands._watch import look_again
from manyhands.futures._insides import Insides

# A worker imports this as well, with its program's main module, and seldom uses it: so what takes
# long to import is, like `typing`, imported where it is needed.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

    from manyhands._future import Hub

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["ProcessPoolExecutor", "interpreter_ends"]

CONCURRENCY = 16
"""Coroutines that each worker runs at once."""

_numbers = itertools.count(1)

_live: weakref.WeakSet[ProcessPoolExecutor] = weakref.WeakSet()
_interpreter_ends = threading.Event()


class ProcessPoolExecutor(Insides):
    """`concurrent.futures.ProcessPoolExecutor`, faster and hard to break.

    Takes what the standard class takes, and behaves as that does, but that a worker which dies
    costs only the tasks that it ran: they end as `manyhands.WorkerDied`, a `BrokenProcessPool`.
    Functions may also be coroutine functions, awaited in the worker, many at once. Futures can be
    awaited. When Ctrl-C leaves the `with` block, workers are killed with what they run, and nothing
    is waited for.

    Args:
        max_workers: Processes at the most; by default as many as this process may use cores.
        mp_context: A multiprocessing context, for its start method. By default that is spawn with
            `max_tasks_per_child`, else what `multiprocessing.set_start_method` has set, unless it
            is fork, else forkserver. With fork all workers start at the first submission, else one
            whenever a task finds none idle.
        initializer: Called in each worker before its first task.
        initargs: The initializer's arguments.
        max_tasks_per_child: Tasks after which a worker is replaced by a fresh one.
        on_worker_death: With `"break"`, the death of a worker breaks the executor, as in the
            standard library: all that is pending raises `BrokenProcessPool`.

    Raises:
        ValueError: A number is out of bounds, or the start method is fork and
            `max_tasks_per_child` is given.
        TypeError: The initializer is not callable, or a number is none.

    >>> from manyhands.futures import ProcessPoolExecutor
    >>> with ProcessPoolExecutor(2) as executor:
    ...     list(executor.map(pow, [2, 3], [5, 2]))
    [32, 9]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_death: Literal["replace", "break"] = "replace",
    ) -> None:
        if max_workers is None:
            max_workers = min(usable_cores(), MAX_WORKERS)
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        elif max_workers > MAX_WORKERS:
            raise ValueError(f"max_workers must be <= {MAX_WORKERS}")
        if mp_context is None:
            mp_context = multiprocessing.get_context(_method(max_tasks_per_child is not None))
        method = mp_context.get_start_method(allow_none=False)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if method == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start "
                    "method; supply a different mp_context."
                )
        if on_worker_death not in ("replace", "break"):
            raise ValueError(
                f"on_worker_death must be 'replace' or 'break', not {on_worker_death!r}"
            )
        self._max_workers = operator.index(max_workers)
        self._mp_context = mp_context
        self._start_method = method
        self._safe_to_dynamically_spawn_children = method != "fork"
        self._initializer: Any = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._on_worker_death = on_worker_death
        self._name = f"ProcessPoolExecutor-{next(_numbers)}"
        self._hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = (
            weakref.WeakKeyDictionary()
        )
        self._table: dict[int, Any] = {}
        self._begun = False
        self._shutdown_thread = False
        self._shutdown_lock = threading.Lock()

    def _begin(self) -> None:
        """Starts the pool, with the first thing to do."""
        _locked(self._shutdown_lock, self._begin_locked)

    def _begin_locked(self) -> None:
        if self._begun:
            return
        if self._shutdown_thread:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _interpreter_ends.is_set():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        refuse_while_importing(self._start_method)
        look_again()
        if self._start_method == "forkserver":
            from manyhands._server import warm_up

            # The rest is imported while it starts.
            warm_up()
        from manyhands._launch import make_launcher
        from manyhands._pickling import main_is_importable
        from manyhands._spec import WorkerSpec

        method, breaks = self._start_method, self._on_worker_death == "break"
        # With fork the main module is what it was; else each worker imports it.
        by_value = method != "fork" and not main_is_importable()
        spec = WorkerSpec.of(
            method,
            self._initializer,
            tuple(self._initargs),
            CONCURRENCY,
            self._max_tasks_per_child,
            by_value,
            standard=True,
            breaks=breaks,
        )
        launcher = make_launcher(method, self._name, spec, self._mp_context)
        # Only now, as with fork a template starts meanwhile.
        from manyhands.futures._process_errors import Errors
        from manyhands.futures._workers import Recorder

        self._recorder = Recorder(launcher, self._name, self._table)
        self._start(
            self._max_workers,
            self._recorder,
            Future,
            self._hubs,
            by_value,
            GRACE,
            Errors(breaks),
            (self._safe_to_dynamically_spawn_children, breaks),
        )
        _live.add(self)
        # After the pools. Their callbacks come first.
        at_the_end(90, _stop_callbacks, LAST_CALLBACKS)
        self._begun = True

    if TYPE_CHECKING:

        @overload
        def submit(
            self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[T]: ...
        @overload
        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any: ...

    else:

        def submit(self, fn, /, *args, **kwargs):
            """Runs `fn(*args, **kwargs)` in a worker and returns its future at once.

            What cannot be pickled is the failure of its own future.

            Raises:
                RuntimeError: The executor is shut down.
                BrokenProcessPool: It can run nothing more.

            >>> from manyhands.futures import ProcessPoolExecutor
            >>> with ProcessPoolExecutor(1) as executor:
            ...     executor.submit(int, "ff", base=16).result()
            255
            """
            if not self._begun:
                self._begin()
            return PoolBase.submit(self, fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """An iterator like `map(fn, *iterables)`, whose calls run at once in the workers.

        The input is read, and everything submitted, by this call; with `buffersize` only so many
        items, and another whenever a result is taken. An iteration that is abandoned, or ends by an
        error, withdraws what has not begun.

        Args:
            fn: A function or a coroutine function.
            *iterables: One for each argument of `fn`.
            timeout: Seconds that the whole iteration may take from this call on.
            chunksize: Items that travel together to one worker. Single ones are cheap here, and
                keep all workers busy, however long each takes.
            buffersize: Items (or chunks of them) that may be in flight.

        Raises:
            TypeError: `buffersize` is no integer.
            ValueError: `chunksize` or `buffersize` is less than 1.
            TimeoutError: While iterating: the time is over.
            Exception: While iterating: what `fn` raised, at the place of its item.

        >>> from manyhands.futures import ProcessPoolExecutor
        >>> with ProcessPoolExecutor(2) as executor:
        ...     list(executor.map(abs, [-1, 2, -3], chunksize=2))
        [1, 2, 3]
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        from manyhands._sizes import check_buffersize
        from manyhands.futures._process_map import Batches, Chunks, Singles, results

        check_buffersize(buffersize)

        deadline = None if timeout is None else timeout + time.monotonic()
        rows: Iterator[Any] = zip(*iterables, strict=False)
        if chunksize == 1:
            return results(Singles(self, fn), rows, deadline, buffersize)
        form = Batches if self._runs_on_loops(fn) else Chunks
        one = len(iterables) == 1
        chunks = form(self, fn, one, chunksize)
        rows = iter(iterables[0]) if one else rows
        return itertools.chain.from_iterable(results(chunks, rows, deadline, buffersize))

    def _submit_method(self) -> Callable[..., Future[Any]]:
        """`submit` for many calls: the native method, unless a subclass has its own."""
        if type(self).submit is not ProcessPoolExecutor.submit:
            return self.submit
        if not self._begun:
            self._begin()
        native: Callable[..., Future[Any]] = super().submit
        return native

    def _runs_on_loops(self, fn: Callable[..., Any]) -> bool:
        if not self._begun:
            self._begin()
        try:
            return self._is_coroutine(fn)
        except Exception:
            # It cannot be shipped: what is submitted will say so.
            return False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks, and ends the workers when those submitted have ended.

        Args:
            wait: Returns when no worker is left; else at once.
            cancel_futures: Withdraws what has not begun.

        >>> from manyhands.futures import ProcessPoolExecutor
        >>> executor = ProcessPoolExecutor(1)
        >>> future = executor.submit(abs, -7)
        >>> executor.shutdown()
        >>> future.result()
        7
        """
        _locked(self._shutdown_lock, self._take_no_more)
        if not self._begun:
            return
        self._close(cancel_futures)
        if wait and self._is_ours():
            self._join(None)
            self._forget_loops()

    def _take_no_more(self) -> None:
        self._shutdown_thread = True

    def terminate_workers(self) -> None:
        """Ends the workers by SIGTERM, whatever they run, and the executor with them.

        What has not begun is cancelled; what runs raises `BrokenProcessPool`.

        >>> import time
        >>> from manyhands.futures import ProcessPoolExecutor
        >>> executor = ProcessPoolExecutor(1)
        >>> future = executor.submit(time.sleep, 60)
        >>> while not future.running():
        ...     pass
        >>> executor.terminate_workers()
        >>> from concurrent.futures.process import BrokenProcessPool
        >>> isinstance(future.exception(), BrokenProcessPool)
        True
        """
        self._force_shutdown(operation="terminate")

    def kill_workers(self) -> None:
        """As `terminate_workers`, by SIGKILL.

        >>> import time
        >>> from manyhands.futures import ProcessPoolExecutor
        >>> executor = ProcessPoolExecutor(1)
        >>> future = executor.submit(time.sleep, 60)
        >>> executor.kill_workers()
        >>> future.done()
        True
        """
        self._force_shutdown(operation="kill")

    def _force_shutdown(self, operation: str) -> None:
        if operation not in ("terminate", "kill"):
            raise ValueError(f"Unsupported operation: {operation!r}")
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        if not self._begun or not self._is_ours():
            return
        self._break_at_death()
        for process in processes:
            getattr(process, operation)()
        if operation == "kill":
            self._kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None or not issubclass(exc_type, KeyboardInterrupt):
                self.shutdown(wait=True)
                return
        except KeyboardInterrupt:
            # Ctrl-C: nobody waits any more.
            self._abandon()
            raise
        self._abandon()

    def _abandon(self) -> None:
        """Ends the workers at once, and waits for that."""
        self.shutdown(wait=False)
        if self._begun and self._is_ours():
            self._kill()
            self._gone().wait()
            self._forget_loops()

    def _forget_loops(self) -> None:
        if self._hubs:
            from manyhands._loops import forget_loops

            forget_loops(self._hubs)

    def __del__(self) -> None:
        if not getattr(self, "_begun", False):
            return
        self._close(False)
        if self._is_ours() and not self._is_gone():
            self._recorder.outlives(self._gone())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._max_workers} ({self._start_method})>"


def _method(recycles: bool) -> str:
    """How processes start where the program does not say.

    A program may have chosen for all of `multiprocessing`. That it has chosen fork cannot be told
    from what the mere use of a queue leaves behind before CPython 3.14; and to fork a process with
    threads is nothing to be done unasked.
    """
    if recycles:
        return "spawn"
    chosen = multiprocessing.get_start_method(allow_none=True)
    return chosen if chosen in ("spawn", "forkserver") else "forkserver"


def interpreter_ends() -> bool:
    """Is the interpreter past the end of its main thread?"""
    return _interpreter_ends.is_set()


def _end_all() -> None:
    _interpreter_ends.set()
    interrupted = end_all(_live, ProcessPoolExecutor._abandon)
    workers = sys.modules.get("manyhands.futures._workers")
    if workers is not None:
        workers.wait_for_dropped()
    if not interrupted:
        # Those of executors that were dropped as well: nobody else waits for them.
        _join_callbacks()


# As the standard library does: before it joins its threads, and so before what atexit runs.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]

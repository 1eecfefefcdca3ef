"""`Pool`: processes that run functions and coroutines."""

from __future__ import annotations

import itertools
import weakref
from abc import ABCMeta
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from manyhands import _errors
from manyhands._blocks import Blocks, is_escape, until_gone
from manyhands._ends import GRACE, LAST_CALLBACKS, at_the_end, end_all
from manyhands._engine import MAX_WORKERS, Batch, PoolBase, _stop_callbacks, usable_cores
from manyhands._errors import PoolBroken
from manyhands._future import Future, Hub
from manyhands._guard import refuse_while_importing
from manyhands._loops import forget_loops
from manyhands._mapping import Mapping
from manyhands._pickling import main_is_importable
from manyhands._standard import Executor
from manyhands._watch import look_again

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

__all__ = ["Pool"]

P = ParamSpec("P")
T = TypeVar("T")

numbers = itertools.count(1)
"""Of pools that have no name."""

START_METHODS = ("forkserver", "spawn", "fork")

_live: weakref.WeakSet[Pool] = weakref.WeakSet()

_ending: set[Batch] = set()
"""What ends with the workers of pools that were dropped: they still end what they have."""


class PoolType(ABCMeta):
    """Makes a pool of the kind that is asked for."""

    if not TYPE_CHECKING:

        @property
        def __signature__(cls) -> Any:
            """For `help` and editors: that of `__init__`, not of `__call__`."""
            import inspect

            signature = inspect.signature(cls.__init__)
            return signature.replace(parameters=list(signature.parameters.values())[1:])

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is Pool and "max_workers" in kwargs:
                raise TypeError(
                    "Pool() has no argument 'max_workers'; the number of workers is 'workers', as "
                    "in Pool(workers=2). (The executors in manyhands.futures have 'max_workers'.)"
                )
            if cls is Pool and kwargs.get("kind") == "thread":
                from manyhands._thread_pool import ThreadPool

                return ThreadPool(*args, **kwargs)
            return super().__call__(*args, **kwargs)


class Pool(PoolBase, Blocks, Mapping, Executor, metaclass=PoolType):
    """Workers that run functions, and coroutines many at once: processes, or threads.

    A process that dies costs the tasks that it ran (one function, and the coroutines under way),
    which end as `WorkerDied`; the pool goes on with a new worker. The pool is also a
    `concurrent.futures.Executor` (PEP 3148). Large buffers travel beside the pickle (PEP 574).

    At the end of a `with` or `async with` block the pool waits for what was submitted, except when
    the block ends by `KeyboardInterrupt`, `SystemExit` or a cancellation: then workers are killed.

    With `kind="thread"` the workers are threads of this process (`threading.Thread`s), made when
    there is something to do, and nothing is pickled: for what waits, or lets go of the interpreter
    lock. That pool is also a `concurrent.futures.ThreadPoolExecutor`, which asyncio takes as a
    loop's default executor. Each task runs in a copy of its submitter's context (PEP 567), and
    coroutines on up to `workers` event loops, each in a thread of its own. What a function does
    cannot be stopped: `kill` and a block that ends by Ctrl-C withdraw what has not begun, cancel
    coroutines, and do not wait for the rest.

    Args:
        workers: Processes or threads; by default as many processes as this process may use cores
            (its affinity and its container's quota), or 4 threads more than that, 32 at most.
        kind: `"process"` or `"thread"`.
        concurrency: Coroutines that each worker runs at once.
        start_method: How processes start: `"forkserver"` (the default), `"spawn"` or `"fork"`. With
            fork, the workers have what the program had when the pool was made. Not for threads.
        initializer: Called in each worker before its first task.
        initargs: The initializer's arguments.
        max_tasks: Tasks after which a worker is replaced by a fresh one; never by default. (A
            thread ends after the `map` batch with which it has run so many.)
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
        kind: Literal["process", "thread"] = "process",
        concurrency: int = 16,
        start_method: Literal["forkserver", "spawn", "fork"] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks: int | None = None,
        name: str | None = None,
    ) -> None:
        if kind == "thread":
            raise ValueError("a class derived from Pool has processes; kind='thread' is for Pool")
        if kind != "process":
            raise ValueError(f"kind must be 'process' or 'thread', not {kind!r}")
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

        refuse_while_importing(method)
        look_again()
        if method == "forkserver":
            from manyhands._server import warm_up

            # The rest is imported while it starts.
            warm_up()
        from manyhands._launch import make_launcher
        from manyhands._spec import WorkerSpec

        self._workers = workers
        self._concurrency = concurrency
        self._start_method = method
        self._name = name or f"manyhands-{next(numbers)}"
        self._named = name is not None
        self._hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = (
            weakref.WeakKeyDictionary()
        )
        # With fork the main module is what it was; else each worker imports it.
        by_value = method != "fork" and not main_is_importable()
        spec = WorkerSpec.of(method, initializer, tuple(initargs), concurrency, max_tasks, by_value)
        launcher = make_launcher(method, self._name, spec)
        self._start(workers, launcher, Future, self._hubs, by_value, GRACE, _errors)
        _live.add(self)
        at_the_end(100, _end_all)

    if TYPE_CHECKING:
        # The native method, with the type of the result.
        @overload
        def submit(
            self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[T]: ...
        @overload
        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any: ...

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

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if is_escape(exc_type):
            self._kill()
        else:
            self._close(False)
        await until_gone(self._gone(), self._kill)
        if not self._join(0):
            import asyncio

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
            workers = count_of(len(rows), "worker")
            state = f"{ready} of {workers} ready, {count_of(outstanding, 'task')}"
            if backlog:
                state += f" ({backlog} queued)"
            if closed:
                state += ", shutting down"
        return f"{title} ({self._start_method}): {state}>"


def count_of(number: int, what: str) -> str:
    """In words: `1 task`, `2 tasks`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _check(name: str, value: object, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")


def _end_all() -> None:
    end_all(_live, Pool.kill)
    for gone in list(_ending):
        gone.wait()
    _ending.clear()
    _stop_callbacks(LAST_CALLBACKS)

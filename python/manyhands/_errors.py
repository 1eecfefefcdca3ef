"""The exceptions, and how an exception travels from a worker to its caller.

A worker sends an account: the pickled exception if it can be pickled, and always its type's name,
its text and its traceback as text. The caller gets the exception itself, with the worker's
traceback as its cause; where it cannot be rebuilt, a `RemoteError` that says all of this.

They are a `concurrent.futures.process.BrokenProcessPool` for whoever knows that class (which cannot
be imported any more once the interpreter has begun to end).
"""

from __future__ import annotations

import pickle
import signal as signals

from manyhands import _standard
from manyhands._guard import UNGUARDED, missing_guard

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from concurrent.futures import CancelledError

__all__ = [
    "InitializerFailed",
    "PoolBroken",
    "RemoteError",
    "RemoteTraceback",
    "TaskLost",
    "WorkerDied",
]

Account = tuple[bytes | None, str, str, str]


class BrokenProcessPool(_standard.BrokenProcessPool):
    """The standard library's of that name, also where that is not imported."""


class RemoteTraceback(_standard._RemoteTraceback):
    """The traceback of an exception as text, from the worker where it was raised.

    It is the `__cause__` of an exception that came from a worker, so that Python shows both.

    Attributes:
        tb: The text.

    >>> import manyhands as mh
    >>> with mh.Pool(1) as pool:
    ...     error = pool.submit(int, "x").exception()
    >>> error
    ValueError("invalid literal for int() with base 10: 'x'")
    >>> isinstance(error.__cause__, mh.RemoteTraceback)
    True
    """

    def __init__(self, tb: str) -> None:
        self.tb = tb

    def __str__(self) -> str:
        return f'\n"""\n{self.tb}"""'


class RemoteError(Exception):
    """An exception of a task that could not be pickled in the worker, or unpickled here.

    Attributes:
        type_name: The qualified name of its type.
        message: Its text.
        traceback: Its traceback in the worker, as text.

    >>> import manyhands as mh
    >>> class Refusal(Exception):
    ...     def __init__(self, host, port):  # pickle calls it with one argument
    ...         super().__init__(f"{host}:{port} refuses")
    >>> def connect():
    ...     raise Refusal("localhost", 80)
    >>> with mh.Pool(1) as pool:
    ...     error = pool.submit(connect).exception()
    >>> type(error), error.message
    (<class 'manyhands._errors.RemoteError'>, 'localhost:80 refuses')
    """

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


class PoolBroken(BrokenProcessPool):
    """The pool can run nothing more; the text says why and what to do.

    >>> import manyhands as mh
    >>> pool = mh.Pool(1)
    >>> pool.kill()
    >>> pool.submit(abs, -7)
    Traceback (most recent call last):
    manyhands._errors.PoolBroken: the pool was killed
    """


class TaskLost(BrokenProcessPool):
    """The pool's shared memory was overwritten while the task ran, by native code in some worker;
    how the task ended is unknown. The pool goes on.

    >>> import manyhands as mh
    >>> issubclass(mh.TaskLost, RuntimeError)
    True
    """


class InitializerFailed(PoolBroken):
    """The initializer ended its worker in a way that is no `Exception` (`SystemExit`, …).

    An `Exception` of the initializer's is raised as it is, with a note.

    >>> import sys
    >>> import manyhands as mh
    >>> with mh.Pool(1, initializer=sys.exit, initargs=(3,)) as pool:
    ...     pool.submit(abs, -7).result()
    Traceback (most recent call last):
    manyhands._errors.InitializerFailed: the initializer ended its worker: SystemExit(3)
    """


class WorkerDied(BrokenProcessPool):
    """The worker's process died while it ran the task. The pool goes on.

    Attributes:
        pid: The process.
        exitcode: Its exit status, or `None` if a signal ended it.
        signal: The signal that ended it, or `None`.
        task: The name of the function that it ran.
        seconds: How long the task had run.

    >>> import os
    >>> import manyhands as mh
    >>> with mh.Pool(1) as pool:
    ...     error = pool.submit(os._exit, 3).exception()
    ...     pool.submit(abs, -7).result()
    7
    >>> print(error)  # doctest: +ELLIPSIS
    worker ... exited with status 3 while it ran posix._exit (... s)
    """

    def __init__(
        self,
        pid: int,
        exitcode: int | None,
        signal: int | None,
        task: str,
        seconds: float,
    ) -> None:
        super().__init__(pid, exitcode, signal, task, seconds)
        self.pid = pid
        self.exitcode = exitcode
        self.signal = signal
        self.task = task
        self.seconds = seconds

    @property
    def signal_name(self) -> str | None:
        """The signal's name, such as `SIGKILL`; `None` if no signal ended the process.

        >>> import os
        >>> import manyhands as mh
        >>> def crash():
        ...     os.abort()
        >>> with mh.Pool(1) as pool:
        ...     pool.submit(crash).exception().signal_name
        'SIGABRT'
        """
        if self.signal is None:
            return None
        try:
            return signals.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"

    def __str__(self) -> str:
        if self.signal is not None:
            end = f"was killed by {self.signal_name}"
            if self.signal == signals.SIGKILL:
                end += " (the system kills so when memory is short)"
        elif self.exitcode is not None:
            end = f"exited with status {self.exitcode}"
        else:
            end = "ended"
        return f"worker {self.pid} {end} while it ran {self.task} ({self.seconds:.3g} s)"


def describe(error: BaseException) -> bytes:
    """An exception's account of itself, in the worker. Does not fail, whatever the exception."""
    import traceback

    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as failure:
        text = f"(the traceback cannot be formatted: {failure!r})\n"
    try:
        message = str(error)
    except BaseException as failure:
        message = f"(its text cannot be made: {failure!r})"
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__", "__mp_main__"):
        name = f"{kind.__module__}.{name}"
    account: Account = (_dumps(error), name, message, text)
    return pickle.dumps(account, protocol=5)


def _dumps(error: BaseException) -> bytes | None:
    try:
        pickled = pickle.dumps(error, protocol=5)
    except BaseException:
        try:
            import cloudpickle

            pickled = cloudpickle.dumps(error, protocol=5)
        except BaseException:
            return None
    return pickled


def rebuild(account: Account) -> BaseException:
    """The exception that an account tells of, in the caller."""
    pickled, name, message, text = account
    cause = RemoteTraceback(text)
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
        except Exception as failure:
            text += f"\n(the exception cannot be unpickled here: {failure!r})\n"
        else:
            if isinstance(error, BaseException):
                # Not by assignment, which some exceptions refuse (frozen dataclasses).
                BaseException.__setattr__(error, "__cause__", cause)
                return error
    remote = RemoteError(name, message, text)
    remote.__cause__ = cause
    return remote


def initializer_failed(account: Account, _submitted: bool) -> BaseException:
    """The initializer's own error, raised by every use of the pool from then on."""
    error = rebuild(account)
    if not isinstance(error, Exception):
        wrapped = InitializerFailed(f"the initializer ended its worker: {error!r}")
        wrapped.__cause__ = error
        return wrapped
    error.add_note("The pool's initializer failed so; the pool has ended.")
    return error


def worker_died(
    pid: int, exitcode: int | None, signal: int | None, task: str, seconds: float
) -> WorkerDied:
    """For the binding."""
    return WorkerDied(pid, exitcode, signal, task, seconds)


def pool_broken_at_start(text: str, _submitted: bool) -> PoolBroken:
    """Workers could not be started."""
    if text.endswith(f"exited with status {UNGUARDED}"):
        return PoolBroken(f"the pool cannot start its workers: {missing_guard()}")
    return PoolBroken(
        f"the pool cannot start its workers: {text}. A worker's own error is printed on standard "
        "error. Where the initializer ends the process, so it ends here. Where the program's own "
        "main module creates the pool, it must do so under `if __name__ == '__main__':`, since "
        "each worker imports that module"
    )


def task_lost(text: str, task: str) -> TaskLost:
    """The shared memory was overwritten while a task ran."""
    return TaskLost(
        f"the pool's shared memory was overwritten while {task} ran, so how it ended is unknown "
        f"({text}); the pool goes on with fresh memory and new workers"
    )


def pool_broken_board(text: str, _submitted: bool) -> PoolBroken:
    """The shared memory was overwritten."""
    return PoolBroken(
        f"the pool's shared memory was overwritten again and again: {text}. Some native code that "
        "ran in a worker writes where it should not; run it in a pool of its own to find it"
    )


def pool_killed(_submitted: bool) -> PoolBroken:
    """The pool was ended by force."""
    return PoolBroken("the pool was killed")


def pool_shut_down() -> RuntimeError:
    """A task came after the end."""
    return RuntimeError("cannot schedule new futures after shutdown")


def cancelled() -> CancelledError:
    """The task was cancelled."""
    module = _standard.modules.get("concurrent.futures")
    if module is None:
        import concurrent.futures

        module = concurrent.futures
    error: CancelledError = module.CancelledError()
    return error

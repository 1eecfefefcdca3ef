"""How failures of a `ProcessPoolExecutor` show: as the standard library's, with the same texts."""

from __future__ import annotations

from manyhands import _errors, _standard
from manyhands._errors import BrokenProcessPool, InitializerFailed, RemoteTraceback
from manyhands._guard import UNGUARDED, missing_guard

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from manyhands._errors import Account

__all__ = ["Errors", "rebuild", "refused"]

ABRUPTLY = (
    "A process in the process pool was terminated abruptly while the future was running or pending."
)
UNUSABLE = "A child process terminated abruptly, the process pool is not usable anymore"


def _of_standard(name: str) -> Any:
    """A class of the standard library, if anybody has imported it to ask for; else `None`."""
    return getattr(_standard.modules.get("concurrent.futures.process"), name, None)


def _cause(text: str) -> Exception:
    kind = _of_standard("_RemoteTraceback")
    cause: Exception = RemoteTraceback(text) if kind is None else kind(f'\n"""\n{text}"""')
    return cause


def _broken(text: str) -> BrokenProcessPool:
    kind = _of_standard("BrokenProcessPool")
    error: BrokenProcessPool = (BrokenProcessPool if kind is None else kind)(text)
    return error


def rebuild(account: Account) -> BaseException:
    """The exception that an account tells of, with a cause as the standard library has it."""
    error = _errors.rebuild(account)
    cause = error.__cause__
    if isinstance(cause, RemoteTraceback):
        BaseException.__setattr__(error, "__cause__", _cause(cause.tb))
    return error


def refused(error: BaseException) -> Future[Any]:
    """A task could not be shipped: its own future says so."""
    import traceback
    from concurrent.futures import Future

    text = "".join(traceback.format_exception(error))
    # The frames hold what was submitted.
    error.__traceback__ = None
    BaseException.__setattr__(error, "__cause__", _cause(text))
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _how(exitcode: int | None, signal: int | None) -> str:
    if signal is not None:
        return f"was ended by signal {signal}"
    return "ended" if exitcode is None else f"exited with status {exitcode}"


class Errors:
    """Makes exceptions, for the binding. `submitted` says whether a task that was submitted fails
    so, or one is refused.
    """

    def __init__(self, breaks: bool) -> None:
        self._breaks = breaks

    rebuild = staticmethod(rebuild)
    refused = staticmethod(refused)
    describe = staticmethod(_errors.describe)
    worker_died = staticmethod(_errors.worker_died)
    task_lost = staticmethod(_errors.task_lost)
    pool_broken_at_start = staticmethod(_errors.pool_broken_at_start)
    pool_broken_board = staticmethod(_errors.pool_broken_board)
    cancelled = staticmethod(_errors.cancelled)

    def pool_broken_by_death(
        self, pid: int, exitcode: int | None, signal: int | None, submitted: bool
    ) -> BrokenProcessPool:
        """A worker died, and with it the pool."""
        error = _broken(ABRUPTLY if submitted else UNUSABLE)
        error.add_note(f"Worker {pid} {_how(exitcode, signal)}.")
        if exitcode == UNGUARDED:
            error.add_note(f"So ends a worker where {missing_guard()}.")
        return error

    def pool_broken_unreadable(self, account: Account, submitted: bool) -> BrokenProcessPool:
        """A result could not be unpickled, and the pool broke for it."""
        error = _broken(ABRUPTLY if submitted else UNUSABLE)
        error.__cause__ = _cause(account[3])
        return error

    def initializer_failed(self, account: Account, submitted: bool) -> BrokenProcessPool:
        """The initializer failed; a worker has logged how."""
        error: BrokenProcessPool
        if self._breaks:
            error = _broken(ABRUPTLY if submitted else UNUSABLE)
        else:
            error = InitializerFailed(f"the initializer failed: {account[1]}: {account[2]}")
        error.__cause__ = rebuild(account)
        return error

    def pool_killed(self, submitted: bool) -> BrokenProcessPool:
        """The pool was ended by force."""
        return _broken(ABRUPTLY if submitted else UNUSABLE)

    def pool_shut_down(self) -> RuntimeError:
        """A task came after the end."""
        from manyhands.futures import _process

        when = "interpreter shutdown" if _process.interpreter_ends() else "shutdown"
        return RuntimeError(f"cannot schedule new futures after {when}")

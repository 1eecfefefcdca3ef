"""What a thread pool's event loops run: a coroutine that was submitted, or an item of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from manyhands import _threads
from manyhands._future import Future

if TYPE_CHECKING:
    from manyhands._engine import ThreadBatch

__all__ = ["BatchItem", "Call", "Job", "LoopFuture", "Single"]

T = TypeVar("T")

Call = tuple[Any, tuple[Any, ...], dict[str, Any] | None, Any]
"""Function, arguments, keywords, context."""


class LoopFuture(Future[T]):
    """The future of a coroutine in a thread: one under way can be cancelled."""

    _stop: Callable[[], object] | None = None

    def cancel(self) -> bool:
        """Cancels the coroutine, begun or not; tells whether the task is cancelled.

        >>> import asyncio
        >>> import manyhands as mh
        >>> with mh.Pool(1, kind="thread") as pool:
        ...     pool.submit(asyncio.sleep, 60).cancel()
        True
        """
        if super().cancel():
            return True
        if not self._end(None, None, cancelled=True):
            return False
        # It has ended for whoever waits; the coroutine is told.
        if self._stop is not None:
            self._stop()
        return True


class Job(Protocol):
    """One coroutine to run."""

    def begin(self) -> Call | None:
        """What to run; `None` if it was withdrawn."""

    def under_way(self, stop: Callable[[], object] | None) -> bool:
        """How to cancel it while it runs; false if that has been asked for meanwhile."""

    def end(self, value: Any, error: BaseException | None, cancelled: bool) -> None:
        """It has ended."""

    def withdraw(self) -> None:
        """Ends it, if it has not begun."""


class Single:
    """A task that was submitted."""

    def __init__(self, future: LoopFuture[Any]) -> None:
        self._future = future

    def begin(self) -> Call | None:
        return self._future._begin()

    def under_way(self, stop: Callable[[], object] | None) -> bool:
        self._future._stop = stop
        return not self._future.done()

    def end(self, value: Any, error: BaseException | None, cancelled: bool) -> None:
        self._future._end(value, error, cancelled=cancelled)

    def withdraw(self) -> None:
        Future.cancel(self._future)


class BatchItem:
    """Some item of a batch."""

    def __init__(self, batch: ThreadBatch) -> None:
        self._batch = batch
        self._item: int | None = None

    def begin(self) -> Call | None:
        if self._item is not None:
            return None
        begun = self._batch._begin()
        if begun is None:
            return None
        self._item, function, args, context = begun
        return function, args, None, context

    def under_way(self, stop: Callable[[], object] | None) -> bool:
        return True

    def end(self, value: Any, error: BaseException | None, cancelled: bool) -> None:
        assert self._item is not None, "it has begun"
        self._batch._end(self._item, value, _threads.cancelled() if cancelled else error)

    def withdraw(self) -> None:
        self._batch.cancel()

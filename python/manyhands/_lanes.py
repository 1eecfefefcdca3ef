"""Event loops in threads, for the coroutines of a thread pool.

Each lane is a thread with an event loop of its own, that runs at most so many coroutines at once. A
coroutine goes to the lane with the fewest; a new lane is started where each has some and there may
be more. What finds no room waits, first come, first served, for any lane.

Guarantees: the lock is held for moves only, and may be taken again by a signal handler; what was
accepted is begun, or withdrawn; a lane ends when the pool is closed and nothing is left for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from manyhands import _threads
from manyhands._future import Future

if TYPE_CHECKING:
    from manyhands._engine import Counted, ThreadBatch

__all__ = ["BatchItem", "Lanes", "LoopFuture", "Single"]

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
        self._item = 0

    def begin(self) -> Call | None:
        begun = self._batch._begin()
        if begun is None:
            return None
        self._item, function, args, context = begun
        return function, args, None, context

    def under_way(self, stop: Callable[[], object] | None) -> bool:
        return True

    def end(self, value: Any, error: BaseException | None, cancelled: bool) -> None:
        self._batch._end(self._item, value, _threads.cancelled() if cancelled else error)

    def withdraw(self) -> None:
        self._batch.cancel()


class Lane:
    """One thread and its event loop. Its numbers are read and written under the lock of `Lanes`."""

    def __init__(self, lanes: Lanes, left: float, counted: Counted) -> None:
        self.lanes = lanes
        self.counted = counted
        self.load = 0
        """Jobs that it runs, or is about to begin."""
        self.left = left
        """Jobs that it may still be given."""
        self.unbegun: deque[Job] = deque()
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self) -> None:
        """The thread's life."""
        try:
            if self.lanes.prepare():
                asyncio.set_event_loop(self.loop)
                self.loop.run_forever()
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
                self.loop.run_until_complete(self.loop.shutdown_default_executor())
            else:
                self.lanes.lose(self, _threads.broken(_threads.BROKEN), broken=True)
        finally:
            asyncio.set_event_loop(None)
            self.lanes.forget(self)
            self.loop.close()
            self.counted.done()

    def begin(self) -> None:
        """Begins the job that waits longest, in the loop's thread."""
        job = self.unbegun.popleft()
        call = job.begin()
        if call is None:
            self.lanes.go_on(self)
            return
        task = self.loop.create_task(_outcome(*call[:3]), context=call[3])
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, job))
        if not job.under_way(partial(self._cancel, task)):
            task.cancel()

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        # The loop is closed only when no task is left: then this one has ended.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(task.cancel)

    def cancel_all(self) -> None:
        """Cancels what runs, in the loop's thread."""
        for task in self._tasks:
            task.cancel()

    def _ended(self, job: Job, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        job.under_way(None)
        if task.cancelled():
            job.end(None, None, True)
        else:
            value, error = task.result()
            job.end(value, error, False)
            del value, error
        self.lanes.go_on(self)


async def _outcome(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[Any, BaseException | None]:
    try:
        return await function(*args, **(kwargs or {})), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # `SystemExit` too is the task's, and not the loop's
        return None, error


class Lanes:
    """See the module's documentation."""

    def __init__(
        self,
        most: int,
        concurrency: int,
        max_tasks: int | None,
        prefix: str,
        initializer: tuple[Callable[..., object], tuple[Any, ...]] | None,
        threads: set[threading.Thread],
    ) -> None:
        self._most = most
        self._concurrency = concurrency
        self._max_tasks = float("inf") if max_tasks is None else max_tasks
        self._prefix = prefix
        self._initializer = initializer
        self._start_thread = _threads.starter(threads, prune=True)
        self._lock = threading.RLock()
        self._lanes: list[Lane] = []
        """Those that take jobs."""
        self._running: set[Lane] = set()
        """And those that only end what they have."""
        self._waiting: deque[Job] = deque()
        self._started = 0
        self._closed = False
        self.broken = False
        _threads.live_lanes.add(self)

    def submit(self, job: Job, count: Callable[[], Counted]) -> None:
        """Has it run. `count` counts a thread as one of the pool's, if that is open.

        Raises:
            RuntimeError: The pool is closed, or no thread can be started.
        """
        counted = count()
        try:
            with self._lock:
                if self.broken:
                    raise _threads.broken(_threads.BROKEN)
                if self._closed:
                    raise RuntimeError("cannot schedule new futures after shutdown")
                fresh = self._give_or_keep(job, counted)
            if fresh is not None:
                try:
                    self._start(fresh)
                except BaseException as error:
                    # It is nobody's any more; others may have been given to the lane as well.
                    fresh.unbegun.remove(job)
                    self.lose(fresh, error)
                    raise
        finally:
            # A lane has a count of its own.
            counted.done()

    def _give_or_keep(self, job: Job, counted: Counted) -> Lane | None:
        """To the lane with the fewest, or to those that wait; gives a lane to be started."""
        open_lanes = [lane for lane in self._lanes if lane.load < self._concurrency]
        lane = min(open_lanes, key=lambda lane: lane.load, default=None)
        fresh = None
        if (lane is None or lane.load > 0) and len(self._lanes) < self._most:
            lane = fresh = Lane(self, self._max_tasks, counted.another())
            self._lanes.append(lane)
            self._running.add(lane)
        if lane is None:
            self._waiting.append(job)
        else:
            self._give(lane, job)
        return fresh

    def _give(self, lane: Lane, job: Job) -> None:
        lane.load += 1
        lane.left -= 1
        if lane.left <= 0:
            # Its place is free for another.
            self._lanes.remove(lane)
        lane.unbegun.append(job)
        lane.loop.call_soon_threadsafe(lane.begin)

    def _start(self, lane: Lane) -> None:
        with self._lock:
            number, self._started = self._started, self._started + 1
        try:
            self._start_thread(f"{self._prefix}loop-{number}", lane.run)
        except BaseException:
            self.forget(lane)
            lane.loop.close()
            lane.counted.done()
            raise

    def go_on(self, lane: Lane) -> None:
        """A job of the lane has ended; called in its thread."""
        fresh = None
        with self._lock:
            lane.load -= 1
            if self._waiting and lane.left > 0:
                self._give(lane, self._waiting.popleft())
            elif self._waiting and len(self._lanes) < self._most:
                fresh = self._give_or_keep(self._waiting.popleft(), lane.counted)
            stop = lane.load == 0 and (self._closed or lane.left <= 0)
            if stop and lane in self._lanes:
                self._lanes.remove(lane)
        if fresh is not None:
            try:
                self._start(fresh)
            except Exception as error:
                self.lose(fresh, error)
        if stop:
            lane.loop.stop()

    def forget(self, lane: Lane) -> None:
        """The lane's thread is at its end, or was not started."""
        with self._lock:
            self._running.discard(lane)

    def prepare(self) -> bool:
        """Runs the initializer, in a lane's thread."""
        if self._initializer is not None:
            function, args = self._initializer
            try:
                function(*args)
            except BaseException as error:
                _threads.initializer_failed(error)
                return False
        return True

    def lose(self, lane: Lane, error: BaseException, *, broken: bool = False) -> None:
        """A lane does not run: what it was given ends with this error, and so does what waits."""
        with self._lock:
            self.broken = self.broken or broken
            if lane in self._lanes:
                self._lanes.remove(lane)
            lost = [*lane.unbegun]
            lane.unbegun.clear()
            if broken or not self._lanes:
                lost += self._waiting
                self._waiting.clear()
        for job in lost:
            if job.begin() is not None:
                job.end(None, error, False)

    def close(self, *, cancel: bool = False) -> None:
        """Takes no more jobs; with `cancel`, withdraws what has not begun."""
        with self._lock:
            self._closed = True
            withdrawn: list[Job] = []
            if cancel:
                withdrawn += self._waiting
                self._waiting.clear()
                for lane in self._running:
                    withdrawn += lane.unbegun
            idle = [lane for lane in self._lanes if lane.load == 0]
            for lane in idle:
                self._lanes.remove(lane)
                lane.loop.call_soon_threadsafe(lane.loop.stop)
        for job in withdrawn:
            job.withdraw()

    def kill(self) -> None:
        """As `close`, and cancels what runs."""
        self.close(cancel=True)
        with self._lock:
            for lane in self._running:
                lane.loop.call_soon_threadsafe(lane.cancel_all)

    def waiting(self) -> int:
        """Coroutines that wait for room."""
        with self._lock:
            return len(self._waiting)

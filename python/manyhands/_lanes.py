"""Event loops in threads, for the coroutines of a thread pool.

Each lane is a thread with an event loop of its own, that runs at most so many coroutines at once. A
coroutine goes to the lane with the fewest; a new lane is started where each has some and there may
be more. What finds no room waits, first come, first served, for any lane.

Guarantees:

- What was accepted is begun, or withdrawn, or ends with an error. A lane that cannot start, or that
  dies, gives back what it has not begun; what it ran ends with the error.
- There are never more threads than the pool's workers: the successor of a lane that has had its
  number of tasks starts when that one has closed its loop.
- A lane ends when the pool is closed and nothing is left for it, and for no other reason that a
  task could bring about: neither `loop.stop()` nor `SystemExit` in a callback ends it.
- The lock is held for moves only, and may be taken again by a signal handler. Ctrl-C may come
  between any two moves: a lane's load is read off its queue, so no count can be off, and
  whoever was interrupted takes its job back and wakes the lanes, which look for themselves.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from manyhands import _threads
from manyhands._engine import _locked
from manyhands._lane import Lane

if TYPE_CHECKING:
    import asyncio
    from typing import TypeAlias

    from manyhands._engine import Counted
    from manyhands._lane_jobs import Job

    Fresh: TypeAlias = tuple[list[Lane], bool]

__all__ = ["Lanes"]


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
        tell: Callable[[], None],
    ) -> None:
        self._most = most
        self._concurrency = concurrency
        self._max_tasks = float("inf") if max_tasks is None else max_tasks
        self._prefix = prefix
        self._initializer = initializer
        self._tell = tell
        """Tells the pool that the initializer failed."""
        self._threads = threads
        self._start_thread = _threads.starter(threads, prune=True)
        self._lock = threading.RLock()
        self._running: set[Lane] = set()
        """From before their threads are started until these have closed their loops."""
        self._waiting: deque[Job] = deque()
        self._started = 0
        self._closed = False
        self._pid = os.getpid()
        self.broken = False
        _threads.live_lanes.add(self)

    def is_ours(self) -> bool:
        """Are the threads in this process? In a forked child the lock may be held for ever, and the
        loops' pipes are the parent's.
        """
        return self._pid == os.getpid()

    def submit(self, job: Job, count: Callable[[], Counted]) -> None:
        """Has it run. `count` counts a thread as one of the pool's, if that is open.

        Raises:
            RuntimeError: The pool is closed, or there is no thread and none can be started.
            concurrent.futures.thread.BrokenThreadPool: The initializer failed.
        """
        if self.broken:
            raise _threads.broken(_threads.BROKEN)
        counted = count()
        try:
            for lane in _locked(self._lock, self._accept, job, counted):
                self._start(lane)
        except BaseException as error:
            if _locked(self._lock, self._take_back, job, error):
                self._serve(counted, error)
                raise
            # The threads that there are will run it.
        finally:
            # A lane has a count of its own.
            counted.done()

    # -- with the lock held --------------------------------------------------------------------

    def _accept(self, job: Job, counted: Counted) -> list[Lane]:
        """It waits from now on; gives new lanes, to be started."""
        if self.broken:
            raise _threads.broken(_threads.BROKEN)
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._waiting.append(job)
        return self._spread(counted, job)

    def _spread(self, counted: Counted, starter: object) -> list[Lane]:
        """What waits goes to the lanes with the fewest; gives new ones, to be started."""
        fresh: list[Lane] = []
        if len(self._waiting) > 1 and len(self._running) >= self._most:
            # There was no room for those before, or a lane that has some takes its turn.
            return fresh
        while self._waiting:
            lane, load = self._emptiest()
            if (lane is None or load > 0) and len(self._running) < self._most:
                lane = Lane(self, self._max_tasks, counted.another(), starter)
                self._running.add(lane)
                fresh.append(lane)
            if lane is None:
                break
            # In this order: should Ctrl-C come between, it is there twice, and begun once.
            lane.unbegun.append(self._waiting[0])
            self._waiting.popleft()
            if len(lane.unbegun) == 1:
                lane.wake()
        return fresh

    def _emptiest(self) -> tuple[Lane | None, int]:
        emptiest, least = None, self._concurrency
        for lane in tuple(self._running):
            load = lane.active + len(lane.unbegun)
            if load < least and lane.left > len(lane.unbegun) and not lane.ending:
                emptiest, least = lane, load
        return emptiest, least

    def _take_back(self, job: Job, error: BaseException) -> bool:
        """Its submission was interrupted, or a thread could not be started. Is it nobody's now?"""
        self._abandon(job)
        if job in self._waiting:
            if isinstance(error, Exception) and self._running:
                self._wake_all()
                return False
            self._waiting.remove(job)
        for lane in self._running:
            if job in lane.unbegun:
                lane.unbegun.remove(job)
        # One may have nothing left to do; another may not have been woken.
        self._wake_all()
        return True

    def _abandon(self, starter: object) -> None:
        """Gives up the lanes whose threads were to be started with that, and are not there."""
        for lane in tuple(self._running):
            if lane.starter is starter and not lane.started and not lane.claimed:
                lane.abandoned = True
                self._running.discard(lane)
                self._waiting.extendleft(reversed(lane.unbegun))
                lane.unbegun.clear()
                lane.counted.done()

    def _wake_all(self) -> None:
        for lane in tuple(self._running):
            lane.wake()

    def _respread(self, counted: Counted, starter: object, error: BaseException | None) -> Fresh:
        """A lane is no more, for that reason: new ones, and is nobody there?"""
        self._wake_all()
        if isinstance(error, Exception):
            # Those that there are do it, or nobody.
            return [], not self._running
        return self._spread(counted, starter), False

    def _give_up(self, starter: object) -> bool:
        """The threads could not be started; is nobody there?"""
        self._abandon(starter)
        self._wake_all()
        return not self._running

    def _take_waiting(self) -> list[Job]:
        lost = [*self._waiting]
        self._waiting.clear()
        return lost

    def _next_number(self) -> int:
        number, self._started = self._started, self._started + 1
        return number

    # -- without it ----------------------------------------------------------------------------

    def _start(self, lane: Lane) -> None:
        number = _locked(self._lock, self._next_number)
        self._start_thread(f"{self._prefix}loop-{number}", lane.run)
        lane.started = True

    def _serve(self, counted: Counted, error: BaseException | None) -> None:
        """A lane is no more, for that reason: others do what it has not begun."""
        starter = object()
        try:
            fresh, lost = _locked(self._lock, self._respread, counted, starter, error)
            for lane in fresh:
                self._start(lane)
        except Exception as shortage:
            error = shortage
            lost = _locked(self._lock, self._give_up, starter)
        if lost and error is not None:
            self._lose(error)

    def _lose(self, error: BaseException) -> None:
        """Nobody is there to run what waits."""
        for job in _locked(self._lock, self._take_waiting):
            if job.begin() is not None:
                job.end(None, error, False)

    # -- called by the lanes' threads, where no signal comes -----------------------------------

    def claim(self, lane: Lane) -> bool:
        """The lane's thread begins; false if it was given up."""
        with self._lock:
            if lane.abandoned:
                return False
            lane.claimed = True
            lane.starter = None
            # Whoever started it may have been interrupted before it could note that.
            self._threads.add(threading.current_thread())
        return True

    def prepare(self) -> bool:
        """Runs the initializer, in a lane's thread."""
        if self._initializer is not None:
            function, args = self._initializer
            try:
                function(*args)
            except BaseException as error:
                _threads.initializer_failed(error)
                self.broken = True
                self._tell()
                return False
        return True

    def attach(self, lane: Lane, loop: asyncio.AbstractEventLoop | None) -> None:
        """The lane's loop may be woken from now on; or not any more."""
        with self._lock:
            lane.loop = loop

    def next_of(self, lane: Lane) -> Job | None:
        """What the lane is to begin; `None` if it has to wait, or to end."""
        with self._lock:
            if lane.ending:
                return None
            if lane.active < self._concurrency and lane.left > 0:
                queue = lane.unbegun or self._waiting
                if queue:
                    lane.active += 1
                    lane.left -= 1
                    lane.begun = True
                    return queue.popleft()
            if not lane.active and (self._closed or lane.left <= 0):
                lane.ending = True
        return None

    def ended(self, lane: Lane) -> None:
        """A job of the lane has ended."""
        with self._lock:
            lane.active -= 1

    def dies(self, lane: Lane) -> None:
        """Its loop cannot go on; it begins nothing more."""
        with self._lock:
            lane.ending = True

    def leave(self, lane: Lane, error: BaseException | None) -> None:
        """The lane has closed its loop, or could not make one."""
        with self._lock:
            self._running.discard(lane)
            self._waiting.extendleft(reversed(lane.unbegun))
            lane.unbegun.clear()
        try:
            if self.broken:
                self._lose(_threads.broken(_threads.BROKEN))
            else:
                if error is not None and not isinstance(error, Exception):
                    error = RuntimeError(f"the thread's event loop died: {error!r}")
                # One that died of what it ran has a successor.
                self._serve(lane.counted, None if lane.begun else error)
        finally:
            lane.counted.done()

    # -- the end -------------------------------------------------------------------------------

    def fail(self) -> None:
        """The initializer failed in another thread of the pool: what waits is not run."""
        self.broken = True
        self._lose(_threads.broken(_threads.BROKEN))

    def close(self, *, cancel: bool = False) -> None:
        """Takes no more jobs; with `cancel`, withdraws what has not begun."""
        if not self.is_ours():
            return
        for job in _locked(self._lock, self._close, cancel):
            job.withdraw()
        _locked(self._lock, self._closed_for, cancel)

    def _close(self, cancel: bool) -> list[Job]:
        self._closed = True
        withdrawn: list[Job] = []
        if cancel:
            withdrawn += self._waiting
            for lane in self._running:
                withdrawn += lane.unbegun
        return withdrawn

    def _closed_for(self, cancel: bool) -> None:
        if cancel:
            self._waiting.clear()
        # Each ends when it has nothing left.
        self._wake_all()

    def kill(self) -> None:
        """As `close`, and cancels what runs."""
        if not self.is_ours():
            return
        self.close(cancel=True)
        _locked(self._lock, self._cancel_all)

    def _cancel_all(self) -> None:
        for lane in tuple(self._running):
            if lane.loop is not None:
                lane.loop.call_soon_threadsafe(lane.cancel_all)

    def waiting(self) -> int:
        """Coroutines that wait for room."""
        return len(self._waiting)

"""One event loop in a thread: it begins the coroutines that it is given, and survives what they do.

Which coroutines, and when it ends, is decided in `_lanes.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyhands._engine import Counted
    from manyhands._lane_jobs import Job
    from manyhands._lanes import Lanes

__all__ = ["Lane"]


class Lane:
    """One thread and its event loop. What `Lanes` reads is written under the lock of `Lanes`."""

    def __init__(self, lanes: Lanes, left: float, counted: Counted, starter: object) -> None:
        self.lanes = lanes
        self.counted = counted
        self.starter: object = starter
        """The job with which its thread is to be started."""
        self.started = False
        """Its thread is there."""
        self.claimed = False
        """Its thread has begun its life."""
        self.abandoned = False
        """Nobody starts it any more; should its thread come yet, it has nothing to do."""
        self.ending = False
        """It takes no jobs any more."""
        self.unbegun: deque[Job] = deque()
        """Where there is one, the loop is about to take its turn."""
        self.active = 0
        """Jobs that it has begun, and that have not ended."""
        self.left = left
        """Jobs that it may still begin."""
        self.begun = False
        """It has begun a job."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """From when it runs until it is closed."""
        self._jobs: dict[asyncio.Task[Any], Job] = {}

    def run(self) -> None:
        """The thread's life."""
        if not self.lanes.claim(self):
            return
        error: BaseException | None = None
        try:
            if self.lanes.prepare():
                self._live()
        except BaseException as died:
            # It is told to all whose jobs it costs.
            error = died
        self.lanes.leave(self, error)

    def _live(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            asyncio.set_event_loop(loop)
            loop.call_soon(self.turn)
            self.lanes.attach(self, loop)
            try:
                _run(loop, lambda: self.ending)
            except BaseException as error:
                self.lanes.dies(self)
                for task in [*self._jobs]:
                    self._jobs.pop(task).end(None, error, False)
                raise
            finally:
                # As `asyncio.run` does: what the tasks have left behind is cancelled.
                last = loop.create_task(_wind_up(loop))
                last.add_done_callback(lambda _: loop.stop())
                _run(loop, last.done)
                last.result()
        finally:
            self.lanes.attach(self, None)
            asyncio.set_event_loop(None)
            loop.close()

    def wake(self) -> None:
        """It takes its turn, if its loop runs. Under the lock, which keeps that from closing."""
        if self.loop is not None:
            # Closed by whom it does not belong to: its thread finds that out.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.turn)

    def turn(self) -> None:
        """Begins what there is for it, or ends the loop; in the loop's thread."""
        while (job := self.lanes.next_of(self)) is not None:
            if not self._begin(job):
                self.lanes.ended(self)
        if self.ending and self.loop is not None:
            self.loop.stop()

    def _begin(self, job: Job) -> bool:
        """Does it run?"""
        assert self.loop is not None, "it is the loop that calls"
        try:
            call = job.begin()
            if call is None:
                return False
            task = self.loop.create_task(_outcome(*call[:3]), context=call[3])
        except BaseException as error:  # no memory; a task factory of the program's
            job.end(None, error, False)
            return False
        self._jobs[task] = job
        task.add_done_callback(self._ended)
        if not job.under_way(partial(self._cancel, task)):
            task.cancel()
        return True

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        loop = self.loop
        if loop is not None and self.lanes.is_ours():
            # Closed meanwhile: then no task is left.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

    def cancel_all(self) -> None:
        """Cancels what runs, in the loop's thread."""
        for task in [*self._jobs]:
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        job = self._jobs.pop(task, None)
        try:
            if job is not None:
                job.under_way(None)
                if task.cancelled():
                    job.end(None, None, True)
                else:
                    error = task.exception()
                    value, error = (None, error) if error is not None else task.result()
                    job.end(value, error, False)
                    del value, error
        finally:
            self.lanes.ended(self)
            self.turn()


def _run(loop: asyncio.AbstractEventLoop, over: Callable[[], bool]) -> None:
    """Runs it until then, whatever tasks do to it: they may stop it, or a callback or a background
    task of theirs may raise `SystemExit`; that must not end the others.
    """
    while not over():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            loop.call_exception_handler(
                {"message": "a callback of a task raised", "exception": error}
            )


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "a background task raised when its event loop ended",
                    "exception": task.exception(),
                    "task": task,
                }
            )
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


async def _outcome(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[Any, BaseException | None]:
    try:
        return await function(*args, **(kwargs or {})), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # `SystemExit` too is the task's, and not the loop's
        return None, error

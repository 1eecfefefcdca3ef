"""The stream behind `pool.map`: reads input, keeps batches in flight, gives results.

Guarantees: the input is read in the consumer's thread or loop only, and never further ahead than
there is room; results are given in order of the input, or as they come; whatever ends the
iteration withdraws what has not begun.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sized,
)
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manyhands._completions import CompletionQueue
from manyhands._future import Hub, hub_of
from manyhands._sizes import MOST, Sizes

if TYPE_CHECKING:
    import asyncio

    from manyhands._completions import AnyBatch
    from manyhands._pool import Pool
    from manyhands._thread_pool import ThreadPool

__all__ = ["Stream"]

R = TypeVar("R")

TURN = 0.005
"""Seconds after which an event loop gets a turn, though results are there all the time."""


class Stream(Generic[R]):
    """What one `pool.map` has in flight."""

    def __init__(
        self,
        pool: Pool | ThreadPool,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
        star: bool,
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
        ordered: bool,
        progress: bool,
    ) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pool = pool
        self._fn = fn
        self._iterables = iterables
        self._singles = len(iterables) == 1 and not star
        self._star = star
        self._ordered = ordered
        self._progress = progress
        coroutine = pool._is_coroutine(fn)
        slots = pool._workers * (pool._concurrency if coroutine else 1)
        self._most_items = buffersize
        # Enough for every place that can run one, and as many again on their way.
        self._most_batches = max(4 * pool._workers, 2 * slots)
        most = MOST if buffersize is None else max(1, buffersize // (2 * pool._workers))
        if chunksize is not None and buffersize is not None:
            chunksize = min(chunksize, buffersize)
        self._sizes = Sizes(chunksize, most)
        self._window: deque[AnyBatch] = deque()
        self._exhausted = False
        # What the input, or shipping it, raised; due after the results of what it gave before.
        self._input_error: Exception | None = None
        self._submitted = 0
        self.in_flight = 0

    # -- what both ways share ------------------------------------------------------------------

    def _has_room(self) -> bool:
        items = self._sizes.next()
        if len(self._window) >= self._most_batches and items <= 1:
            return False
        if self._most_items is not None:
            return self.in_flight + items <= self._most_items or self.in_flight == 0
        return len(self._window) < 4 * self._pool._workers or (
            len(self._window) < self._most_batches and self.in_flight < self._most_batches
        )

    def _may_read(self) -> bool:
        return not self._exhausted and self._has_room()

    def _submit(self, chunk: list[Any]) -> AnyBatch | None:
        """Submits one batch; `None`, and no more is read, if it cannot be shipped."""
        try:
            batch = self._pool._submit_batch(self._fn, chunk, self._singles, self._submitted)
        except Exception as error:
            *_, closed = self._pool._status()
            if closed:
                error.add_note("A map submits while it is iterated: take its results before that.")
            self._input_error = error
            self._exhausted = True
            return None
        self._submitted += len(chunk)
        self._window.append(batch)
        self.in_flight += len(chunk)
        return batch

    def _take(self, batch: AnyBatch) -> tuple[list[R], dict[int, BaseException]]:
        values, errors = batch.take()
        self._sizes.ran(len(batch), batch.elapsed)
        # Taken from the end one by one, so that none is held longer than its consumer does.
        values.reverse()
        return values, errors

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def withdraw(self) -> None:
        """Cancels what has not begun."""
        for batch in self._window:
            batch.cancel()
        self._window.clear()

    def _bar(self) -> Any:
        if not self._progress:
            return None
        from tqdm.auto import tqdm

        sizes = [len(it) for it in self._iterables if isinstance(it, Sized)]
        return tqdm(total=min(sizes, default=None))

    def _source(self) -> Iterator[Any]:
        for iterable in self._iterables:
            if not isinstance(iterable, Iterable):
                raise TypeError(
                    "an asynchronous iterable can only be mapped by `async for` or `await`"
                )
        if self._star:
            return (tuple(args) for args in self._iterables[0])  # type: ignore[union-attr]
        if self._singles:
            return iter(self._iterables[0])  # type: ignore[arg-type]
        return zip(*self._iterables, strict=False)

    def _read(self, source: Iterator[Any]) -> AnyBatch | None:
        """Reads and submits one batch; `None` if the input is at its end."""
        size = self._sizes.next()
        chunk: list[Any] = []
        began = time.perf_counter()
        try:
            chunk.extend(islice(source, size))
        except Exception as error:
            # What it gave before is in the list.
            self._input_error = error
        self._sizes.pulled(len(chunk), time.perf_counter() - began)
        self._exhausted = len(chunk) < size
        return self._submit(chunk) if chunk else None

    def _end(self) -> None:
        """Every result has been given."""
        error, self._input_error = self._input_error, None
        if error is not None:
            try:
                raise error
            finally:
                # Its traceback has this frame, and with it the items.
                del error

    # -- for threads ---------------------------------------------------------------------------

    def iterate(self) -> Generator[R]:
        """The results, for a thread."""
        bar = self._bar()
        queue = None if self._ordered else CompletionQueue()
        try:
            source = self._source()
            while True:
                # What is there goes first, should the input be slow.
                while self._may_read() and not self._is_due(queue):
                    self._read_for(queue, source)
                if not self._window:
                    self._end()
                    return
                if queue is not None:
                    batch = queue.get(self._left())
                    self._window.remove(batch)
                else:
                    batch = self._window[0]
                    if not batch.wait(self._left()):
                        raise TimeoutError
                    self._window.popleft()
                values, errors = self._take(batch)
                # The workers go on while the consumer looks at these.
                if self._are_idle() and self._may_read():
                    self._read_for(queue, source)
                for index in range(len(values)):
                    value = values.pop()
                    self.in_flight -= 1
                    if index in errors:
                        raise errors[index]
                    if bar is not None:
                        bar.update()
                    yield value
                    del value
        finally:
            self.withdraw()
            if queue is not None:
                queue.close()
            if bar is not None:
                bar.close()

    def _is_due(self, queue: CompletionQueue | None) -> bool:
        """Is there a result to give, or will it be before the next item?"""
        if not self._window:
            return False
        lead = self._sizes.lead()
        if queue is not None:
            return queue.look(lead)
        return self._window[0].wait(lead) if lead else self._window[0].done()

    def _are_idle(self) -> bool:
        """Have the workers less to do than they could, where that is quickly mended?"""
        return len(self._window) < self._pool._workers and not self._sizes.is_slow

    def _read_for(self, queue: CompletionQueue | None, source: Iterator[Any]) -> None:
        batch = self._read(source)
        if queue is not None and batch is not None:
            queue.add(batch)

    # -- for event loops -----------------------------------------------------------------------

    async def aiterate(self) -> AsyncGenerator[R]:
        """The results, for a coroutine."""
        import asyncio

        bar = self._bar()
        changed = asyncio.Event()
        waits: dict[AnyBatch, tuple[Hub, asyncio.Future[None]]] = {}
        reader: asyncio.Task[None] | None = None
        source: Iterator[Any] | None = None
        turn = time.monotonic()
        try:
            if all(isinstance(it, Iterable) for it in self._iterables):
                source = self._source()
            else:
                reader = asyncio.create_task(self._read_async(changed))
            while True:
                self._left()
                while source is not None and self._may_read() and self._ended() is None:
                    if self._window and (lead := self._sizes.lead()):
                        await self._wait_for_end(waits, changed, lead)
                        if self._ended() is not None:
                            break
                    self._read(source)
                batch = self._ended()
                if batch is None:
                    if not self._window and self._exhausted:
                        self._end()
                        return
                    await self._wait_for_end(waits, changed)
                    turn = time.monotonic()
                    continue
                if time.monotonic() - turn > TURN:
                    await asyncio.sleep(0)
                    turn = time.monotonic()
                self._window.remove(batch)
                hub, waiter = waits.pop(batch, (None, None))
                if hub is not None and waiter is not None:
                    # It may have been seen to have ended before its loop was told.
                    hub.forget(waiter)
                values, errors = self._take(batch)
                if source is not None and self._are_idle() and self._may_read():
                    self._read(source)
                changed.set()
                for index in range(len(values)):
                    value = values.pop()
                    self.in_flight -= 1
                    if index in errors:
                        raise errors[index]
                    if bar is not None:
                        bar.update()
                    yield value
                    del value
                # There is room again.
                changed.set()
        finally:
            self.withdraw()
            for hub, waiter in waits.values():
                hub.forget(waiter)
            if bar is not None:
                bar.close()
            if reader is not None:
                reader.cancel()
                await asyncio.wait([reader])

    def _ended(self) -> AnyBatch | None:
        """A batch whose results are due."""
        candidates = islice(self._window, 1) if self._ordered else self._window
        return next((batch for batch in candidates if batch.done()), None)

    async def _wait_for_end(
        self,
        waits: dict[AnyBatch, tuple[Hub, asyncio.Future[None]]],
        changed: asyncio.Event,
        at_most: float = math.inf,
    ) -> None:
        """Sleeps until a batch that is due has ended, or there is a new one, or for so long."""
        import asyncio

        changed.clear()
        due = list(islice(self._window, 1) if self._ordered else self._window)
        for batch in due:
            if batch not in waits:
                hub = hub_of(batch)
                waiter = hub.wait(batch)
                if waiter is None:
                    return
                waiter.add_done_callback(lambda _: changed.set())
                waits[batch] = hub, waiter
        left = self._left()
        limit = at_most if left is None else min(left, at_most)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit if limit < math.inf else None):
                await changed.wait()
        self._left()

    async def _read_async(self, changed: asyncio.Event) -> None:
        """Reads asynchronous input beside the consumer, as far as there is room."""
        import asyncio

        from manyhands._azip import azip

        chunk: list[Any] = []
        try:
            items = azip(self._iterables, self._star, self._singles)
            while True:
                while not self._has_room():
                    changed.clear()
                    await changed.wait()
                step = asyncio.ensure_future(anext(items))
                try:
                    await asyncio.sleep(0)
                    if not step.done() and chunk:
                        # The input makes us wait: what is there goes now.
                        full, chunk = chunk, []
                        if self._submit(full) is None:
                            break
                        changed.set()
                    chunk.append(await step)
                except StopAsyncIteration:
                    break
                finally:
                    step.cancel()
                if len(chunk) >= self._sizes.next():
                    full, chunk = chunk, []
                    if self._submit(full) is None:
                        break
                    changed.set()
            if chunk:
                self._submit(chunk)
        except Exception as error:
            self._input_error = error
            if chunk:
                self._submit(chunk)
        finally:
            self._exhausted = True
            changed.set()

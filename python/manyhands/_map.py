"""`pool.map`: a stream of results over a stream of input, bounded in flight.

Small items travel in batches. How many is measured: so many that a batch takes about `TARGET`, as
long as that many are quickly there. The input is read in the consumer's thread or loop only.
"""

from __future__ import annotations

import asyncio
import select
import time
import warnings
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sized,
)
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manyhands._future import hub_of

if TYPE_CHECKING:
    from manyhands._engine import Batch
    from manyhands._pool import Pool

__all__ = ["MapResults"]

R = TypeVar("R")

TARGET = 0.001
"""Seconds that a batch should take: long beside what a batch costs, short beside a wait."""

MOST = 1024
"""Items in a batch of its own size at the most."""

PATIENCE = 0.001
"""Seconds that items already read may wait for their batch to fill."""


class Sizes:
    """How many items the next batch has, by what items cost so far."""

    def __init__(self, chunksize: int | None, most: int) -> None:
        self._fixed = chunksize
        self._most = min(most, MOST)
        self._size = 1
        self._cost = 0.0
        self._pull = 0.0

    def next(self) -> int:
        """Items for the next batch."""
        if self._fixed is not None:
            return self._fixed
        if self._pull > 0 and self._size * self._pull > PATIENCE:
            return max(1, int(PATIENCE / self._pull))
        return self._size

    def pulled(self, items: int, seconds: float) -> None:
        """The input gave so many items in this time."""
        if items:
            each = seconds / items
            self._pull = each if each > self._pull else 0.5 * self._pull + 0.5 * each

    def ran(self, items: int, seconds: float) -> None:
        """A batch took so long in its worker."""
        each = seconds / items
        self._cost = each if self._cost == 0 or each > self._cost else (self._cost + each) / 2
        wanted = int(TARGET / self._cost) if self._cost > 0 else self._most
        self._size = max(1, min(wanted, self._size * 2, self._most))


class MapResults(Generic[R]):
    """The results of a `pool.map`: iterate them, async-iterate them, or await a list of them.

    It can be gone through once. Nothing runs before that begins.
    """

    def __init__(
        self,
        pool: Pool,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
        star: bool,
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
        ordered: bool,
        progress: bool,
    ) -> None:
        if not iterables:
            raise TypeError("map needs at least one iterable")
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or >= 1.")
        for iterable in iterables:
            if not isinstance(iterable, Iterable | AsyncIterable):
                raise TypeError(f"{type(iterable).__name__!r} object is not iterable")
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
        # Enough for every place that can run one, and as many again on their way.
        self._most_items = buffersize
        self._most_batches = max(4 * pool._workers, 2 * slots)
        most = MOST if buffersize is None else max(1, buffersize // (2 * pool._workers))
        if chunksize is not None and buffersize is not None:
            chunksize = min(chunksize, buffersize)
        self._sizes = Sizes(chunksize, most)
        self._window: deque[Batch] = deque()
        self._in_flight = 0
        self._exhausted = False
        self._stream: Generator[R] | AsyncGenerator[R] | None = None

    # -- what both ways share ------------------------------------------------------------------

    def _has_room(self, items: int) -> bool:
        if len(self._window) >= self._most_batches and self._sizes.next() <= 1:
            return False
        if self._most_items is not None:
            return self._in_flight + items <= self._most_items or not self._window
        return len(self._window) < 4 * self._pool._workers or (
            len(self._window) < self._most_batches and self._in_flight < self._most_batches
        )

    def _submit(self, chunk: list[Any]) -> None:
        batch = self._pool._submit_batch(self._fn, chunk, self._singles)
        self._window.append(batch)
        self._in_flight += len(chunk)

    def _take(self, batch: Batch) -> tuple[list[R], dict[int, BaseException]]:
        values, errors = batch.take()
        self._sizes.ran(len(batch), batch.elapsed)
        return values, errors

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _withdraw(self) -> None:
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

    def _read(self, source: Iterator[Any]) -> bool:
        """Reads and submits one batch; false at the end of the input."""
        size = self._sizes.next()
        began = time.perf_counter()
        chunk = list(islice(source, size))
        self._sizes.pulled(len(chunk), time.perf_counter() - began)
        if len(chunk) < size:
            self._exhausted = True
        if chunk:
            self._submit(chunk)
        return bool(chunk)

    def _begin(self) -> None:
        if self._stream is not None:
            raise RuntimeError("the results of a map can be gone through once")

    # -- for threads ---------------------------------------------------------------------------

    def __iter__(self) -> Iterator[R]:
        if self._stream is None:
            self._stream = self._iterate()
        if not isinstance(self._stream, Iterator):
            raise RuntimeError("the results of this map are being async-iterated")
        return self

    def __next__(self) -> R:
        stream = self._stream
        if stream is None:
            stream = self._stream = self._iterate()
        if not isinstance(stream, Iterator):
            raise RuntimeError("the results of this map are being async-iterated")
        return next(stream)

    def _iterate(self) -> Generator[R]:
        bar = self._bar()
        queue = None if self._ordered else CompletionQueue()
        try:
            source = self._source()
            while True:
                while not self._exhausted and self._has_room(self._sizes.next()):
                    # What is there goes first, should the input be slow.
                    if self._window and self._window[0].done():
                        break
                    if self._read(source) and queue is not None:
                        queue.add(self._window[-1])
                if not self._window:
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
                if (
                    not self._exhausted
                    and len(self._window) < self._pool._workers
                    and self._has_room(self._sizes.next())
                    and self._read(source)
                    and queue is not None
                ):
                    queue.add(self._window[-1])
                yield from self._give(values, errors, bar)
        finally:
            self._withdraw()
            if queue is not None:
                queue.close()
            if bar is not None:
                bar.close()

    def _give(self, values: list[R], errors: dict[int, BaseException], bar: Any) -> Generator[R]:
        values.reverse()
        for index in range(len(values)):
            value = values.pop()
            self._in_flight -= 1
            if bar is not None:
                bar.update()
            if errors and index in errors:
                raise errors[index]
            yield value
            del value

    def close(self) -> None:
        """Withdraws what has not begun; ends the iteration."""
        if isinstance(self._stream, Generator):
            self._stream.close()
        elif self._stream is None:
            self._stream = _nothing()
        self._withdraw()

    # -- for event loops -----------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[R]:
        if self._stream is None:
            self._stream = self._aiterate()
        if not isinstance(self._stream, AsyncIterator):
            raise RuntimeError("the results of this map are being iterated")
        return self._stream

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._collect().__await__()

    async def _collect(self) -> list[R]:
        self._begin()
        return [value async for value in self]

    async def _aiterate(self) -> AsyncGenerator[R]:
        bar = self._bar()
        changed = asyncio.Event()
        waits: dict[Batch, asyncio.Future[None]] = {}
        reader: asyncio.Task[None] | None = None
        source: Iterator[Any] | None = None
        try:
            if all(isinstance(it, Iterable) for it in self._iterables):
                source = self._source()
            else:
                reader = asyncio.create_task(self._read_async(changed))
            while True:
                if source is not None:
                    while not self._exhausted and self._has_room(self._sizes.next()):
                        self._read(source)
                batch = self._ended()
                if batch is None:
                    if not self._window and self._exhausted:
                        if reader is not None:
                            await reader
                        return
                    await self._wait_for_end(waits, changed)
                    continue
                waits.pop(batch, None)
                self._window.remove(batch)
                values, errors = self._take(batch)
                changed.set()
                values.reverse()
                for index in range(len(values)):
                    value = values.pop()
                    self._in_flight -= 1
                    if bar is not None:
                        bar.update()
                    if index in errors:
                        raise errors[index]
                    yield value
                    del value
        finally:
            if reader is not None:
                reader.cancel()
            for batch, waiter in waits.items():
                hub_of(batch).forget(waiter)
            self._withdraw()
            if bar is not None:
                bar.close()

    def _ended(self) -> Batch | None:
        """A batch whose results are due."""
        candidates = islice(self._window, 1) if self._ordered else self._window
        return next((batch for batch in candidates if batch.done()), None)

    async def _wait_for_end(
        self, waits: dict[Batch, asyncio.Future[None]], changed: asyncio.Event
    ) -> None:
        """Sleeps until a batch that is due has ended, or there is a new one."""
        changed.clear()
        due = list(islice(self._window, 1) if self._ordered else self._window)
        for batch in due:
            if batch not in waits:
                waiter = hub_of(batch).wait(batch)
                if waiter is None:
                    return
                waiter.add_done_callback(lambda _: changed.set())
                waits[batch] = waiter
        try:
            async with asyncio.timeout(self._left()):
                await changed.wait()
        except TimeoutError:
            raise TimeoutError from None

    async def _read_async(self, changed: asyncio.Event) -> None:
        """Reads asynchronous input beside the consumer, as far as there is room."""
        try:
            items = _zip(self._iterables, self._star, self._singles)
            chunk: list[Any] = []
            while True:
                while not self._has_room(self._sizes.next()):
                    changed.clear()
                    await changed.wait()
                step = asyncio.ensure_future(anext(items))
                try:
                    await asyncio.sleep(0)
                    if not step.done() and chunk:
                        # The input makes us wait: what is there goes now.
                        self._submit(chunk)
                        chunk = []
                        changed.set()
                    chunk.append(await step)
                except StopAsyncIteration:
                    break
                finally:
                    step.cancel()
                if len(chunk) >= self._sizes.next():
                    self._submit(chunk)
                    chunk = []
                    changed.set()
            if chunk:
                self._submit(chunk)
        finally:
            self._exhausted = True
            changed.set()

    async def aclose(self) -> None:
        """Withdraws what has not begun; ends the iteration."""
        if isinstance(self._stream, AsyncGenerator):
            await self._stream.aclose()
        else:
            self.close()
        self._withdraw()

    def __del__(self) -> None:
        if getattr(self, "_stream", self) is None:
            warnings.warn(
                "the results of a pool's map were never asked for, so nothing ran; iterate or "
                "await them",
                RuntimeWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        state = "not begun" if self._stream is None else f"{self._in_flight} in flight"
        return f"<MapResults: {state}>"


def _nothing() -> Generator[Any]:
    yield from ()


async def _zip(
    iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...], star: bool, singles: bool
) -> AsyncIterator[Any]:
    """Items of iterables of either sort, side by side; ends with the shortest."""
    iterators = [
        aiter(it) if isinstance(it, AsyncIterable) else _lift(iter(it)) for it in iterables
    ]
    while True:
        row = []
        for iterator in iterators:
            try:
                row.append(await anext(iterator))
            except StopAsyncIteration:
                return
        yield row[0] if singles else tuple(row[0]) if star else tuple(row)


async def _lift(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    for item in iterator:
        yield item


class CompletionQueue:
    """Batches in the order in which they end, for a thread.

    It waits at an event loop's door, by poll(2).
    """

    def __init__(self) -> None:
        self._door: Any = None
        self._poll = select.poll()
        self._pending: dict[int, Batch] = {}
        self._ended: deque[Batch] = deque()
        self._last = 0

    def add(self, batch: Batch) -> None:
        """One more to wait for."""
        if self._door is None:
            self._door = batch._open_door()
            self._poll.register(self._door.fileno(), select.POLLIN)
        self._last += 1
        if batch._watch(self._door, self._last):
            self._pending[self._last] = batch
        else:
            self._ended.append(batch)

    def get(self, timeout: float | None) -> Batch:
        """The next batch that has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._poll.poll(None if left is None else left * 1000):
                raise TimeoutError
            for key in self._door.read():
                self._door.leave()
                self._ended.append(self._pending.pop(key))
        return self._ended.popleft()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._door is not None:
            self._door.close()

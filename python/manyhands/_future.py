"""`Future`: one future for threads, for the standard library, and for every event loop."""

from __future__ import annotations

import weakref
from collections import deque
from types import CodeType

from manyhands import _standard
from manyhands._engine import Door, FutureBase, ThreadDoor, _locked

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable, Generator
    from typing import Any, TypeAlias, TypeVar

    from manyhands._engine import Batch, Gone, ThreadBatch

    T = TypeVar("T")

    Hubs: TypeAlias = "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] | ThreadHubs"
    Awaitable: TypeAlias = "FutureBase | Batch | ThreadBatch | Gone"

__all__ = ["Future", "Hub", "hub_of"]


class Future(FutureBase, _standard.Future["T"]):
    """The outcome of a task, now or later.

    It is a `concurrent.futures.Future` (PEP 3148), so `concurrent.futures.wait` and `as_completed`
    and `asyncio.wrap_future` take it; and it can be awaited on any running loop, by many at once.
    Who awaits a task that was withdrawn gets `asyncio.CancelledError`, as from a future of asyncio.
    An awaiter that is cancelled withdraws the task if no worker has begun it, for all who wait
    (`asyncio.shield` keeps it from that); a task under way goes on. `asyncio.gather`, `wait_for`
    and `as_completed` take it as it is; `asyncio.wait` takes only asyncio's own futures, so give it
    `asyncio.ensure_future(future)`.

    >>> import manyhands as mh
    >>> with mh.Pool(1) as pool:
    ...     future = pool.submit(divmod, 17, 5)
    ...     future.result()
    (3, 2)

    >>> import asyncio
    >>> async def main():
    ...     async with mh.Pool(1) as pool:
    ...         return await pool.submit(divmod, 17, 5)
    >>> asyncio.run(main())
    (3, 2)
    """

    if TYPE_CHECKING:
        # The native methods, with the type of the result.
        def result(self, timeout: float | None = None) -> T: ...
        def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None: ...

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            hub = hub_of(self)
            waiter = hub.wait(self)
            if waiter is not None:
                try:
                    yield from waiter
                except BaseException:
                    # The awaiter was cancelled, or closed.
                    hub.forget(waiter)
                    self.cancel()
                    raise
        try:
            return self.result(0)
        except Exception:
            if not self.cancelled():
                raise
            import asyncio

            # What loops and their tasks know for a cancellation; the other is an `Exception`.
            raise asyncio.CancelledError from None

    def set_running_or_notify_cancel(self) -> bool:
        """Not for a pool's future: the pool does this itself.

        Raises:
            InvalidStateError: Always.
        """
        raise _invalid_state()

    def set_result(self, result: T) -> None:
        """Not for a pool's future: the pool does this itself.

        Raises:
            InvalidStateError: Always.
        """
        raise _invalid_state()

    def set_exception(self, exception: BaseException | None) -> None:
        """Not for a pool's future: the pool does this itself.

        Raises:
            InvalidStateError: Always.
        """
        raise _invalid_state()

    def __repr__(self) -> str:
        of = f" of {self._name}" if self._name else ""
        if not self.done():
            state = "running" if self.running() else "pending"
        elif self.cancelled():
            state = "cancelled"
        else:
            error = self.exception(0)
            if error is None:
                state = f"finished returned {type(self.result(0)).__name__}"
            else:
                state = f"finished raised {type(error).__name__}"
        return f"<Future at {id(self):#x}{of} state={state}>"


def _invalid_state() -> Exception:
    from concurrent.futures import InvalidStateError

    return InvalidStateError("a pool's future is set by its pool alone")


def notify(future: Future[Any], condition: threading.Condition, waiters: list[Any]) -> None:
    """Tells the standard library's waiters that a future has ended."""
    _locked(condition, _notify, future, condition, waiters)


def _notify(future: Future[Any], condition: threading.Condition, waiters: list[Any]) -> None:
    future._set_published()
    for waiter in waiters:
        if future.cancelled():
            waiter.add_cancelled(future)
        elif future.exception(0) is not None:
            waiter.add_exception(future)
        else:
            waiter.add_result(future)
    condition.notify_all()


def callback_failed(future: Future[Any], error: BaseException) -> None:
    """Logs what a done-callback raised, as the standard library does."""
    if not isinstance(error, Exception):
        raise error
    import logging

    logger = logging.getLogger("concurrent.futures")
    logger.error("exception calling callback for %r", future, exc_info=error)


POOL_GONE = 0
"""The key under which a loop is told that a pool has no worker left."""


class Hub:
    """Where an event loop waits for a pool, or for threads: one descriptor, by `add_reader`.

    One wake-up completes all that has ended.
    """

    def __init__(
        self, door: Door | ThreadDoor, hubs: Hubs, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._door = door
        # The loop owns the hub (as a reader), so the hub must not keep the loop.
        self._loop = weakref.ref(loop)
        self._waits: dict[int, asyncio.Future[None]] = {}
        self._keys: dict[asyncio.Future[None], int] = {}
        self._last = 0
        self._ended: deque[int] = deque()
        """The keys of what has ended, and is still to be told."""
        self._hubs = hubs
        # In a context of its own: the loop keeps the reader's for as long as it lives, and so would
        # what the first who waits has in his.
        from contextvars import Context

        Context().run(loop.add_reader, door.fileno(), door.serve, self._ended, self._complete)
        if isinstance(door, Door):
            # Nobody need await the end of the pool for the loop to be done with it. (The door to
            # threads is that of all pools, and goes with the loop.)
            door.watch_end(POOL_GONE)

    def wait(self, task: Awaitable) -> asyncio.Future[None] | None:
        """A future of this loop that ends with the task; `None` if that has ended already."""
        loop = self._loop()
        assert loop is not None, "a running loop is alive"
        self._last += 1
        key = self._last
        if not task._watch(self._door, key):
            return None
        waiter = loop.create_future()
        self._waits[key] = waiter
        self._keys[waiter] = key
        return waiter

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """Nobody waits any more."""
        key = self._keys.get(waiter)
        if key is not None:
            self._leave(key)

    def _complete(self) -> None:
        # Ctrl-C may come between any two steps. Then this is called once more, and each step may be
        # taken again: a key stays where it is until all is done for it.
        ended = self._ended
        while ended:
            key = ended[0]
            waiter = self._waits.get(key)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            self._leave(key)
            if key == POOL_GONE:
                # Whatever is still waited for has ended too; its own key may come later.
                for waiter in [*self._waits.values()]:
                    if not waiter.done():
                        waiter.set_result(None)
                self._keys.clear()
                self._waits.clear()
                self.close()
            ended.popleft()

    def _leave(self, key: int) -> None:
        self._door.leave(key)
        waiter = self._waits.get(key)
        if waiter is not None:
            self._keys.pop(waiter, None)
            self._waits.pop(key, None)

    def close(self) -> None:
        """The pool is gone: the loop need not watch any more. Called on the loop's thread."""
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            self._hubs.pop(loop, None)
            loop.remove_reader(self._door.fileno())
        self._door.close()


def hub_of(task: Awaitable) -> Hub:
    """The running loop's hub for the task's pool, made at its first wait."""
    import asyncio

    loop = asyncio.get_running_loop()
    hubs = task._hubs
    hub = hubs.get(loop)
    if hub is None:
        hub = Hub(task._open_door(loop), hubs, loop)
        hubs[loop] = hub
    return hub


class ThreadHubs:
    """Of each event loop, where it waits for threads of whatever pool.

    A hub belongs to its loop alone, as a reader: it goes when the loop is closed, with what has
    ended for the loop and was not seen any more.
    """

    def __init__(self) -> None:
        self._hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Hub]] = (
            weakref.WeakKeyDictionary()
        )

    def get(self, loop: asyncio.AbstractEventLoop) -> Hub | None:
        known = self._hubs.get(loop)
        return None if known is None else known()

    def __setitem__(self, loop: asyncio.AbstractEventLoop, hub: Hub) -> None:
        self._hubs[loop] = weakref.ref(hub)

    def pop(self, loop: asyncio.AbstractEventLoop, default: None) -> object:
        return self._hubs.pop(loop, default)


thread_hubs = ThreadHubs()


def thread_door(loop: asyncio.AbstractEventLoop) -> ThreadDoor | None:
    """The door of a running loop to threads; `None` if that loop watches no descriptors, or the
    process has none left for it: then the loop is woken as for any other callback.
    """
    hub = thread_hubs.get(loop)
    if hub is None:
        try:
            hub = Hub(ThreadDoor(weakref.ref(loop)), thread_hubs, loop)
        except (NotImplementedError, OSError):
            return None
        # A loop may also say that it does, and not do it: with a mock for its `_add_reader`, say.
        selector = getattr(loop, "_selector", None)
        if selector is not None and hub._door.fileno() not in selector.get_map():
            return None
        thread_hubs[loop] = hub
    door = hub._door
    assert isinstance(door, ThreadDoor)
    return door


def chain_code() -> tuple[CodeType, int, int, int] | None:
    """The code of asyncio's callback that has a loop's future end with one of ours.

    With the places of what its cells hold: the loop, its future, and the function that copies the
    outcome. `None` if this asyncio has no such thing.
    """
    import asyncio

    chain = getattr(asyncio.futures, "_chain_future", None)
    for code in getattr(getattr(chain, "__code__", None), "co_consts", ()):
        if isinstance(code, CodeType) and code.co_name == "_call_set_state":
            cells = code.co_freevars
            if {"dest_loop", "destination", "_set_state"} <= {*cells}:
                places = (cells.index(n) for n in ("dest_loop", "destination", "_set_state"))
                return code, *places  # type: ignore[return-value]
    return None

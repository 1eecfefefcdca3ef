"""For a thread that waits for whichever of many batches ends first."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from manyhands._engine import Batch, ThreadBatch

__all__ = ["AnyBatch", "CompletionQueue"]

AnyBatch: TypeAlias = "Batch | ThreadBatch"


class CompletionQueue:
    """Batches in the order in which they end, for a thread.

    It waits at an event loop's door, by poll(2).
    """

    def __init__(self) -> None:
        self._door: Any = None
        self._poll = select.poll()
        self._pending: dict[int, AnyBatch] = {}
        self._ended: deque[AnyBatch] = deque()
        self._last = 0

    def add(self, batch: AnyBatch) -> None:
        """One more to wait for."""
        if self._door is None:
            self._door = batch._open_door()
            self._poll.register(self._door.fileno(), select.POLLIN)
        self._last += 1
        if batch._watch(self._door, self._last):
            self._pending[self._last] = batch
        else:
            self._ended.append(batch)

    def get(self, timeout: float | None) -> AnyBatch:
        """The next batch that has ended."""
        if not self.look(timeout):
            raise TimeoutError
        return self._ended.popleft()

    def look(self, timeout: float | None) -> bool:
        """Has a batch ended, or does one in that time?"""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._poll.poll(None if left is None else left * 1000):
                return False
            for key in self._door.read():
                self._door.leave(key)
                self._ended.append(self._pending.pop(key))
        return True

    def close(self) -> None:
        """Nobody waits any more."""
        if self._door is not None:
            self._door.close()

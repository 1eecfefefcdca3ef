"""How many items are under way, and how many small ones travel together.

The latter is measured: so many that a batch takes about `TARGET`, as long as that many are quickly
there.
"""

from __future__ import annotations

__all__ = ["MOST", "Sizes", "check_buffersize"]

TARGET = 0.001
"""Seconds that a batch should take: long beside what a batch costs, short beside a wait."""

MOST = 1024
"""Items in a batch of its own size at the most."""

PATIENCE = 0.001
"""Seconds that items already read may wait for their batch to fill."""


def check_buffersize(size: object) -> None:
    """As `Executor.map` of the standard library, with its texts.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than 1.
    """
    if size is not None and not isinstance(size, int):
        raise TypeError("buffersize must be an integer or None")
    if size is not None and size < 1:
        raise ValueError("buffersize must be None or > 0")


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

    @property
    def is_slow(self) -> bool:
        """Does reading an item take long beside a batch?"""
        return self._pull > PATIENCE

    def lead(self) -> float:
        """Seconds that results may take to come before more is read.

        With slow input, what comes soon is not to wait for the next item; nor is the input to wait
        much for results.
        """
        share = self._pull / 4
        return share if self.is_slow and self._cost < share else 0.0

    def ran(self, items: int, seconds: float) -> None:
        """A batch took so long in its worker."""
        each = seconds / items
        self._cost = each if self._cost == 0 or each > self._cost else (self._cost + each) / 2
        wanted = int(TARGET / self._cost) if self._cost > 0 else self._most
        self._size = max(1, min(wanted, self._size * 2, self._most))

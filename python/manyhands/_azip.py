"""Side by side, iterables of which some are asynchronous."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

__all__ = ["azip"]


async def azip(
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

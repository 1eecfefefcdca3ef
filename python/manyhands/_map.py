"""What `pool.map` returns: results to iterate, to async-iterate, or to await."""

from __future__ import annotations

import sys
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manyhands._sizes import check_buffersize
from manyhands._stream import Stream

if TYPE_CHECKING:
    from manyhands._pool import Pool
    from manyhands._thread_pool import ThreadPool

__all__ = ["MapResults"]

R = TypeVar("R")


class MapResults(Generic[R]):
    """The results of a `pool.map`: iterate them, async-iterate them, or await a list of them.

    It can be gone through once. Nothing runs before that begins. Abandoning the iteration
    withdraws what no worker has begun; leaving an `async for` early does so at once only with
    `contextlib.aclosing` or `aclose` (PEP 525).

    >>> import manyhands as mh
    >>> with mh.Pool(1) as pool:
    ...     for value in pool.map(abs, [-1, -2]):
    ...         print(value)
    1
    2

    >>> import asyncio
    >>> async def main():
    ...     async with mh.Pool(1) as pool:
    ...         print(await pool.map(abs, [-1, -2]))
    ...         async for value in pool.map(abs, [-3]):
    ...             print(value)
    >>> asyncio.run(main())
    [1, 2]
    3
    """

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
        if not iterables:
            raise TypeError("map needs at least one iterable")
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        check_buffersize(buffersize)
        for iterable in iterables:
            if not isinstance(iterable, Iterable | AsyncIterable):
                raise TypeError(f"{type(iterable).__name__!r} object is not iterable")
        # The generator holds the stream and not these results, so that it is closed as soon as
        # these are dropped.
        self._stream: Stream[R] = Stream(
            pool, fn, iterables, star, timeout, chunksize, buffersize, ordered, progress
        )
        self._results: Generator[R] | AsyncGenerator[R] | None = None
        # Who called the pool's method, for a warning.
        caller = sys._getframe(2)
        self._called = caller.f_code.co_filename, caller.f_lineno

    def __iter__(self) -> Iterator[R]:
        self._iterated()
        return self

    def __next__(self) -> R:
        return next(self._iterated())

    def _iterated(self) -> Generator[R]:
        if self._results is None:
            self._results = self._stream.iterate()
        if not isinstance(self._results, Generator):
            raise RuntimeError("the results of this map are being async-iterated")
        return self._results

    def close(self) -> None:
        """Withdraws what has not begun; ends the iteration.

        >>> import manyhands as mh
        >>> with mh.Pool(1) as pool:
        ...     results = pool.map(abs, range(-7, 1_000_000))
        ...     print(next(results))
        ...     results.close()
        7
        """
        if isinstance(self._results, Generator):
            self._results.close()
        elif self._results is None:
            self._results = _nothing()
        self._stream.withdraw()

    def __aiter__(self) -> AsyncIterator[R]:
        if self._results is None:
            self._results = self._stream.aiterate()
        if not isinstance(self._results, AsyncGenerator):
            raise RuntimeError("the results of this map are being iterated")
        return self._results

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._collect().__await__()

    async def _collect(self) -> list[R]:
        if self._results is not None:
            raise RuntimeError("the results of a map can be gone through once")
        return [value async for value in self]

    async def aclose(self) -> None:
        """Withdraws what has not begun; ends the iteration (as in PEP 525).

        >>> import asyncio
        >>> from contextlib import aclosing
        >>> import manyhands as mh
        >>> async def main():
        ...     async with mh.Pool(1) as pool:
        ...         async with aclosing(pool.map(abs, range(-7, 1_000_000))) as results:
        ...             async for value in results:
        ...                 return value
        >>> asyncio.run(main())
        7
        """
        if isinstance(self._results, AsyncGenerator):
            await self._results.aclose()
        else:
            self.close()
        self._stream.withdraw()

    def __del__(self) -> None:
        if getattr(self, "_results", self) is None:
            filename, line = self._called
            warnings.warn_explicit(
                "the results of a pool's map were never asked for, so nothing ran; iterate or "
                "await them",
                RuntimeWarning,
                filename,
                line,
                source=self,
            )

    def __repr__(self) -> str:
        if self._results is None:
            state = "not begun"
        elif _has_ended(self._results):
            state = "ended"
        else:
            state = f"{self._stream.in_flight} in flight"
        return f"<MapResults: {state}>"


def _has_ended(results: Generator[Any] | AsyncGenerator[Any]) -> bool:
    # What has run to its end, or was closed, has no frame any more.
    name = "gi_frame" if isinstance(results, Generator) else "ag_frame"
    return getattr(results, name) is None


def _nothing() -> Generator[Any]:
    yield from ()

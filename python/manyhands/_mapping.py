"""`map` and `starmap`, as all pools have them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from manyhands._map import MapResults

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Mapping"]

T = TypeVar("T")


class Mapping:
    """A pool that maps."""

    def _pool(self) -> Any:
        """This pool, as a stream uses it."""
        return self

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[Any]:
        """Runs `fn` on the items of the iterables, taken side by side as by `zip`.

        The results can be iterated, async-iterated, or awaited for a list. The input is read as
        results are asked for, in the caller's thread or loop, and never far ahead of them; it
        may be asynchronous where the results are.

        Nothing runs before the iteration begins. It ends with the first error; what has not
        begun by then is withdrawn, as when the iteration is closed or abandoned.

        Args:
            fn: A function or a coroutine function.
            *iterables: One for each argument of `fn`.
            timeout: Seconds that the whole iteration may take from this call on.
            chunksize: Items that travel together; by default measured and adapted.
            buffersize: Items that may be in flight, read from the input and not yet given back.
            ordered: Results in order of the input, or else as they come.
            progress: Shows a bar on standard error.

        Raises:
            TypeError: No iterable is given, or one is none; while iterating: one is asynchronous
                and the iteration is not.
            ValueError: `chunksize` or `buffersize` is less than 1.
            TimeoutError: While iterating: the time is over.
            Exception: While iterating: what `fn` raised, at the place of its item.

        >>> from manyhands import Pool
        >>> with Pool(2) as pool:
        ...     list(pool.map(pow, [2, 3], [5, 2]))
        [32, 9]
        """
        return MapResults(
            self._pool(), fn, iterables, False, timeout, chunksize, buffersize, ordered, progress
        )

    @overload
    def starmap(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        iterable: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    @overload
    def starmap(
        self,
        fn: Callable[..., T],
        iterable: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[T]: ...
    def starmap(
        self,
        fn: Callable[..., Any],
        iterable: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> MapResults[Any]:
        """As `map`, with one iterable of argument tuples; raises what `map` does.

        >>> from manyhands import Pool
        >>> with Pool(2) as pool:
        ...     list(pool.starmap(pow, [(2, 5), (3, 2)]))
        [32, 9]
        """
        return MapResults(
            self._pool(), fn, (iterable,), True, timeout, chunksize, buffersize, ordered, progress
        )

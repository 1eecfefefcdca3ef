"""`ProcessPoolExecutor.map`: everything is submitted at once, and results are given as asked for.

Items travel one by one unless the caller asks for chunks: a slot each, which any worker that has
nothing to do takes. To pack several into one, behind the caller's back, would save little, and have
items wait behind one that takes long while other workers are idle.

A chunk that was asked for is one task, whose results are pickled together: that takes half the time
of an outcome for each item.
"""

from __future__ import annotations

import itertools
import pickle
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator

from manyhands._engine import Batch

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from manyhands.futures._process import ProcessPoolExecutor

__all__ = ["Batches", "Chunks", "Singles", "results"]


class Singles:
    """Submits one item each time."""

    def __init__(self, executor: ProcessPoolExecutor, fn: Callable[..., Any]) -> None:
        self._executor = weakref.ref(executor)
        self._fn = fn

    def submit(self, rows: Iterator[Any]) -> Any:
        """The future of the next item; `None` if there is none, or no executor any more."""
        executor = self._executor()
        if executor is None:
            return None
        for row in rows:
            return executor.submit(self._fn, *row)
        return None

    def submit_all(self, rows: Iterator[Any]) -> list[Any]:
        """The futures of all items."""
        executor = self._executor()
        assert executor is not None, "map holds it"
        submit, fn = executor._submit_method(), self._fn
        return [submit(fn, *row) for row in rows]

    def take(self, ended: Any, left: float | None) -> Any:
        """The result of one that `submit` gave."""
        try:
            return ended.result(left)
        except BaseException:
            ended.cancel()
            raise
        finally:
            # The traceback of what it raised holds this frame.
            del ended


class Chunks(Singles):
    """Submits so many items together each time, as one task.

    With `one`, items are single arguments, and no tuples of them.
    """

    def __init__(
        self, executor: ProcessPoolExecutor, fn: Callable[..., Any], one: bool, size: int
    ) -> None:
        super().__init__(executor, fn)
        self._one = one
        self._size = size

    def submit(self, rows: Iterator[Any]) -> Any:
        """The future of the next items."""
        executor = self._executor()
        if executor is None or not (chunk := list(itertools.islice(rows, self._size))):
            return None
        return self._submit_chunk(executor, chunk)

    def _submit_chunk(self, executor: ProcessPoolExecutor, chunk: list[Any]) -> Any:
        return executor.submit(run_chunk, self._fn, chunk, self._one)

    def submit_all(self, rows: Iterator[Any]) -> list[Any]:
        """The futures of all items."""
        return list(iter(lambda: self.submit(rows), None))

    def take(self, ended: Any, left: float | None) -> Any:
        """The results of one chunk, to be iterated."""
        try:
            values, account = super().take(ended, left)
        except BaseException as error:
            _say_what_ran(error, self._fn)
            raise
        return _values(values, account)


class Batches(Chunks):
    """The same for coroutines, which are to overlap: each chunk is a batch, of many tasks."""

    def _submit_chunk(self, executor: ProcessPoolExecutor, chunk: list[Any]) -> Any:
        # A batch, or a future that says why it cannot be shipped.
        try:
            return executor._submit_batch(self._fn, chunk, self._one)
        except Exception as error:
            executor._accepts()
            from manyhands.futures._process_errors import refused

            return refused(error)

    def take(self, ended: Any, left: float | None) -> Any:
        """The results of one batch, to be iterated."""
        if not isinstance(ended, Batch):
            return iter((Singles.take(self, ended, left),))
        try:
            if not ended.wait(left):
                raise TimeoutError
            values, errors = ended.take()
        finally:
            ended.cancel()
        return _values_of_batch(values, errors)


def run_chunk(
    fn: Callable[..., Any], chunk: list[Any], one: bool
) -> tuple[list[Any], bytes | None]:
    """In the worker: the results up to the first failure, and an account of that."""
    values: list[Any] = []
    try:
        # What came before an error stays in the list.
        values.extend(map(fn, chunk) if one else itertools.starmap(fn, chunk))
    except BaseException as error:
        from manyhands._errors import describe

        return values, describe(error)
    return values, None


def _say_what_ran(error: BaseException, fn: Callable[..., Any]) -> None:
    """To the pool, what a chunk's worker died of is `run_chunk`."""
    from manyhands._errors import WorkerDied
    from manyhands._pickling import name_of

    if isinstance(error, WorkerDied):
        error.task = name_of(fn)
        error.args = (error.pid, error.exitcode, error.signal, error.task, error.seconds)


def _values(values: list[Any], account: bytes | None) -> Generator[Any]:
    """One by one, so that none is held longer than its consumer does."""
    values.reverse()
    while values:
        yield values.pop()
    if account is not None:
        from manyhands.futures._process_errors import rebuild

        raise rebuild(pickle.loads(account))


def _values_of_batch(values: list[Any], errors: dict[int, BaseException]) -> Generator[Any]:
    values.reverse()
    for index in range(len(values)):
        if index in errors:
            raise errors[index]
        yield values.pop()


def results(
    source: Singles,
    rows: Iterator[Any],
    deadline: float | None,
    buffersize: int | None,
) -> Generator[Any]:
    """Submits at once, and gives the results when they are asked for."""
    flight: deque[Any] = deque()
    if buffersize is None:
        flight.extend(source.submit_all(rows))
    else:
        firsts = iter(lambda: source.submit(rows), None)
        flight.extend(itertools.islice(firsts, buffersize))
    return _iterate(source, flight, rows if buffersize is not None else None, deadline)


def _iterate(
    source: Singles,
    flight: deque[Any],
    rows: Iterator[Any] | None,
    deadline: float | None,
) -> Generator[Any]:
    try:
        while flight:
            if rows is not None and (more := source.submit(rows)) is not None:
                flight.append(more)
                del more
            left = None if deadline is None else deadline - time.monotonic()
            yield source.take(flight.popleft(), left)
    finally:
        for withdrawn in flight:
            withdrawn.cancel()

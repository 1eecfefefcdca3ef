"""The run of `manyhands map`: a thread reads and submits inputs, the main thread takes outcomes.

So waiting for input never holds back a result, and a slow reader of the results holds back the
input: a fixed budget bounds what is between the two. Inputs travel in groups of up to `chunksize`,
but never wait for a group to fill.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands import WorkerDied
from manyhands._cli_call import Job, Outcome, call, call_coroutine, failure

if TYPE_CHECKING:
    from concurrent.futures import Future

    from manyhands import Pool

BYTES_IN_FLIGHT = 64 << 20


class Group(NamedTuple):
    """Inputs on their way together."""

    first: int  # number of the first input
    inputs: Sequence[bytes]
    future: Future[list[Outcome]]

    @property
    def size(self) -> int:
        """Bytes of input."""
        return sum(map(len, self.inputs))


class _End(NamedTuple):
    """The input has ended."""

    groups: int  # that there were
    error: Exception | None  # that ended it


class Aborted(Exception):
    """The run could not go on: the input cannot be read, or the pool is gone. Says which."""


class Stream:
    """Iterate over it for the outcomes; None says that the next one is still to be waited for."""

    def __init__(
        self,
        pool: Pool,
        job: Job,
        bursts: Iterable[Sequence[bytes]],
        *,
        coroutine: bool,
        chunksize: int,
        window: int,
        ordered: bool,
    ) -> None:
        """`window` bounds how many inputs are between being read and being yielded.

        Iterating raises `Aborted` after all that was begun, if the inputs were not read to the end.
        """
        self._pool = pool
        self._job, self._packed = job, job.pack()
        self._bursts = bursts
        self._call: Callable[..., Any] = call_coroutine if coroutine else call
        self._chunksize = chunksize
        self._ordered = ordered
        self._budget = Budget(window, BYTES_IN_FLIGHT)
        self._groups: SimpleQueue[Group | _End] = SimpleQueue()

    def __iter__(self) -> Iterator[Outcome | None]:
        # A daemon, since nothing can end a read from a silent pipe.
        threading.Thread(target=self._feed, name="manyhands-inputs", daemon=True).start()
        taken = 0
        end: _End | None = None
        while end is None or taken < end.groups:
            try:
                item = self._groups.get_nowait()
            except Empty:
                yield None
                item = self._groups.get()
            if isinstance(item, _End):
                end = item
                continue
            if not item.future.done():
                yield None
            yield from self._outcomes(item)
            self._budget.give_back(len(item.inputs), item.size)
            taken += 1
        if end.error is not None:
            raise Aborted(end.error) from end.error

    def _feed(self) -> None:
        """The reading thread."""
        number = groups = 0
        problem = None
        try:
            for burst in self._bursts:
                for start in range(0, len(burst), self._chunksize):
                    inputs = burst[start : start + self._chunksize]
                    self._submit(number, inputs)
                    number += len(inputs)
                    groups += 1
        except Exception as error:
            problem = error
        self._groups.put(_End(groups, problem))

    def _submit(self, first: int, inputs: Sequence[bytes]) -> None:
        self._budget.take(len(inputs), sum(map(len, inputs)))
        future = self._pool.submit(self._call, self._packed, first, inputs)
        group = Group(first, inputs, future)
        if self._ordered:
            self._groups.put(group)
        else:
            future.add_done_callback(lambda _: self._groups.put(group))

    def _outcomes(self, group: Group) -> Iterator[Outcome]:
        try:
            error = group.future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if error is None:
            yield from group.future.result()
        elif len(group.inputs) == 1:
            # The call reports its own errors, so this is about the worker, or the pool.
            if isinstance(error, WorkerDied):
                error.task = str(self._job.target)
            yield failure(self._job, group.first, group.inputs[0], error)
        else:
            # One of them is to blame; each by itself will tell which.
            for index, text in enumerate(group.inputs, group.first):
                future = self._pool.submit(self._call, self._packed, index, [text])
                yield from self._outcomes(Group(index, [text], future))


class Budget:
    """Bounds what is in flight, in inputs and in bytes; one group may go whatever its size."""

    def __init__(self, inputs: int, size: int) -> None:
        self._changed = threading.Condition()
        self._limits = inputs, size
        self._inputs = self._size = 0

    def take(self, inputs: int, size: int) -> None:
        """Wait until there is room."""
        most_inputs, most_bytes = self._limits
        with self._changed:
            while self._inputs and (
                self._inputs + inputs > most_inputs or self._size + size > most_bytes
            ):
                self._changed.wait()
            self._inputs += inputs
            self._size += size

    def give_back(self, inputs: int, size: int) -> None:
        """The opposite of `take`."""
        with self._changed:
            self._inputs -= inputs
            self._size -= size
            self._changed.notify()

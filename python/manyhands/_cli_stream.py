"""The run of `manyhands map`: a thread reads and submits inputs, the main thread takes outcomes.

So waiting for input never holds back a result, and a slow reader of the results holds back the
input: a fixed budget bounds what is between the two. Inputs travel in batches, sized by what they
cost as in `Pool.map`, but never wait for a batch to fill; a death costs only the input that ran.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from manyhands import WorkerDied
from manyhands._cli_call import Job, Outcome, call, call_coroutine, failure
from manyhands._sizes import Sizes

if TYPE_CHECKING:
    from manyhands import Pool
    from manyhands._engine import Batch

BYTES_IN_FLIGHT = 32 << 20
INPUTS_IN_FLIGHT = 4096

LARGEST_BATCH = 64
"""A batch's results appear together: should its inputs turn out slow, few wait for each other."""


class Group(NamedTuple):
    """Inputs on their way together."""

    first: int  # number of the first input
    inputs: Sequence[bytes]
    batch: Batch


class End(NamedTuple):
    """There is no more input."""

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
        chunksize: int | None,
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
        self._sizes = Sizes(chunksize, LARGEST_BATCH)
        self._budget = Budget(window, BYTES_IN_FLIGHT)
        self._groups: Groups = InOrder() if ordered else AsCompleted(pool)

    def __iter__(self) -> Iterator[Outcome | None]:
        # A daemon, since nothing can end a read from a silent pipe.
        threading.Thread(target=self._feed, name="manyhands-inputs", daemon=True).start()
        taken = 0
        end: End | None = None
        while end is None or taken < end.groups:
            try:
                item = self._groups.get(block=False)
            except Empty:
                yield None
                item = self._groups.get(block=True)
            if isinstance(item, End):
                end = item
                continue
            yield from self._outcomes(item)
            self._budget.give_back(item.inputs)
            taken += 1
        if end.error is not None:
            raise Aborted(end.error) from end.error

    def _feed(self) -> None:
        """The reading thread."""
        number = groups = 0
        problem = None
        try:
            for burst in self._bursts:
                start = 0
                while start < len(burst):
                    inputs = burst[start : start + self._sizes.next()]
                    self._submit(number + start, inputs)
                    start += len(inputs)
                    groups += 1
                number += len(burst)
        except Exception as error:
            problem = error
        self._groups.put(End(groups, problem))

    def _submit(self, first: int, inputs: Sequence[bytes]) -> None:
        self._budget.take(inputs)
        items = [(self._packed, index, text) for index, text in enumerate(inputs, first)]
        batch = self._pool._submit_batch(self._call, items, singles=False)
        self._groups.put(Group(first, inputs, batch))

    def _outcomes(self, group: Group) -> Iterator[Outcome]:
        outcomes, errors = group.batch.take()
        self._sizes.ran(len(group.batch), group.batch.elapsed)
        for place, text in enumerate(group.inputs):
            error = errors.get(place)
            if error is None:
                yield outcomes[place]
                continue
            # The call reports its own errors, so this is about the worker, or the pool.
            if isinstance(error, WorkerDied):
                error.task = str(self._job.target)
            yield failure(self._job, group.first + place, text, error)


class Groups(Protocol):
    """Groups on their way from the reading thread to the main thread, and at last the end."""

    def put(self, item: Group | End) -> None:
        """Called by the reading thread."""

    def get(self, *, block: bool) -> Group | End:
        """Called by the main thread: a group that is done, or the end.

        Raises:
            Empty: there is none yet, and it may not block.
        """


class InOrder:
    """Groups in the order of the input."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Group | End] = SimpleQueue()
        self._head: Group | End | None = None

    def put(self, item: Group | End) -> None:
        """See `Groups`."""
        self._queue.put(item)

    def get(self, *, block: bool) -> Group | End:
        """See `Groups`."""
        if self._head is None:
            self._head = self._queue.get(block)
        head = self._head
        if isinstance(head, Group) and not head.batch.done():
            if not block:
                raise Empty
            head.batch.wait()
        self._head = None
        return head


class AsCompleted:
    """Groups as they are done; the main thread waits by poll(2) for the pool and the reader."""

    def __init__(self, pool: Pool) -> None:
        self._door = pool._gone()._open_door()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._door.fileno(), select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)
        self._watched: dict[int, Group] = {}
        self._ready: SimpleQueue[Group | End] = SimpleQueue()

    def put(self, item: Group | End) -> None:
        """See `Groups`."""
        if isinstance(item, Group):
            self._watched[item.first] = item
            if item.batch._watch(self._door, item.first):
                return
            del self._watched[item.first]
        self._ready.put(item)
        os.eventfd_write(self._bell, 1)

    def get(self, *, block: bool) -> Group | End:
        """See `Groups`."""
        while self._ready.empty():
            for key in self._door.read():
                self._door.leave(key)
                self._ready.put(self._watched.pop(key))
            if self._ready.empty():
                if not block:
                    break
                for descriptor, _ in self._poll.poll():
                    if descriptor == self._bell:
                        os.eventfd_read(self._bell)
        return self._ready.get_nowait()


class Budget:
    """Bounds what is in flight, in inputs and in bytes; one group may go whatever its size."""

    def __init__(self, inputs: int, size: int) -> None:
        self._changed = threading.Condition()
        self._limits = inputs, size
        self._inputs = self._size = 0

    def take(self, inputs: Sequence[bytes]) -> None:
        """Wait until there is room."""
        most_inputs, most_bytes = self._limits
        count, size = len(inputs), sum(map(len, inputs))
        with self._changed:
            while self._inputs and (
                self._inputs + count > most_inputs or self._size + size > most_bytes
            ):
                self._changed.wait()
            self._inputs += count
            self._size += size

    def give_back(self, inputs: Sequence[bytes]) -> None:
        """The opposite of `take`."""
        with self._changed:
            self._inputs -= len(inputs)
            self._size -= sum(map(len, inputs))
            self._changed.notify()

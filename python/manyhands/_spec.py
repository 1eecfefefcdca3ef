"""What a worker is told when it starts. A new process imports this, so it imports little."""

from __future__ import annotations

import pickle

from manyhands._pickling import define

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Handover", "WorkerSpec"]


class WorkerSpec:
    """What each worker is told.

    Attributes:
        initializer: Called before its first task; by `bytes`, its definition.
        initargs: The initializer's arguments.
        concurrency: Coroutines that it runs at once.
        max_tasks: Tasks after which it ends; `None` for no such limit.
        standard: As the standard library's executor: an initializer that fails is logged.
        breaks: A task that cannot be read ends the worker.
    """

    __slots__ = ("breaks", "concurrency", "initargs", "initializer", "max_tasks", "standard")

    def __init__(
        self,
        initializer: Callable[..., object] | bytes | None,
        initargs: tuple[Any, ...],
        concurrency: int,
        max_tasks: int | None,
        standard: bool,
        breaks: bool,
    ) -> None:
        self.initializer = initializer
        self.initargs = initargs
        self.concurrency = concurrency
        self.max_tasks = max_tasks
        self.standard = standard
        self.breaks = breaks

    @classmethod
    def of(
        cls,
        method: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        concurrency: int,
        max_tasks: int | None,
        main_by_value: bool,
        standard: bool = False,
        breaks: bool = False,
    ) -> WorkerSpec:
        """Ships the initializer as a task's function is, also by value.

        One that holds what only multiprocessing can pass on (its locks, its queues) goes its way,
        as the arguments do.
        """
        shipped: Callable[..., object] | bytes | None = initializer
        if initializer is not None and method != "fork":
            try:
                definition = define(initializer, main_by_value)
            except Exception:
                shipped = initializer
            else:
                shipped = definition[0]
        return cls(shipped, initargs, concurrency, max_tasks, standard, breaks)

    def initialize(self) -> None:
        """Calls the initializer, if there is one."""
        initializer = self.initializer
        if isinstance(initializer, bytes):
            initializer = pickle.loads(initializer)
        if initializer is not None:
            initializer(*self.initargs)


class Handover:
    """A descriptor on its way into a process that is being started."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import reduction

        return _received, (reduction.DupFd(self.fd),)


def _received(duplicate: Any) -> Handover:
    return Handover(duplicate.detach())

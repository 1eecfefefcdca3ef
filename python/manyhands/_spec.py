"""What a worker is told when it starts. A new process imports this, so it imports little."""

from __future__ import annotations

import pickle
import sys

from manyhands._pickling import define

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Handover", "MainFile", "WorkerSpec"]


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


class MainFile:
    """The file of the program's main module, on its way into a process that is being started.

    multiprocessing tells it as well, but asks the main module for it at that moment; the
    interpreter takes it away when the program has come to its end, and workers are still started
    then, for tasks that nobody waits for.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path

    @classmethod
    def now(cls) -> MainFile:
        """That of this program; none if multiprocessing knows it by a module's name."""
        main = sys.modules.get("__main__")
        by_name = getattr(main, "__spec__", None) is not None
        path = None if by_name else getattr(main, "__file__", None)
        return cls(None if path is None or path.startswith("<") else path)

    def __reduce__(self) -> tuple[Any, ...]:
        return _run_main, (self.path,)


def _run_main(path: str | None) -> MainFile:
    """Runs the main module as multiprocessing does, if that has not been told."""
    if path is not None and sys.modules["__main__"].__name__ != "__mp_main__":
        from multiprocessing import spawn

        spawn.prepare({"init_main_from_path": path})
    return MainFile(path)


class Handover:
    """A descriptor on its way into a process that is being started."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import reduction

        return _received, (reduction.DupFd(self.fd),)


def _received(duplicate: Any) -> Handover:
    return Handover(duplicate.detach())

"""What every system under test must be able to do, and the registry of all systems.

A system is either `Blocking` (results are waited for) or `Awaited` (results are awaited on an
event loop). An adapter does nothing but translate: whatever it cost would be measured.

Modules of the systems are imported by `start` and not before, so that one that is not installed
harms no other, and no measurement pays for the import of a system that it does not use.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from functions import echo, echo_async, nothing, nothing_async

T = TypeVar("T")


class System(ABC):
    """Common to both sorts."""

    name: ClassVar[str]
    """The row's title in the tables."""
    module: ClassVar[str]
    """What to import."""
    distribution: ClassVar[str | None] = None
    """The installed package that has the version; `None` for the standard library."""
    heavy: ClassVar[bool] = False
    """Takes seconds to start, so it is measured only on request."""
    in_process: ClassVar[bool] = False
    """Threads: nothing is copied, so the payload says nothing."""

    def load(self) -> Any:
        """The system's module, untyped, as most of them are."""
        return importlib.import_module(self.module)


class Blocking(System):
    """A system whose caller waits for results."""

    @abstractmethod
    def start(self, workers: int) -> None:
        """Open the pool."""

    @abstractmethod
    def stop(self) -> None:
        """Close the pool, and wait until its workers are gone."""

    @abstractmethod
    def submit_all(self, count: int) -> list[int]:
        """Submit `nothing(0)`, `nothing(1)`, …, one task each; then read all results."""

    @abstractmethod
    def call(self, function: Callable[[T], T], argument: T) -> T:
        """Submit one task and wait for its result."""


class Awaited(System):
    """A system whose results are awaited. `start` and all others run on one event loop."""

    @abstractmethod
    async def start(self, workers: int) -> None:
        """Open the pool."""

    @abstractmethod
    async def stop(self) -> None:
        """Close the pool, and wait until its workers are gone."""

    @abstractmethod
    async def submit_all(self, count: int) -> list[int]:
        """Submit `nothing(0)`, `nothing(1)`, …, one task each; then await all results."""

    @abstractmethod
    async def call(self, function: Callable[[T], T], argument: T) -> T:
        """Submit one task and await its result."""

    async def map_coroutines(self, count: int) -> list[int]:
        """Run `nothing_async` for each number through the system's `map`."""
        raise NotImplementedError

    async def call_coroutine(self, number: int) -> int:
        """Submit one `nothing_async` and await its result."""
        raise NotImplementedError


COROUTINE_FORM: dict[Callable[..., Any], Callable[..., Any]] = {
    nothing: nothing_async,
    echo: echo_async,
}
"""For systems that run nothing but coroutines."""


def all_systems() -> dict[str, System]:
    """Every system by its name, ours first."""
    import systems_drop_in
    import systems_manyhands
    import systems_peers
    import systems_stdlib

    classes = [
        *systems_manyhands.SYSTEMS,
        *systems_drop_in.SYSTEMS,
        *systems_stdlib.SYSTEMS,
        *systems_peers.SYSTEMS,
    ]
    return {system.name: system() for system in classes}

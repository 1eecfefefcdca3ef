"""The standard library's classes as bases of ours, before anybody has imported them.

Only who has imported `concurrent.futures` can ask whether something of ours is of its kind, and to
import it takes longer than to start a process. So ours derive from stand-ins, empty classes that
derive from the standard ones from the moment when somebody imports those: then instances that there
are already are of their kind as well.
"""

from __future__ import annotations

from types import GenericAlias

from manyhands._watch import when_imported

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import BrokenExecutor, Executor, Future
    from concurrent.futures.process import (
        BrokenProcessPool,
        ProcessPoolExecutor,
        _RemoteTraceback,
    )
    from types import ModuleType
else:
    # Each derives from another of them, or from a `_Base`: what derives from a built-in class
    # cannot be made to derive from one that is none.

    class _Base:
        pass

    class _BaseError(RuntimeError):
        pass

    class _BaseCause(Exception):
        pass

    class Executor(_Base):
        """`concurrent.futures.Executor`."""

    class Future(_Base):
        """`concurrent.futures.Future`."""

        __class_getitem__ = classmethod(GenericAlias)

    class BrokenExecutor(_BaseError):
        """`concurrent.futures.BrokenExecutor`."""

    class ProcessPoolExecutor(Executor):
        """`concurrent.futures.ProcessPoolExecutor`."""

    class BrokenProcessPool(BrokenExecutor):
        """`concurrent.futures.process.BrokenProcessPool`."""

    class _RemoteTraceback(_BaseCause):
        """`concurrent.futures.process._RemoteTraceback`."""


__all__ = [
    "BrokenExecutor",
    "BrokenProcessPool",
    "Executor",
    "Future",
    "ProcessPoolExecutor",
    "_RemoteTraceback",
    "modules",
]


modules: dict[str, ModuleType] = {}
"""Those that are imported, also when the interpreter ends and can be asked for none."""


def _derive(*stand_ins: type) -> Callable[[ModuleType], None]:
    def imported(standard: ModuleType) -> None:
        modules[standard.__name__] = standard
        for stand_in in stand_ins:
            stand_in.__bases__ = (getattr(standard, stand_in.__name__),)

    return imported


when_imported("concurrent.futures", _derive(BrokenExecutor, Executor, Future))
when_imported(
    "concurrent.futures.process",
    _derive(BrokenProcessPool, ProcessPoolExecutor, _RemoteTraceback),
)

"""multiprocessing, patched: the processes that it starts are patched, too.

What a new process is told first is a dictionary (its path, its directory, its main module). An
entry more patches it while the dictionary is being unpickled, before the main module is imported.
Under `fork` there is nothing to do.
"""

from __future__ import annotations

import functools
import os
import sys

from manyhands._patch import patched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = ["wrap"]


def wrap(module: ModuleType) -> Callable[[], None]:
    """Replaces `get_preparation_data`; returns what undoes it."""
    before = module.get_preparation_data

    @functools.wraps(before)
    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = before(name)
        if sys._getframe(1).f_globals.get("__name__") == "multiprocessing.forkserver":
            # For the server itself, which takes only what it knows. It is not patched, and so must
            # not import the main module for its children.
            data.pop("init_main_from_path", None)
        elif (on_worker_death := patched()) is not None:
            data["manyhands"] = _Patch(data["sys_path"], on_worker_death)
        return data

    module.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]

    def undo() -> None:
        if module.get_preparation_data is get_preparation_data:
            module.get_preparation_data = before  # type: ignore[attr-defined]

    return undo


class _Patch:
    """Patches the process that unpickles it."""

    def __init__(self, path: list[str], on_worker_death: str) -> None:
        self._path = path
        self._on_worker_death = on_worker_death

    def __reduce__(self) -> tuple[Any, ...]:
        # The path is in the same dictionary, but in force only later. The package may be on none,
        # where it was imported from a directory that then left the path.
        path = [*self._path, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
        code = (
            f"import sys; sys.path[:] = {path!r}\n"
            f"import manyhands; manyhands.patch(on_worker_death={self._on_worker_death!r})"
        )
        return exec, (code, {})

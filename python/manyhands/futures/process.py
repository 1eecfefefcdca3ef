"""Drop-in for `concurrent.futures.process`."""

from __future__ import annotations

from manyhands.futures._process import ProcessPoolExecutor

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
    from typing import Any

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]


if not TYPE_CHECKING:  # or checkers would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name != "BrokenProcessPool":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from concurrent.futures.process import BrokenProcessPool

        return BrokenProcessPool

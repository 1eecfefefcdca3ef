"""The `ProcessPoolExecutor` of `patch(on_worker_death="break")`."""

from __future__ import annotations

from typing import Any, Literal

from manyhands.futures._process import ProcessPoolExecutor as _Replacing

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(_Replacing):
    """`manyhands.futures.ProcessPoolExecutor` that breaks at a death unless told otherwise."""

    def __init__(
        self, *args: Any, on_worker_death: Literal["replace", "break"] = "break", **options: Any
    ) -> None:
        super().__init__(*args, on_worker_death=on_worker_death, **options)

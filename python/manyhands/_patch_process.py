"""The `ProcessPoolExecutor` of a patched program: where nothing is said, as it expects.

Our own default start method is not the one that such a program was written for. Under `fork` its
workers have what it has set before, and locks of multiprocessing's default context; nothing would
tell it that they have not.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any, Literal

from manyhands._patch import patched
from manyhands.futures._process import ProcessPoolExecutor as _DropIn

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(_DropIn):
    """`manyhands.futures.ProcessPoolExecutor`, with multiprocessing's default start method.

    What it does when a process dies is what `manyhands.patch` was told.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_death: Literal["replace", "break"] | None = None,
    ) -> None:
        if mp_context is None and max_tasks_per_child is None:
            mp_context = multiprocessing.get_context()
        super().__init__(
            max_workers,
            mp_context,
            initializer,
            initargs,
            max_tasks_per_child=max_tasks_per_child,
            on_worker_death=on_worker_death or patched() or "replace",
        )

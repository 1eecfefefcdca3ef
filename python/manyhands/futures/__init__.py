"""Drop-ins for `concurrent.futures`: the same names, on this package's pools.

>>> from manyhands.futures import ProcessPoolExecutor
>>> with ProcessPoolExecutor(2) as executor:
...     executor.submit(pow, 2, 10).result()
1024

`Future`, `wait`, `as_completed` and the exceptions are the standard library's own. The executors
give `manyhands.Future`s, which are such futures and can be awaited as well.
"""

from __future__ import annotations

from importlib import import_module

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "ProcessPoolExecutor",
    "ThreadPoolExecutor",
    "TimeoutError",
    "as_completed",
    "wait",
]

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from concurrent.futures import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        BrokenExecutor,
        CancelledError,
        Executor,
        Future,
        InvalidStateError,
        TimeoutError,  # noqa: A004
        as_completed,
        wait,
    )
    from typing import Any

    from manyhands.futures._process import ProcessPoolExecutor
    from manyhands.futures._thread import ThreadPoolExecutor

_HOMES = {
    "ProcessPoolExecutor": "manyhands.futures._process",
    "ThreadPoolExecutor": "manyhands.futures._thread",
}


if not TYPE_CHECKING:  # or checkers would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name in ("process", "thread"):  # as those of `concurrent.futures`, once they are used
            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES.get(name, "concurrent.futures")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

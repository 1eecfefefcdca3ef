"""Blocking calls, CPU-bound functions and coroutines on one pool that cannot hang.

>>> import manyhands as mh
>>> with mh.Pool(2) as pool:
...     pool.submit(pow, 2, 10).result()
1024

Importing the package is cheap: what needs `concurrent.futures` or `multiprocessing` is loaded when
it is first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of `typing`, which takes longer to import than all the rest

__version__ = "0.1.0"

__all__ = [
    "Future",
    "InitializerFailed",
    "MapResults",
    "Pool",
    "PoolBroken",
    "RemoteError",
    "RemoteTraceback",
    "TaskLost",
    "WorkerDied",
    "__version__",
    "patch",
    "to_thread",
    "unpatch",
    "usable_cores",
]

if TYPE_CHECKING:
    from typing import Any

    from manyhands._engine import usable_cores
    from manyhands._errors import (
        InitializerFailed,
        PoolBroken,
        RemoteError,
        RemoteTraceback,
        TaskLost,
        WorkerDied,
    )
    from manyhands._future import Future
    from manyhands._map import MapResults
    from manyhands._patch import patch, unpatch
    from manyhands._pool import Pool
    from manyhands._thread_pool import to_thread

_HOMES = {
    "Future": "_future",
    "InitializerFailed": "_errors",
    "MapResults": "_map",
    "Pool": "_pool",
    "PoolBroken": "_errors",
    "RemoteError": "_errors",
    "RemoteTraceback": "_errors",
    "TaskLost": "_errors",
    "WorkerDied": "_errors",
    "patch": "_patch",
    "to_thread": "_thread_pool",
    "unpatch": "_patch",
    "usable_cores": "_engine",
}


if not TYPE_CHECKING:  # or checkers would take any name for one of ours

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

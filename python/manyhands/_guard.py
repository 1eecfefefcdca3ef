"""Programs that create a pool wherever their main module is imported, and so in each worker again.

multiprocessing refuses that in the new process, with a traceback of its own for each attempt. Here
the process ends with a status of its own, and who waits in the program that created the pool gets
the one error that says what to change.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["UNGUARDED", "Unguarded", "missing_guard", "refuse_while_importing"]

UNGUARDED = 113
"""The exit status of a process whose main module creates a pool as it is imported: one that a
program's own code is not likely to exit with.
"""

OURS = ("manyhands-", "ProcessPoolExecutor-")
"""How the names of workers begin whose pool the program has not named."""


class Unguarded(RuntimeError):
    """Raised where multiprocessing raises a `RuntimeError`, which a program may expect."""


def refuse_while_importing(method: str) -> None:
    """In a new process that does not have its main module yet, no pool is to be created.

    Raises:
        Unguarded: It is such a process. Uncaught, that ends it with a status and no traceback.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or method == "fork":
        return
    current = processes.current_process()
    if not getattr(current, "_inheriting", False):
        return
    others = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind is not Unguarded:
            others(kind, error, trace)
            return
        if not current.name.startswith(OURS):
            # Nobody may be told who could tell the user.
            print(f"manyhands: in the new process {current.name!r}, {error}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(UNGUARDED)

    sys.excepthook = end
    raise Unguarded(missing_guard())


def missing_guard() -> str:
    """What is wrong, and what to do."""
    main = sys.modules.get("__main__")
    file = getattr(sys.modules.get("__mp_main__", main), "__file__", None)
    return (
        f"the main module{f' ({file})' if file else ''} creates a pool while it is imported, as "
        "every worker does; put what creates the pool under `if __name__ == '__main__':`"
    )

"""asyncio, patched: a loop takes the standard library's thread pool as its default, too.

Its check asks for an instance of `concurrent.futures.ThreadPoolExecutor`, which is ours now; the
program may have made its own before, or derived it from a class that it took before.
"""

from __future__ import annotations

import functools

from manyhands._patch import original

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = ["wrap"]


def wrap(module: ModuleType) -> Callable[[], None]:
    """Replaces `BaseEventLoop.set_default_executor`; returns what undoes it."""
    loop_class: Any = module.BaseEventLoop
    before = loop_class.set_default_executor

    @functools.wraps(before)
    def set_default_executor(self: Any, executor: Any) -> None:
        from concurrent.futures import thread

        if isinstance(executor, original(thread.__name__, "ThreadPoolExecutor")):
            self._default_executor = executor
        else:
            before(self, executor)

    loop_class.set_default_executor = set_default_executor

    def undo() -> None:
        if loop_class.set_default_executor is set_default_executor:
            loop_class.set_default_executor = before

    return undo

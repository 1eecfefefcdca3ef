"""Event loops that waited for a pool which is gone."""

from __future__ import annotations

import weakref

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    import asyncio

    from manyhands._future import Hub

__all__ = ["forget_loops"]


def forget_loops(hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]) -> None:
    """The pool is gone: no loop need watch it."""
    for loop, hub in list(hubs.items()):
        if loop.is_closed():
            continue
        if _runs_here(loop):
            hub.close()
        else:
            try:
                loop.call_soon_threadsafe(hub.close)
            except RuntimeError:
                # It was closed between the two lines: nothing is watched any more.
                continue
    hubs.clear()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    import asyncio

    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        # No loop runs in this thread. One that runs in none can be touched from here.
        return not loop.is_running()

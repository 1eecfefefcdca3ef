"""A pool's `with` and `async with` blocks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from manyhands._future import hub_of

if TYPE_CHECKING:
    from manyhands._engine import Batch, Gone

__all__ = ["Blocks", "is_escape", "until_gone"]


class Blocks:
    """A pool whose block waits for what was submitted, unless it is left by an escape."""

    if TYPE_CHECKING:

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...
        def kill(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if is_escape(exc_type):
            self.kill()
        else:
            try:
                self.shutdown(wait=True)
            except BaseException:
                # Ctrl-C: nobody waits any more.
                self.kill()
                raise

    async def __aenter__(self) -> Self:
        return self


def is_escape(exc_type: type[BaseException] | None) -> bool:
    """Does the block end in a way that waits for nothing (Ctrl-C, exit, cancellation)?"""
    if exc_type is None:
        return False
    if issubclass(exc_type, KeyboardInterrupt | SystemExit):
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and issubclass(exc_type, asyncio.CancelledError)


async def until_gone(gone: Batch | Gone, kill: Callable[[], object]) -> None:
    """Waits for the end of a pool; whoever is cancelled meanwhile kills it."""
    if gone.done():
        return
    hub = hub_of(gone)
    waiter = hub.wait(gone)
    if waiter is not None:
        try:
            await waiter
        except BaseException:
            hub.forget(waiter)
            kill()
            raise

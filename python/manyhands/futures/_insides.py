"""Private attributes of the standard executor, which programs and CPython's tests look at."""

from __future__ import annotations

from manyhands import _standard
from manyhands._engine import PoolBase

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Any, Literal

    from manyhands.futures._workers import Manager

__all__ = ["Insides"]


class Insides(PoolBase, _standard.ProcessPoolExecutor):
    """A pool that shows them. None of the standard class's code runs."""

    _begun: bool
    _name: str
    _shutdown_thread: bool
    _table: dict[int, Any]

    @property
    def _processes(self) -> dict[int, Any] | None:  # type: ignore[override]
        """The workers by number, once those that were called for have been started; `None` after
        the shutdown.
        """
        if self._shutdown_thread:
            return None
        if self._begun and self._is_ours():
            self._settled().wait()
        return self._table

    @property
    def _broken(self) -> str | Literal[False]:  # type: ignore[override]
        error = self._why_broken() if self._begun else None
        return False if error is None else str(error) or type(error).__name__

    @property
    def _executor_manager_thread(self) -> Manager | None:  # type: ignore[override]
        if not self._begun or self._shutdown_thread:
            return None
        from manyhands.futures._workers import Manager

        return Manager(self._gone(), self._name)

    @property
    def _call_queue(self) -> _NoQueue | None:
        return None if self._shutdown_thread else _NoQueue()

    @property
    def _pending_work_items(self) -> dict[int, None]:  # type: ignore[override]
        """As many as there are tasks that have not ended."""
        outstanding = self._status()[1] if self._begun else 0
        return dict.fromkeys(range(outstanding))


class _NoQueue:
    """Stands for the standard executor's queue, whose work shared memory does."""

    def close(self) -> None:
        """There is nothing to close."""

    def join_thread(self) -> None:
        """No thread feeds it."""

"""Being told when a module is imported, without importing it.

A finder on `sys.meta_path` that finds nothing by itself: for the modules that are watched it asks
the finders after it, and adds a call to what executes the module. Every other import passes by at
the price of one look into a dictionary.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["Watch", "look_again", "when_imported"]


class Watch:
    """Calls `imported(module)` after each execution of a module of these names.

    The call comes before anybody else has seen the module: in the thread that imports it, which
    holds the module's import lock.
    """

    def __init__(self, names: Sequence[str], imported: Callable[[ModuleType], None]) -> None:
        self._names = frozenset(names)
        self._imported = imported

    def start(self) -> None:
        """From now on. A module that is being imported already may be missed."""
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """No module that is imported from now on is told of."""
        # Another list: whoever goes through the old one at this moment would miss a finder.
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the finders after it find, with a loader that tells. Of those before it, some may
        be asking.
        """
        if name not in self._names:
            return None
        finders = list(sys.meta_path)
        if self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            find_spec = getattr(finder, "find_spec", None)  # which the oldest kind does not have
            if find_spec is None:
                continue
            spec: ModuleSpec | None = find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Teller(spec.loader, self._imported)  # type: ignore[assignment]
                return spec
        return None


class _Teller:
    """A loader that tells of what it has executed, and leaves no trace of itself in the module."""

    def __init__(self, loader: Any, imported: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._imported = imported

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """As the module's own loader does; then the call."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._imported(module)


class _Once(Watch):
    """Tells of one module once, also where it is imported already."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        super().__init__([name], self._tell)
        self._name = name
        self._then = then

    def look(self) -> None:
        """Is it imported? Where another thread is still at it, that is waited for."""
        if self._name in sys.modules:
            from importlib import import_module

            module = import_module(self._name)
            # It may be this thread that is at it, further down its stack: then it will be told.
            if not getattr(module.__spec__, "_initializing", False):
                self._tell(module)

    def _tell(self, module: ModuleType) -> None:
        self._then(module)
        self.stop()
        if self in _pending:
            _pending.remove(self)


_pending: list[_Once] = []
"""Those that have not told yet. Somebody may have put back an earlier `sys.meta_path`."""


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Calls `then(module)`: now if that module is imported already, else when somebody does.

    (Or twice, if another thread imports it at this moment.)
    """
    watch = _Once(name, then)
    _pending.append(watch)
    watch.start()
    watch.look()


def look_again() -> None:
    """Tells of modules of which nothing was heard: another thread had begun to look for one when
    `when_imported` was called, or somebody has taken the finder off `sys.meta_path`.
    """
    for watch in [*_pending]:
        watch.look()

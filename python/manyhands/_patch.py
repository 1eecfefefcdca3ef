"""manyhands in place of the standard library's executors, in programs that do not know of it.

`patch()` promises:

- Nothing is imported for it. What is replaced is replaced when the program imports it, and ours is
  imported when the program asks for it by name.
- The drop-ins, and modules of the standard library that build on the originals, still get those.
- Processes that `multiprocessing` starts are patched before they import the program's main module.
- `unpatch()` leaves each module as it was.

The tables at the top say what is replaced. Why it is done so is in docs/architecture.md.
"""

from __future__ import annotations

import sys
import threading

from manyhands._watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, Literal

    OnWorkerDeath = Literal["replace", "break"]
    Undo = Callable[[], None]

__all__ = ["patch", "patched", "unpatch"]

CLASSES = {
    ("concurrent.futures.thread", "ThreadPoolExecutor"): "manyhands.futures._thread",
    ("concurrent.futures.process", "ProcessPoolExecutor"): "manyhands._patch_process",
}
"""(The module that defines a class, its name) → our module that defines a class of that name."""

ALIASES = {
    "concurrent.futures": {
        "ThreadPoolExecutor": "concurrent.futures.thread",
        "ProcessPoolExecutor": "concurrent.futures.process",
    },
}
"""Modules that have such classes from elsewhere."""

WRAPPERS = {
    "asyncio.base_events": "manyhands._patch_asyncio",
    "multiprocessing.spawn": "manyhands._patch_spawn",
}
"""Modules with functions that have to know: `wrap(module)` of ours replaces them, and returns what
undoes it."""

DERIVING = ("manyhands", "concurrent.futures.interpreter")
"""Modules (and packages, with all in them) that get the originals, since they derive from them."""


class _State:
    """What is in force, and how to undo it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held for a moment, by whoever changes what follows."""
        self.callers = threading.RLock()
        """Held by `patch` and `unpatch` from beginning to end, so that they happen one by one.
        `lock` cannot do that: the imports that `patch` may wait for need it."""
        self.on_worker_death: OnWorkerDeath | None = None
        self.watch = Watch([*_targets(), *ALIASES, *WRAPPERS], _imported)
        self.undo: list[tuple[ModuleType, Undo]] = []
        self.originals: dict[tuple[str, str], Any] = {}


def _targets() -> list[str]:
    return [module for module, _ in CLASSES]


def patch(*, on_worker_death: OnWorkerDeath = "replace") -> None:
    """Put manyhands in place of the standard library's executors, for the whole process.

    From now on `ThreadPoolExecutor` and `ProcessPoolExecutor` of `concurrent.futures` (and of its
    modules `thread` and `process`) are those of `manyhands.futures`; so is the executor that
    `loop.run_in_executor(None, ...)` and `asyncio.to_thread` use. Processes that
    `multiprocessing` starts from now on are patched as well, before they import the main module.
    A `ProcessPoolExecutor` without `mp_context` starts its processes by multiprocessing's default
    start method, as the program expects.

    Call it before other imports: what a module has taken with `from concurrent.futures import
    ThreadPoolExecutor` stays what it was. So does uvloop's default executor, if uvloop was
    imported before. `python -m manyhands run` calls it before it runs a program.

    It may be called again, and from any thread; the options are those of the last call.

    Args:
        on_worker_death: what a `ProcessPoolExecutor` does when one of its processes dies:
            "replace" it, and fail only the task that it ran; or "break", as in the standard
            library, where every pending task fails and the executor is of no more use. It goes
            for executors that are made from now on; one may say otherwise by the argument of this
            name.

    Raises:
        ValueError: `on_worker_death` is neither.

    >>> import concurrent.futures, manyhands
    >>> manyhands.patch()
    >>> concurrent.futures.ThreadPoolExecutor.__module__.startswith("manyhands.")
    True
    >>> manyhands.unpatch()
    """
    if on_worker_death not in ("replace", "break"):
        raise ValueError(f"on_worker_death must be 'replace' or 'break', not {on_worker_death!r}")
    with _state.callers:
        with _state.lock:
            before, _state.on_worker_death = _state.on_worker_death, on_worker_death
            if before is not None:
                return
            _state.watch.start()
        for name in (*_targets(), *ALIASES, *WRAPPERS):
            if name in sys.modules:
                # Where another thread is importing it, it is waited for.
                __import__(name)
                _imported(sys.modules[name], again=False)


def unpatch() -> None:
    """Put everything back that `patch` has replaced; without it, do nothing.

    Executors that were made meanwhile go on as they are, and so does what other modules have
    taken with `from concurrent.futures import ThreadPoolExecutor`. What somebody else has put in
    the place of ours is left there.

    >>> import concurrent.futures, manyhands
    >>> original = concurrent.futures.ThreadPoolExecutor
    >>> manyhands.patch()
    >>> concurrent.futures.ThreadPoolExecutor is original
    False
    >>> manyhands.unpatch()
    >>> concurrent.futures.ThreadPoolExecutor is original
    True
    """
    with _state.callers, _state.lock:
        if _state.on_worker_death is None:
            return
        _state.on_worker_death = None
        _state.watch.stop()
        while _state.undo:
            _, undo = _state.undo.pop()
            undo()
        _state.originals.clear()


def patched() -> OnWorkerDeath | None:
    """What `patch` was called with; None if nothing is patched."""
    return _state.on_worker_death


def original(module: str, name: str) -> Any:
    """A class of the standard library, whatever is in its place. Its module must be imported."""
    return _state.originals.get((module, name)) or getattr(sys.modules[module], name)


def _imported(module: ModuleType, again: bool = True) -> None:
    """Replaces what there is to replace in a module that has just been executed.

    Where it has been before, it is a reload, which brought the originals back; with `again` false
    it was another thread that came first.
    """
    name = module.__name__
    wrapper = WRAPPERS.get(name)
    wrap = _attribute(wrapper, "wrap") if wrapper else _replace_classes
    with _state.lock:
        if _state.on_worker_death is None:
            return
        if again or all(done is not module for done, _ in _state.undo):
            _state.undo.append((module, wrap(module)))


def _replace_classes(module: ModuleType) -> Undo:
    """Takes classes out of a module, so that whoever asks for one is answered by a function."""
    namespace = vars(module)
    owners = {name: owner for owner, name in CLASSES if owner == module.__name__}
    owners |= ALIASES.get(module.__name__, {})
    before = namespace.get("__getattr__")

    def __getattr__(name: str) -> Any:  # noqa: N807 (a module may have one)
        owner = owners.get(name)
        if owner is not None:
            return _class(owner, name, sys._getframe(1))
        if f"{module.__name__}.{name}" in owners.values():
            # A submodule, which would have been imported for one of these classes.
            return _module(f"{module.__name__}.{name}")
        if before is not None:
            return before(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    namespace["__getattr__"] = __getattr__
    found = {name: namespace.pop(name) for name in owners if name in namespace}
    for name, owner in owners.items():
        if owner == module.__name__ and name in found:
            _state.originals[owner, name] = found[name]

    def undo() -> None:
        for name, value in found.items():
            namespace.setdefault(name, value)
        if namespace.get("__getattr__") is __getattr__:
            if before is None:
                del namespace["__getattr__"]
            else:
                namespace["__getattr__"] = before

    return undo


def _class(owner: str, name: str, frame: Any) -> Any:
    """The class that the code in this frame gets when it asks for one of the table."""
    if _state.on_worker_death is None or _derives(frame):
        __import__(owner)
        return original(owner, name)
    return _attribute(CLASSES[owner, name], name)


def _derives(frame: Any) -> bool:
    """Whether this is the code of a module that is to have the originals."""
    # `from package import name` may look for the name first, in the import system's own frame.
    while frame is not None and frame.f_globals.get("__name__") == "importlib._bootstrap":
        frame = frame.f_back
    if frame is None:
        return False
    caller = str(frame.f_globals.get("__name__"))
    if not any(caller == base or caller.startswith(base + ".") for base in DERIVING):
        return False
    # Examples in docstrings run in a copy of their module's namespace, but are users' code.
    module = sys.modules.get(caller)
    return module is not None and vars(module) is frame.f_globals


def _attribute(module: str, name: str) -> Any:
    return getattr(_module(module), name)


def _module(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


_state = _State()

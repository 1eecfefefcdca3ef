"""Pickling where the plain pickler does not do: functions, and what only cloudpickle can ship."""

from __future__ import annotations

import builtins
import functools
import pickle
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["define", "dumps_by_value", "main_is_importable", "note_fork"]

CO_COROUTINE = 0x80
"""The flag of a coroutine function's code (see the `inspect` module's documentation)."""


def main_is_importable() -> bool:
    """Can a new process import the program's main module?

    Not so for what is typed in (the prompt, a notebook), read from standard input or given
    by `-c`: then its functions and classes have to travel by value.
    """
    main = sys.modules.get("__main__")
    if main is None:
        return False
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        # The `__main__.py` of a package or a directory is not run again by multiprocessing. Most
        # have nothing of their own that a worker could need.
        return not _is_run_once(main) or not _defines_something(main)
    path = getattr(main, "__file__", None)
    # IPython and friends set a file that is no module of theirs.
    return path is not None and not path.startswith("<") and not hasattr(sys, "ps1")


def _is_run_once(main: ModuleType) -> bool:
    """Is it the `__main__.py` of a package or a directory?"""
    name = getattr(getattr(main, "__spec__", None), "name", "")
    return str(name).rpartition(".")[2] == "__main__"


def _defines_something(main: ModuleType) -> bool:
    """Does its source, of which not all may have run yet, have functions or classes?"""
    import linecache

    lines = linecache.getlines(getattr(main, "__file__", None) or "", vars(main))
    words = ("def ", "class ", "async def ")
    return not lines or any(line.lstrip().startswith(words) for line in lines)


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Does calling `fn` give a coroutine? Looks through partials, methods and callables."""
    call = getattr(type(_plain(fn)), "__call__", None)  # noqa: B004 (the method itself)
    return _gives_coroutines(fn) or _gives_coroutines(call)


def _plain(fn: Any) -> Any:
    """The function in partials and bound methods."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        else:
            return fn


def _gives_coroutines(fn: Any) -> bool:
    """As `inspect.iscoroutinefunction`.

    Only a program that has loaded `inspect` can have marked a function by hand, so it need not be
    loaded for this: that takes longer than all else that starting a pool needs.
    """
    # It may be half imported, by another thread.
    inspects = getattr(sys.modules.get("inspect"), "iscoroutinefunction", None)
    if inspects is not None:
        return bool(inspects(_plain(fn)))
    code = getattr(_plain(fn), "__code__", None)
    return isinstance(code, CodeType) and bool(code.co_flags & CO_COROUTINE)


def name_of(fn: Callable[..., Any]) -> str:
    """`module.qualname`, or what comes nearest."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    module = getattr(fn, "__module__", None)
    unnamed = module is None or module in ("builtins", "__main__", "__mp_main__")
    return name if unnamed else f"{module}.{name}"


def define(fn: Callable[..., Any], main_by_value: bool) -> tuple[bytes, bool, str, bool]:
    """A function's pickle, is it a coroutine function, its name, may its pickle change?"""
    if not callable(fn):
        raise TypeError(f"the first argument must be callable, not {type(fn).__name__}: {fn!r}")
    name = name_of(fn)
    registered = _is_registered(fn)
    by_value = main_by_value or registered
    try:
        if not by_value and _is_plain_function_of_main(fn) and not _is_at_top_level(fn):
            pickled = _define_both_ways(fn)
        else:
            pickled = dumps(fn, None, by_value)
    except Exception as error:
        error.add_note(f"The function {name} cannot be shipped to a worker.")
        raise
    defined = registered or (main_by_value and getattr(fn, "__module__", None) == "__main__")
    return pickled, is_coroutine_function(fn), name, _may_change(fn, defined)


def _is_registered(fn: Callable[..., Any]) -> bool:
    """Has the program said by `cloudpickle.register_pickle_by_value` that it is to travel so?"""
    # It may be half imported, by another thread: then nobody has registered anything yet.
    registry = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    module = getattr(_plain(fn), "__module__", None)
    if registry is None or not isinstance(module, str):
        return False
    names = registry()
    return any(module == name or module.startswith(f"{name}.") for name in names)


def note_unreadable(error: BaseException) -> None:
    """In a worker that cannot unpickle a task: of what the error speaks, and what may be done."""
    error.add_note("The task's function or its arguments could not be unpickled in the worker.")
    if isinstance(error, ModuleNotFoundError):
        error.add_note(
            "Workers import modules by name: one that the program has loaded from a path, or made, "
            "they cannot. Its functions can be submitted after "
            "cloudpickle.register_pickle_by_value(module), if they were not before: then they "
            "travel by value."
        )


def _may_change(fn: Callable[..., Any], defined: bool) -> bool:
    """Can a later pickle of the same function hold something else?

    Not if it is a name. By value it takes along what it uses: a closure's variables, globals,
    defaults; only one that uses nothing but builtins, modules and its arguments stays the same.
    """
    if not defined:
        try:
            pickle.dumps(fn, protocol=5)
        except Exception:
            pass
        else:
            return False
    if not isinstance(fn, FunctionType):
        return True
    if fn.__closure__ or fn.__defaults__ or fn.__kwdefaults__ or fn.__dict__:
        return True
    return not all(_is_constant(name, fn) for name in _names(fn.__code__))


def _names(code: CodeType) -> Iterator[str]:
    """The globals and attributes that a function's code names, inner functions' included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_constant(name: str, fn: FunctionType) -> bool:
    if name in fn.__globals__:
        return isinstance(fn.__globals__[name], ModuleType)
    return hasattr(builtins, name)


MOST_BY_VALUE = 1 << 20
"""Bytes that a function of the main module may have by value, with the globals that it uses."""


_at_forks: list[frozenset[str]] = []
"""The names that the main module had when the first template was forked."""


def note_fork() -> None:
    """A template is about to be forked: what the main module has not, its workers will not have."""
    main = sys.modules.get("__main__")
    if main is not None and not _at_forks:
        _at_forks.append(frozenset(vars(main)))


def _is_plain_function_of_main(fn: Callable[..., Any]) -> bool:
    return isinstance(fn, FunctionType) and fn.__module__ == "__main__"


def _is_at_top_level(fn: Callable[..., Any]) -> bool:
    """Does every worker's main module have it?

    So it is if its source begins in the first column, and no template was forked before it was
    there. To know this saves most programs cloudpickle, which takes longer to import than the rest
    of a pool's start.
    """
    assert isinstance(fn, FunctionType), "a plain function"
    code, main = fn.__code__, sys.modules.get("__main__")
    if main is None or code.co_filename != getattr(main, "__file__", None) or _is_run_once(main):
        return False
    if any(fn.__qualname__ not in names for names in _at_forks):
        return False
    import linecache

    line = linecache.getline(code.co_filename, code.co_firstlineno, vars(main))
    return line != "" and not line[0].isspace()


def _define_both_ways(fn: Callable[..., Any]) -> bytes:
    """By name, so that it shares the main module's globals in a worker; and by value, for a worker
    whose main module has no such name: what stands under `if __name__ == "__main__":`, or was
    defined after a fork.
    """
    try:
        by_name = pickle.dumps(fn, protocol=5)
    except Exception:
        return dumps(fn, None, True)
    import cloudpickle

    by_value = LimitedBytes(MOST_BY_VALUE)
    try:
        cloudpickle.Pickler(by_value, protocol=5).dump(fn)
    except Exception:
        # It uses what cannot travel, or much: by name is the way that remains.
        return by_name
    return pickle.dumps(ByNameOrValue(by_name, b"".join(by_value.parts)), protocol=5)


class LimitedBytes:
    """A file that takes so many bytes and no more."""

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self._left = limit

    def write(self, data: bytes) -> int:
        """Raises OverflowError past the limit."""
        self._left -= len(data)
        if self._left < 0:
            raise OverflowError("more than may travel by value")
        self.parts.append(bytes(data))
        return len(data)


class ByNameOrValue:
    """Unpickles as the function of that name, or where there is none as that value."""

    def __init__(self, by_name: bytes, by_value: bytes) -> None:
        self.by_name = by_name
        self.by_value = by_value

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_either, (self.by_name, self.by_value)


def _load_either(by_name: bytes, by_value: bytes) -> Any:
    try:
        return pickle.loads(by_name)
    except AttributeError:
        return pickle.loads(by_value)


def dumps(value: Any, callback: Callable[[Any], Any] | None, by_value: bool) -> bytes:
    """Plain pickle if it can, cloudpickle if not."""
    first: Exception | None = None
    if not by_value:
        try:
            return pickle.dumps(value, protocol=5, buffer_callback=callback)
        except Exception as plain_failure:
            first = plain_failure
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(value, protocol=5, buffer_callback=callback)
    except Exception as failure:
        raise failure from first
    finally:
        # Its traceback has this frame, and with it what was to be pickled.
        del first
    return pickled


def dumps_by_value(value: Any, callback: Callable[[Any], Any], what: Any) -> bytes:
    """Pickles by cloudpickle; a failure names the argument that is to blame.

    `what` is `(function, args, kwargs, 0)`, `(function, items, singles, number of the first)` of a
    batch, or `None` for a result.
    """
    try:
        return dumps(value, callback, True)
    except Exception as failure:
        if what is None:
            failure.add_note(f"The result, of type {type(value).__name__}, cannot be shipped back.")
            raise
        culprit = blame(what)
        if culprit is not None:
            failure.add_note(f"{culprit} cannot be shipped to a worker.")
        raise


def blame(what: tuple[Any, Any, Any, int]) -> str | None:
    """Which argument cannot be pickled?"""
    function, args, third, first = what
    name = name_of(function)
    if isinstance(args, list):
        for index, item in enumerate(args, first):
            item_args = (item,) if third else item
            culprit = blame_in(name, item_args, {})
            if culprit is not None:
                return f"Item {index}: {culprit[0].lower()}{culprit[1:]}"
        return None
    return blame_in(name, args, third or {})


def blame_in(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Which argument of one call?"""
    import cloudpickle

    named = [(f"Argument {index + 1}", value) for index, value in enumerate(args)]
    named += [(f"Argument {key!r}", value) for key, value in kwargs.items()]
    for label, value in named:
        try:
            cloudpickle.dumps(value, protocol=5)
        except Exception:
            return f"{label} of {name}, of type {type(value).__name__},"
    return None

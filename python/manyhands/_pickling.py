"""Pickling where the plain pickler does not do: functions, and what only cloudpickle can ship."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["define", "dumps_by_value", "main_is_importable"]


def main_is_importable() -> bool:
    """Can a new process import the program's main module?

    Not so for what is typed in (the prompt, a notebook), read from standard input or given
    by `-c`: then its functions and classes have to travel by value.
    """
    main = sys.modules.get("__main__")
    if main is None:
        return False
    if getattr(main, "__spec__", None) is not None:
        return True
    path = getattr(main, "__file__", None)
    # IPython and friends set a file that is no module of theirs.
    return path is not None and not path.startswith("<") and not hasattr(sys, "ps1")


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Does calling `fn` give a coroutine? Looks through partials, methods and callables."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.iscoroutinefunction(fn):
        return True
    call = getattr(type(fn), "__call__", None)  # noqa: B004 (it is the method that is asked for)
    return not inspect.isroutine(fn) and inspect.iscoroutinefunction(call)


def name_of(fn: Callable[..., Any]) -> str:
    """`module.qualname`, or what comes nearest."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    module = getattr(fn, "__module__", None)
    return f"{module}.{name}" if module and module not in ("builtins", "__main__") else name


def define(fn: Callable[..., Any], main_by_value: bool) -> tuple[bytes, bool, str]:
    """A function's pickle, whether it is a coroutine function, and its name."""
    if not callable(fn):
        raise TypeError(f"the first argument must be callable, not {type(fn).__name__}: {fn!r}")
    name = name_of(fn)
    try:
        pickled = dumps(fn, None, main_by_value)
    except Exception as error:
        error.add_note(f"The function {name} cannot be shipped to a worker.")
        raise
    return pickled, is_coroutine_function(fn), name


def dumps(value: Any, callback: Callable[[Any], Any] | None, by_value: bool) -> bytes:
    """Plain pickle if it can, cloudpickle if not."""
    if not by_value:
        try:
            return pickle.dumps(value, protocol=5, buffer_callback=callback)
        except Exception as plain_failure:
            first = plain_failure
    else:
        first = None
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(value, protocol=5, buffer_callback=callback)
    except Exception as failure:
        raise failure from first
    return pickled


def dumps_by_value(value: Any, callback: Callable[[Any], Any], what: Any) -> bytes:
    """Pickles by cloudpickle; a failure names the argument that is to blame.

    `what` is `(function, args, kwargs)`, `(function, items, singles)` of a batch, or `None` for a
    result.
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


def blame(what: tuple[Any, Any, Any]) -> str | None:
    """Which argument cannot be pickled?"""
    function, args, third = what
    name = name_of(function)
    if isinstance(args, list):
        for index, item in enumerate(args):
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

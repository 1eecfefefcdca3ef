"""Finding the function that MODULE:FUNCTION names, or telling what is wrong with the name."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from manyhands._cli import UsageError


class Target(NamedTuple):
    """The function to call, by name: how a worker imports it for itself."""

    path: str  # directory that the module is imported from, first on sys.path
    module: str
    function: str  # dotted for a method of a class

    def load(self) -> Callable[[Any], Any]:
        """Import the function, in whichever process this is called."""
        if self.path not in sys.path:
            sys.path.insert(0, self.path)
        found: Any = importlib.import_module(self.module)
        for name in self.function.split("."):
            found = getattr(found, name)
        function: Callable[[Any], Any] = found
        return function

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


def find(text: str) -> tuple[Target, Callable[[Any], Any]]:
    """What `text`, as typed by the user, means.

    Raises:
        UsageError: there is no such function, and what there is instead.
    """
    module_text, _, function = text.partition(":")
    path, module_name = _locate(module_text)
    if path not in sys.path:
        sys.path.insert(0, path)
    # What a module prints while it is imported is not a result.
    with contextlib.redirect_stdout(sys.stderr):
        module = _import(module_name)
        if not function:
            names = ", ".join(_functions_of(module)) or "none of its own"
            raise UsageError(
                f"{text!r} lacks the function: write {module_name}:FUNCTION. "
                f"Functions in {module_name}: {names}"
            )
        found: Any = module
        for name in function.split("."):
            if not hasattr(found, name):
                owner = module_name if found is module else found.__qualname__
                hint = _suggest(name, [n for n in dir(found) if callable(getattr(found, n, None))])
                raise UsageError(f"{owner} has no function {name!r}{hint}")
            found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{text} is not a function but a value of type {type(found).__name__}")
    return Target(path, module_name, function), found


def is_coroutine_function(function: Callable[[Any], Any]) -> bool:
    """Whether a call has to be awaited: an `async def`, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 (it is the method that is asked for)
    )


def _locate(text: str) -> tuple[str, str]:
    """(directory to import from, dotted name); a path such as `jobs/fetch.py` is accepted too."""
    here = os.getcwd()
    if not (text.endswith(".py") or os.sep in text):
        return here, text
    file = Path(text).resolve()
    if not file.with_suffix(".py").is_file() and not file.is_dir():
        raise UsageError(f"there is no file {text!r}")
    module = file.with_suffix("") if file.suffix == ".py" else file
    if module.is_relative_to(here):
        return here, ".".join(module.relative_to(here).parts)
    return str(module.parent), module.name


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is not the name of a module: write MODULE:FUNCTION")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name != missing and not name.startswith(missing + "."):
            raise UsageError(_import_failed(name, error)) from error
        parent, _, last = missing.rpartition(".")
        if parent and not hasattr(sys.modules.get(parent), "__path__"):
            raise UsageError(f"no module {missing!r}: {parent} is not a package") from error
        places = sys.modules[parent].__path__ if parent else None
        siblings = {module.name for module in pkgutil.iter_modules(places)}
        if not parent:
            siblings |= sys.stdlib_module_names
        hint = _suggest(last, siblings) or f" (looked in {os.getcwd()} and where Python looks)"
        raise UsageError(f"no module named {missing!r}{hint}") from error
    except Exception as error:
        raise UsageError(_import_failed(name, error)) from error


def _import_failed(name: str, error: BaseException) -> str:
    """The error with the frames of the user's code, without those of the import machinery."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    report = traceback.format_list(frames) + traceback.format_exception_only(error)
    return f"importing {name} failed:\n{''.join(report).rstrip()}"


def _functions_of(module: ModuleType) -> list[str]:
    own = (
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and not isinstance(value, type)
        if getattr(value, "__module__", None) == module.__name__
    )
    return sorted(own)


def _suggest(name: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(candidates), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""

"""The examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import manyhands
from manyhands._thread_pool import _default_pool

# It lives as long as the process, with a descriptor.
_default_pool()

# The native module's docstrings come from doc comments.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(manyhands.__path__, "manyhands.")
    if not module.name.endswith("__main__")
)
# As in the standard library, of which these are: not for users.
WITHOUT_EXAMPLE = {
    "Future.set_exception",
    "Future.set_result",
    "Future.set_running_or_notify_cancel",
}


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(manyhands, "manyhands")
    for name in MODULES:
        found += finder.find(importlib.import_module(name), name)
    return [test for test in found if test.examples]


def public_names() -> list[str]:
    names = []
    for name in manyhands.__all__:
        if name.startswith("_"):
            continue
        names.append(name)
        thing = getattr(manyhands, name)
        if inspect.isclass(thing):
            ours = (base for base in thing.__mro__ if base.__module__.startswith("manyhands."))
            methods = {method for base in ours for method in vars(base) if method[0] != "_"}
            names += [f"{name}.{method}" for method in sorted(methods)]
    return [name for name in names if name not in WITHOUT_EXAMPLE]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_shows_what_happens(example: doctest.DocTest) -> None:
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", public_names())
def test_a_public_name_has_a_docstring_with_an_example(name: str) -> None:
    thing = manyhands
    for part in name.split("."):
        thing = getattr(thing, part)
    document = inspect.getdoc(thing) or ""
    assert ">>> " in document, document

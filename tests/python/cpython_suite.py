"""Runs the interpreter's own tests of `concurrent.futures` in a patched process.

    python cpython_suite.py MODE REPORT [PART/PARTS] [WORD…]

MODE is the `on_worker_death` of `manyhands.patch`. PART (from 0) is run of so many parts of about
equal length. Only tests are run whose names hold one of the words, and none that would wait for
ever (`waits` in `tests/cpython_suite.toml`). As soon as a test has begun or ended a line is written
to REPORT: which of it, or how it ended; its name; and what went wrong. A test that takes too long
ends the run, with every thread's stack shown.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import manyhands
from cpython_listed import waits

SUITE = "test.test_concurrent_futures"
MODULES = (
    "test_as_completed",
    "test_deadlock",
    "test_future",
    "test_init",
    "test_process_pool",
    "test_shutdown",
    "test_thread_pool",
    "test_wait",
)
TOO_LONG = 120.0

PATCH = """\
import sys
sys.path[:0] = {path!r}
import manyhands
manyhands.patch(on_worker_death={mode!r})
"""
"""For the children that some tests start: `python -I -c` knows nothing of this process."""


def patch_children(mode: str) -> None:
    """Has the programs that tests run begin with a patch."""
    from test.support import script_helper

    preamble = PATCH.format(path=[entry for entry in sys.path if entry], mode=mode)
    original = script_helper.assert_python_ok

    def assert_python_ok(*args: str, **kwargs: Any) -> Any:
        *options, code = args
        return original(*options, preamble + code, **kwargs)

    script_helper.assert_python_ok = assert_python_ok


class Report(unittest.TestResult):
    """Writes down each outcome as it comes."""

    def __init__(self, file: TextIO, stacks: TextIO) -> None:
        super().__init__()
        # Nothing here keeps a test, or what went wrong in it.
        self._file = file
        self._stacks = stacks

    def _write(self, outcome: str, test: Any, text: str = "") -> None:
        json.dump([outcome, test.id(), text.strip().rpartition("\n")[2]], self._file)
        self._file.write("\n")
        self._file.flush()

    def startTest(self, test: Any) -> None:  # noqa: N802
        super().startTest(test)
        self._write("begins", test)
        faulthandler.dump_traceback_later(TOO_LONG, exit=True, file=self._stacks)

    def stopTest(self, test: Any) -> None:  # noqa: N802
        super().stopTest(test)
        # One that failed has left its executor open, and refers to it in circles.
        gc.collect()
        faulthandler.cancel_dump_traceback_later()
        self._write("ended", test)

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self._write("passed", test)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self._write("skipped", test, reason)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._failed(test, err)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._failed(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._failed(test, err, f"{subtest}: ")

    def _failed(self, test: Any, err: Any, where: str = "") -> None:
        self._write("failed", test, where + f"{err[0].__name__}: {err[1]}".replace("\n", " "))


def chosen(suite: unittest.TestSuite, is_wanted: Callable[[Any], bool]) -> unittest.TestSuite:
    """The tests that are wanted, in suites as before: a test must be gone, with what it has made,
    when what its module has set up is taken down.
    """
    tests: list[Any] = []
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            tests.append(chosen(test, is_wanted))
        elif is_wanted(test):
            tests.append(test)
    return unittest.TestSuite(test for test in tests if test.countTestCases())


def main(mode: str, report: str, *words: str) -> None:
    """See the module's documentation."""
    part, parts = 0, 1
    if words and "/" in words[0]:
        part, parts = map(int, words[0].split("/"))
        words = words[1:]
    classes: dict[type[Any], int] = {}

    def is_wanted(test: Any) -> bool:
        # Classes stay whole; those of a kind follow each other, and so are spread over the parts.
        place = classes.setdefault(type(test), len(classes))
        named = not words or any(word in test.id() for word in words)
        return named and place % parts == part and not waits(test.id(), mode)

    manyhands.patch(on_worker_death=mode)  # type: ignore[arg-type]
    patch_children(mode)
    names = [f"{SUITE}.{module}" for module in MODULES]
    suite = chosen(unittest.TestLoader().loadTestsFromNames(names), is_wanted)
    with Path(report).open("w", encoding="utf-8") as file:
        suite.run(Report(file, sys.__stderr__ or sys.stderr))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs the interpreter's own tests of `concurrent.futures` with the drop-ins in its place.

    python cpython_suite.py MODE REPORT [WORD…]

MODE is the drop-in's `on_worker_death`. Only tests are run whose names hold one of the words. One
line a test is written to REPORT as soon as it has ended: its outcome, its name, and the last line
of what went wrong. A test that takes too long ends the run, with every thread's stack shown.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import unittest
from pathlib import Path
from typing import Any, TextIO

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

PUT_IN_PLACE = """\
import sys
sys.path[:0] = {path!r}
import cpython_suite
cpython_suite.put_in_place({mode!r})
"""
"""For the children that some tests start: `python -I -c` knows nothing of this process."""


def put_in_place(mode: str) -> tuple[type[Any], ...]:
    """Has `concurrent.futures` give the drop-ins."""
    import concurrent.futures.process
    import concurrent.futures.thread

    from manyhands import futures

    class ProcessPoolExecutor(futures.ProcessPoolExecutor):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, on_worker_death=mode, **kwargs)  # type: ignore[arg-type]

    drop_ins: list[type[Any]] = [ProcessPoolExecutor]
    if "ThreadPoolExecutor" in futures.__all__:
        drop_ins.append(futures.ThreadPoolExecutor)
    for drop_in in drop_ins:
        setattr(concurrent.futures, drop_in.__name__, drop_in)
        home = "process" if drop_in is ProcessPoolExecutor else "thread"
        setattr(getattr(concurrent.futures, home), drop_in.__name__, drop_in)
    return tuple(drop_ins)


def point_suite_at(drop_ins: tuple[type[Any], ...], mode: str) -> None:
    """Has the suite's own modules use the drop-ins, also in the children that they start."""
    from importlib import import_module

    from test.support import script_helper

    util = import_module(f"{SUITE}.util")
    for name, mixin in vars(util).items():
        for drop_in in drop_ins:
            if name.endswith("Mixin") and name.startswith(drop_in.__name__[:-8]):
                mixin.executor_type = drop_in
    path = [entry for entry in sys.path if entry]
    preamble = PUT_IN_PLACE.format(path=path, mode=mode)
    original = script_helper.assert_python_ok

    def assert_python_ok(*args: str, **kwargs: Any) -> Any:
        *options, code = args
        return original(*options, preamble + code, **kwargs)

    script_helper.assert_python_ok = assert_python_ok


class Report(unittest.TestResult):
    """Writes down each outcome as it comes."""

    def __init__(self, file: TextIO, stacks: TextIO) -> None:
        super().__init__()
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
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self._write("passed", test)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self._write("skipped", test, reason)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self._write("failed", test, self.failures[-1][1])

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self._write("failed", test, self.errors[-1][1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            super().addSubTest(test, subtest, err)
            self._write("failed", test, f"{subtest}: {err[1]}")


def chosen(suite: unittest.TestSuite, words: list[str]) -> unittest.TestSuite:
    """The tests whose names hold one of the words, in suites as before: a test must be gone, with
    what it has made, when what its module has set up is taken down.
    """
    tests: list[Any] = []
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            tests.append(chosen(test, words))
        elif not words or any(word in test.id() for word in words):
            tests.append(test)
    return unittest.TestSuite(test for test in tests if test.countTestCases())


def main(mode: str, report: str, *words: str) -> None:
    """See the module's documentation."""
    point_suite_at(put_in_place(mode), mode)
    names = [f"{SUITE}.{module}" for module in MODULES]
    suite = chosen(unittest.TestLoader().loadTestsFromNames(names), list(words))
    with Path(report).open("w", encoding="utf-8") as file:
        suite.run(Report(file, sys.__stderr__ or sys.stderr))


if __name__ == "__main__":
    # Workers and children import this module; the drop-ins must be the same class there.
    import cpython_suite

    cpython_suite.main(*sys.argv[1:])

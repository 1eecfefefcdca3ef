"""CPython's own tests of `concurrent.futures` pass on the drop-ins, but for those that are listed.

The list is `tests/cpython_suite.toml`; `cpython_suite.py` runs the tests, in processes of its own.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LISTED = tomllib.loads((HERE.parent / "cpython_suite.toml").read_text(encoding="utf-8"))["expected"]

PARTS = 3
"""The tests mostly sleep: so many processes run them side by side."""

MODES = ("break", "replace")

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 13), reason="the suite of CPython 3.13 and newer"),
    pytest.mark.skipif(
        sys.version_info >= (3, 13)
        and (
            importlib.util.find_spec("test") is None
            or importlib.util.find_spec("test.test_concurrent_futures") is None
        ),
        reason="this interpreter comes without its tests",
    ),
]


def is_listed(test: str, mode: str, entry: dict[str, Any]) -> bool:
    """Does the entry say that the test fails?"""
    test_class = test.split(".")[-2]
    return (
        mode in entry["modes"]
        and fnmatchcase(test, entry["tests"])
        and fnmatchcase(test_class, entry.get("classes", "*"))
        and not fnmatchcase(test_class, entry.get("except", ""))
        and not fnmatchcase(test, entry.get("except-tests", ""))
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_interpreters_own_tests_pass_but_for_those_that_are_listed(
    mode: str, tmp_path: Path
) -> None:
    # Each runner has a watchdog of its own, which shows where it hangs; together they take longer
    # than a test of ours may.
    faulthandler.cancel_dump_traceback_later()
    runners = []
    for part in range(PARTS):
        stderr = (tmp_path / f"{part}.err").open("w")
        command = [sys.executable, "cpython_suite.py", mode, str(tmp_path / f"{part}.jsonl")]
        command.append(f"{part}/{PARTS}")
        runner = subprocess.Popen(command, cwd=HERE, stdout=stderr, stderr=stderr)
        runners.append(runner)
        stderr.close()
    outcomes: dict[str, str] = {}
    texts: dict[str, str] = {}
    for part, runner in enumerate(runners):
        status = runner.wait()
        lines = (tmp_path / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        for outcome, test, text in map(json.loads, lines):
            # A failure stays one, whatever its class's or its subtests' outcomes.
            if outcomes.get(test) != "failed":
                outcomes[test] = outcome
                texts[test] = text
        said = (tmp_path / f"{part}.err").read_text(errors="replace")
        assert status == 0, f"the runner ended with {status}:\n{said[-10_000:]}"
    unfinished = [test for test, outcome in outcomes.items() if outcome == "begins"]
    assert unfinished == []

    failed = {test for test, outcome in outcomes.items() if outcome == "failed"}
    passed = {test for test, outcome in outcomes.items() if outcome == "passed"}
    assert len(passed) > 100, "hardly any test ran"
    listed = {test for test in outcomes for entry in LISTED if is_listed(test, mode, entry)}
    strictly = [entry for entry in LISTED if not entry.get("timing")]
    surprises = [f"{test}: {texts[test]}" for test in sorted(failed - listed)]
    assert not surprises, "these fail:\n" + "\n".join(surprises)
    for test in passed & listed:
        entries = [entry for entry in strictly if is_listed(test, mode, entry)]
        assert not entries, f"{test} passes, although it is listed as failing"
    useless = [
        entry["tests"]
        for entry in strictly
        if mode in entry["modes"] and not any(is_listed(test, mode, entry) for test in failed)
    ]
    assert not useless, "these entries name no test that fails"

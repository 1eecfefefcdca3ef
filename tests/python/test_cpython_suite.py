"""CPython's own tests of `concurrent.futures` pass on the drop-ins, but for those that are listed.

The list is `tests/cpython_suite.toml`; `cpython_suite.py` runs the tests, in processes of its own.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cpython_listed import LISTED, is_listed

HERE = Path(__file__).parent

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
            # A failure stays one, whatever its class's or its subtests' outcomes. Of one whose
            # subtests were skipped nothing is told but that it has ended.
            before = outcomes.get(test)
            if before != "failed" and (outcome != "ended" or before == "begins"):
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
    strictly = [entry for entry in LISTED if not (entry.get("timing") or entry.get("waits"))]
    surprises = [f"{test}: {texts[test]}" for test in sorted(failed - listed)]
    assert not surprises, "these fail:\n" + "\n".join(surprises)
    for test in passed & listed:
        entries = [entry for entry in strictly if is_listed(test, mode, entry)]
        assert not entries, f"{test} passes, although it is listed as failing"
    useless = [
        entry["tests"]
        for entry in strictly
        # Interpreters have their newer tests in different releases.
        if not entry.get("newer")
        and mode in entry["modes"]
        and not any(is_listed(test, mode, entry) for test in failed)
    ]
    assert not useless, "these entries name no test that fails"

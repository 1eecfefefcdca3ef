"""Which of CPython's own tests are not passed: what `tests/cpython_suite.toml` lists."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

LISTED = tomllib.loads(
    Path(__file__).parents[1].joinpath("cpython_suite.toml").read_text(encoding="utf-8")
)["expected"]


def is_listed(test: str, mode: str, entry: dict[str, Any]) -> bool:
    """Does the entry speak of the test?"""
    test_class = test.split(".")[-2]
    return (
        mode in entry["modes"]
        and fnmatchcase(test, entry["tests"])
        and fnmatchcase(test_class, entry.get("classes", "*"))
        and not fnmatchcase(test_class, entry.get("except", ""))
        and not fnmatchcase(test, entry.get("except-tests", ""))
    )


def waits(test: str, mode: str) -> bool:
    """Would it wait for ever?"""
    return any(entry.get("waits") and is_listed(test, mode, entry) for entry in LISTED)

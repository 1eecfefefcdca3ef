"""`import manyhands` costs a program next to nothing until it uses the package."""

from __future__ import annotations

import subprocess
import sys


def test_the_package_imports_nothing_until_it_is_used() -> None:
    code = """
import sys
before = set(sys.modules)
import manyhands
print(*sorted(set(sys.modules) - before))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert ended.stdout.split() == ["__future__", "manyhands"]

"""What README.md shows is what happens: its programs run and print what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

README = Path(__file__).parents[2] / "README.md"
TIMEOUT = 100  # seconds; only waited for when something hangs


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    text = README.read_text()
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in found]


def programs() -> list[tuple[Block, str]]:
    """Each Python block, and the output shown below it."""
    all_blocks = blocks()
    return [
        (block, output.text)
        for block, output in pairwise(all_blocks)
        if block.language == "python" and output.language == "text"
    ]


def sessions() -> list[tuple[str, str, int]]:
    """Each command shown with `$`, and its output."""
    found = []
    for block in blocks():
        if block.language == "console":
            for part in block.text.split("$ ")[1:]:
                command, _, output = part.partition("\n")
                found.append((command, output, block.line))
    return found


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_every_program_shows_its_output() -> None:
    python = [block for block in blocks() if block.language == "python"]
    assert len(programs()) == len(python) >= 2
    assert sessions()


@pytest.mark.parametrize(
    ("program", "output"),
    [pytest.param(block.text, output, id=f"line-{block.line}") for block, output in programs()],
)
def test_a_program_prints_what_is_shown(program: str, output: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program)
    ended = run([sys.executable, "-W", "error", str(script)], tmp_path)
    assert (ended.stdout, ended.stderr, ended.returncode) == (output, "", 0)


@pytest.mark.parametrize(
    ("command", "output"),
    [pytest.param(command, output, id=f"line-{line}") for command, output, line in sessions()],
)
def test_a_command_prints_what_is_shown(command: str, output: str, tmp_path: Path) -> None:
    # The script is the module, also where the package is not installed.
    python = f"{sys.executable} -m manyhands"
    line = re.sub(r"(^|\| )manyhands ", lambda match: f"{match[1]}{python} ", command)
    ended = run(["bash", "-o", "pipefail", "-c", line], tmp_path)
    assert (ended.stdout, ended.stderr, ended.returncode) == (output, "", 0)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "docs/architecture.md"])
def test_a_link_into_the_project_leads_somewhere(name: str) -> None:
    document = README.parent / name
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if not os.path.exists(document.parent / link)]
    assert not missing

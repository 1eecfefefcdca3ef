"""What people write with executors and asyncio runs on manyhands, and prints what it always did.

Each program of examples/programs checks its own answers. Here its output under plain Python is
compared with that on the drop-ins, with nothing but the import changed, and with that of the
unchanged file under `manyhands run`.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "programs"
LIBRARIES = {"pages.py"}
PROGRAMS = sorted(file for file in FOLDER.glob("*.py") if file.name not in LIBRARIES)
IMPORT = re.compile(r"^from concurrent\.futures import", re.MULTILINE)
TIMEOUT = 100  # seconds; only waited for when something hangs


def run(*words: str | Path, folder: Path = FOLDER) -> str:
    """What a program prints; it must end well."""
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@functools.cache
def plain(program: Path) -> str:
    """What it prints under Python alone."""
    printed = run(program)
    assert printed
    return printed


def programs(which: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("program", which, ids=lambda program: program.stem)


def test_the_programs_are_there() -> None:
    assert len(PROGRAMS) >= 20
    assert len([program for program in PROGRAMS if IMPORT.search(program.read_text())]) >= 18
    assert not any("manyhands" in program.read_text() for program in PROGRAMS)


@programs([program for program in PROGRAMS if IMPORT.search(program.read_text())])
def test_with_nothing_but_the_import_changed(program: Path, tmp_path: Path) -> None:
    for library in LIBRARIES:
        shutil.copy(FOLDER / library, tmp_path)
    changed = tmp_path / program.name
    changed.write_text(IMPORT.sub("from manyhands.futures import", program.read_text()))
    assert run(changed, folder=tmp_path) == plain(program)


@programs(PROGRAMS)
def test_unchanged_under_manyhands_run(program: Path) -> None:
    assert run("-m", "manyhands", "run", program) == plain(program)


@programs([FOLDER / "cpu_bound_gather.py", FOLDER / "nothing_left_running.py"])
def test_as_in_the_standard_library_where_a_death_breaks_the_executor(program: Path) -> None:
    assert run("-m", "manyhands", "run", "--on-worker-death=break", program) == plain(program)


def test_on_one_usable_core_the_sizes_follow() -> None:
    one_core = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); "
    code = one_core + "import runpy, sys; sys.argv = ['manyhands', 'run', 'default_sizes.py']; "
    code += "runpy.run_module('manyhands', run_name='__main__', alter_sys=True)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "threads: 5, processes: 1," in ended.stderr

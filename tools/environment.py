"""Sets up a virtual environment for the interpreter that runs this, and prints its bin directory.

    python3.12 tools/environment.py test        the project and its dependency group `test`
    python3.12 tools/environment.py             the project alone
    python3.12 tools/environment.py lint --without-project

The environments and the wheel lie in `.build/cpython-3.12/`, cargo's files in `.build/target/`.
What is up to date, by content and not by time stamp, is left alone. The project is installed as a
user would have it: built as a wheel, Python sources included.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "{}.{}".format(*sys.version_info) + sysconfig.get_config_var("abiflags")
HOME = ROOT / ".build" / f"cpython-{VERSION}"


def main() -> None:
    """Bring the environment up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", nargs="?")
    parser.add_argument("--without-project", action="store_true")
    options = parser.parse_args()

    environment = HOME / (options.group or "plain")
    environment.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others may be doing the same
        update_packages(environment, options.group)
        if not options.without_project:
            update_project(environment)
    print(environment / "bin")


def update_packages(environment: Path, group: str | None) -> None:
    """Create the environment with the packages of a dependency group (PEP 735)."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = list(pyproject["project"]["dependencies"])
    packages += requirements(pyproject["dependency-groups"], group) if group else []
    stamp = Stamp(environment / "packages.stamp", digest(sys.version, *packages))
    if stamp.current:
        return
    say(f"setting up {environment.relative_to(ROOT)}")
    run([sys.executable, "-m", "venv", "--clear", environment])
    run([environment / "bin/python", "-m", "pip", "install", "-q", *packages])
    stamp.write()


def requirements(groups: dict[str, list[str | dict[str, str]]], name: str) -> Iterator[str]:
    """The requirements of a group and of those that it includes."""
    for entry in groups[name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from requirements(groups, entry["include-group"])


def update_project(environment: Path) -> None:
    """Install the project from a wheel, which is built if the sources have changed."""
    sources = digest(sys.version, *source_files())
    wheels = HOME / "wheel"
    built = Stamp(wheels / "wheel.stamp", sources)
    if not built.current:
        say(f"building the wheel for CPython {VERSION}")
        shutil.rmtree(wheels, ignore_errors=True)
        # One for all interpreters: only what knows Python is built for each of them.
        target = {"CARGO_TARGET_DIR": str(ROOT / ".build" / "target")}
        pip = [environment / "bin/python", "-m", "pip"]
        run([*pip, "wheel", "-q", "--no-deps", "--wheel-dir", wheels, ROOT], **target)
        built.write()
    installed = Stamp(environment / "project.stamp", sources)
    if not installed.current:
        pip = [environment / "bin/python", "-m", "pip"]
        run([*pip, "install", "-q", "--no-deps", "--force-reinstall", *wheels.glob("*.whl")])
        installed.write()


def source_files() -> Iterator[Path]:
    """All that the wheel is made of."""
    yield from sorted(ROOT.glob("Cargo.*"))
    yield from (ROOT / "pyproject.toml", ROOT / "README.md")
    for folder in ("crates", "python"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and file.suffix not in (".pyc", ".so"):
                yield file


def digest(*parts: str | Path) -> str:
    """A hash of texts and of files (their names and contents)."""
    result = hashlib.sha256()
    for part in parts:
        result.update(str(part).encode() + b"\0")
        if isinstance(part, Path) and part.exists():
            result.update(hashlib.sha256(part.read_bytes()).digest())
    return result.hexdigest()


class Stamp:
    """Remembers in a file what something was made from."""

    def __init__(self, file: Path, value: str) -> None:
        self._file, self._value = file, value

    @property
    def current(self) -> bool:
        """Whether nothing has changed since `write`."""
        return self._file.exists() and self._file.read_text() == self._value

    def write(self) -> None:
        """Call it when the thing is made."""
        self._file.write_text(self._value)


def run(command: list[str | Path], **environment: str) -> None:
    """Run a command whose output matters only if it fails."""
    done = subprocess.run(
        command,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        say(done.stdout)
        sys.exit(f"failed ({done.returncode}): {' '.join(map(str, command))}")


def say(text: str) -> None:
    """Tell the user; standard output is for the answer."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""`manyhands run` runs a program as `python` does: the same `__main__`, output, errors and status.

Each program is run by both, and what comes out is compared.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

TIMEOUT = 100  # seconds; only waited for when something hangs
METHODS = ["spawn", "forkserver", "fork"]

SHOWS_ALL = """
import sys, __main__
for name, value in sorted(vars(__main__).items()):
    if name.startswith("__"):
        print(name, repr(value))
print(sys.argv, sys.path, __name__)
print(vars(__main__) is globals(), sys.modules["__main__"] is __main__)
def function(): pass
print(function.__module__, sys.flags, sys.stdout.line_buffering)
"""


class Ended(NamedTuple):
    out: str
    err: str
    status: int


def start(command: list[str], folder: Path, text: str = "", **options: str) -> Ended:
    """Run a command to its end; addresses of objects are made the same."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **options},
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    out, err = (re.sub(r"0x[0-9a-f]+", "0x", text) for text in (ended.stdout, ended.stderr))
    return Ended(out, err, ended.returncode)


def plain(words: list[str], folder: Path, text: str = "", *flags: str) -> Ended:
    return start([sys.executable, *flags, *words], folder, text)


def ours(words: list[str], folder: Path, text: str = "", *flags: str) -> Ended:
    return start([sys.executable, *flags, "-m", "manyhands", "run", *words], folder, text)


def same(words: list[str], folder: Path, text: str = "", *flags: str) -> Ended:
    """What both do, which must be the same."""
    ended = ours(words, folder, text, *flags)
    assert ended == plain(words, folder, text, *flags)
    return ended


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with SHOWS_ALL in each form that python runs."""
    for place in ("", "package", "directory", "elsewhere"):
        (tmp_path / place).mkdir(exist_ok=True)
    for name in (
        "shows.py",
        "package/__init__.py",
        "package/__main__.py",
        "package/inner.py",
        "directory/__main__.py",
        "elsewhere/script",
    ):
        (tmp_path / name).write_text(SHOWS_ALL)
    (tmp_path / "link.py").symlink_to(tmp_path / "elsewhere" / "script")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", SHOWS_ALL)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["shows.py"],
        ["shows.py", "one", "-m", "--two", "-"],
        ["./elsewhere/../elsewhere/script"],
        ["link.py", "x"],
        ["-m", "shows", "one", "--two"],
        ["-mshows", "one"],
        ["-m", "package"],
        ["-m", "package.inner", "x"],
        ["directory", "x"],
        ["./directory/"],
        ["program.zip", "x"],
        ["-", "x"],
        ["-c", SHOWS_ALL, "x", "-y"],
        ["-cprint(__name__)", "x"],
    ],
    ids=lambda words: " ".join(words)[:30].replace("\n", " "),
)
@pytest.mark.parametrize("flags", [[], ["-P"], ["-O", "-X", "utf8"]], ids=" ".join)
def test_a_program_finds_all_as_python_leaves_it(
    folder: Path, words: list[str], flags: list[str]
) -> None:
    if "-P" in flags and words[0] in ("-m", "-mshows"):
        pytest.skip("python does not find it either")
    ended = same(words, folder, SHOWS_ALL, *flags)
    assert ended.status == 0
    assert "__main__" in ended.out


def test_a_compiled_file_runs(folder: Path) -> None:
    start([sys.executable, "-m", "compileall", "-b", "-q", "shows.py"], folder)
    assert same(["shows.pyc"], folder).status == 0


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(None)", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('because')", 1),
        ("raise SystemExit((1, 2))", 1),
        ("import os; os._exit(3)", 3),
        ("1/0", 1),
        ("import json; json.loads('{')", 1),
        ("def f(:", 1),
        ("try:\n  1/0\nexcept ZeroDivisionError as error:\n  raise LookupError('x') from error", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("raise BrokenPipeError('mine')", 1),
        ("import sys; sys.excepthook = lambda *e: print('hook', e[0], e[2].tb_lineno); 1/0", 1),
        ("import sys; sys.excepthook = lambda *e: sys.exit(9); 1/0", 9),
        ("import asyncio\nasync def main():\n  1/0\nasyncio.run(main())", 1),
        ("raise ExceptionGroup('several', [ValueError(1), TypeError(2)])", 1),
        ("# coding: latin-1\nprint('\xe4')", 0),
        ("from __future__ import annotations\ndef f(x: nonsense): pass\nprint(1)", 0),
        ("def f(x: int): pass\nprint(f.__annotations__)", 0),  # no flag of ours is inherited
    ],
)
@pytest.mark.parametrize("form", ["file", "module", "stdin", "command"])
def test_a_program_ends_as_under_python(tmp_path: Path, code: str, status: int, form: str) -> None:
    (tmp_path / "program.py").write_text(code, encoding="latin-1")
    words = {
        "file": ["program.py", "x"],
        "module": ["-m", "program"],
        "stdin": ["-"],
        "command": ["-c", code],
    }[form]
    if form in ("stdin", "command") and not code.isascii():
        pytest.skip("the encoding of files")
    ended = same(words, tmp_path, code if form == "stdin" else "")
    assert ended.status == status
    assert "_cli" not in ended.err


def test_what_python_does_at_the_end_is_done(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import atexit, sys, threading, time
        started = threading.Event()

        def linger():
            started.wait()
            threading.main_thread().join()
            print("the last thread")

        class Late:
            def __del__(self):
                print("deleted", __name__)

        late = Late()
        threading.Thread(target=linger).start()
        atexit.register(print, "at exit")
        started.set()
        print("not flushed", end="; ")
        if sys.argv[1:]:
            raise LookupError
        """)
    )
    ended = same(["program.py"], tmp_path)
    assert ended.out == "not flushed; the last thread\nat exit\ndeleted __main__\n"
    assert same(["program.py", "fail"], tmp_path).status == 1


def test_the_traceback_of_the_last_error_is_the_programs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import atexit, sys, traceback\n"
        "hook = sys.excepthook\n"
        "atexit.register(lambda: print(sys.excepthook is hook,\n"
        "                              len(traceback.extract_tb(sys.last_traceback))))\n"
        "1/0\n"
    )
    assert same(["program.py"], tmp_path).out == "True 1\n"


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "run needs a program"),
        (["nowhere.py"], 2, "can't open file .*nowhere.py': No such file or directory"),
        (["-m"], 2, "-m lacks its value"),
        (["-c"], 2, "-c lacks its value"),
        (["--fast", "program.py"], 2, "no option '--fast'"),
        (["--on-worker-death", "hide", "program.py"], 2, "replace or break, not 'hide'"),
        (["--on-worker-death"], 2, "lacks its value"),
    ],
)
def test_a_command_that_cannot_be_carried_out(
    tmp_path: Path, words: list[str], status: int, text: str
) -> None:
    ended = ours(words, tmp_path)
    assert (ended.out, ended.status) == ("", status)
    assert re.fullmatch(f"manyhands: .*{text}.*\n", ended.err)


def test_python_itself_says_what_cannot_be_imported(tmp_path: Path) -> None:
    assert same(["-m", "nowhere_to_be_found"], tmp_path).status == 1
    assert same(["."], tmp_path).status == 1  # a directory without __main__.py


def test_help(tmp_path: Path) -> None:
    ended = ours(["--help"], tmp_path)
    assert "usage: manyhands run [OPTIONS] PROGRAM" in ended.out
    assert ended.status == 0


@pytest.mark.parametrize(
    "option", [[], ["--on-worker-death", "break"], ["--on-worker-death=break"]]
)
def test_options_come_before_the_program(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "program.py").write_text(
        "import sys, manyhands._patch\nprint(manyhands._patch.patched(), sys.argv)\n"
    )
    ended = ours([*option, "program.py", "--on-worker-death", "x"], tmp_path)
    wanted = "break" if option else "replace"
    assert ended.out == f"{wanted} ['program.py', '--on-worker-death', 'x']\n"
    assert ours([*option, "--", "program.py"], tmp_path).out == f"{wanted} ['program.py']\n"


TASKS = """
import concurrent.futures, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

class Point:
    def __init__(self, x):
        self.x = x

def double(point):
    return Point(2 * point.x)

def inside(_):
    with ThreadPoolExecutor(1) as executor:
        return type(executor).__module__, executor.submit(os.getpid).result() == os.getpid()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        print([point.x for point in executor.map(double, map(Point, range(5)))])
        module, same = executor.submit(inside, 0).result()
        assert same
        print("ours" if module.startswith("manyhands.") else "theirs", file=sys.stderr)
        assert type(executor).__module__.startswith("manyhands.") == (module[:5] == "manyh")
        assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)
    process = context.Process(target=inside, args=(0,))
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["file", "module", "package"])
def test_workers_find_the_main_module_and_the_patch(tmp_path: Path, method: str, form: str) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    for name in ("program.py", "package/program.py"):
        (tmp_path / name).write_text(TASKS)
    words = {
        "file": ["program.py"],
        "module": ["-m", "program"],
        "package": ["-m", "package.program"],
    }[form]
    wanted = "[0, 2, 4, 6, 8]\n0\n"
    assert ours([*words, method], tmp_path) == (wanted, "ours\n", 0)
    assert plain([*words, method], tmp_path) == (wanted, "theirs\n", 0)


def test_the_console_script_leaves_its_directory_off_the_path(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "manyhands"
    script.parent.mkdir()
    script.write_text("import sys\nfrom manyhands._cli import main\nsys.exit(main())\n")
    (tmp_path / "program.py").write_text(SHOWS_ALL)
    ended = start([sys.executable, str(script), "run", "program.py", "x"], tmp_path)
    assert ended == plain(["program.py", "x"], tmp_path)


def test_an_interrupt_ends_the_program_as_it_ends_python(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        # One long sleep could begin when the signal has just come.
        "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)\n"
    )
    ends = []
    for command in ([], ["-m", "manyhands", "run"]):
        with subprocess.Popen(
            [sys.executable, *command, "program.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=TIMEOUT)
            # Where it is interrupted differs: while it prints, or in its pause.
            ends.append((err.splitlines()[-1], process.returncode, "manyhands" in err))
    assert ends == [("KeyboardInterrupt", -signal.SIGINT, False)] * 2


WAITS = """
import asyncio, sys, time
from concurrent.futures import ProcessPoolExecutor

async def awaited(executor):
    await asyncio.get_running_loop().run_in_executor(executor, time.sleep, 100)

if __name__ == "__main__":
    executor = ProcessPoolExecutor(2)
    executor.submit(abs, 1).result()
    print("ready", flush=True)
    match sys.argv[1]:
        case "result":
            executor.submit(time.sleep, 100).result()
        case "with":
            with executor:
                executor.submit(time.sleep, 100).result()
        case "map":
            with executor:
                list(executor.map(time.sleep, [100] * 4))
        case "await":
            with executor:
                asyncio.run(awaited(executor))
"""


@pytest.mark.parametrize("way", ["result", "with", "map", "await"])
def test_one_interrupt_ends_a_program_whose_workers_are_busy(tmp_path: Path, way: str) -> None:
    """As the terminal sends it, to every process of the program."""
    (tmp_path / "program.py").write_text(WAITS)
    with subprocess.Popen(
        [sys.executable, "-m", "manyhands", "run", "program.py", way],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err.splitlines()

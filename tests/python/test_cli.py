"""The command line: what `manyhands map` reads, calls, prints and reports.

Driven as its users drive it, as a process of its own. How results flow while it runs is in
`test_cli_stream.py`.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

JOBS = """
import asyncio, os, signal, subprocess, sys, time

print("imported")
running = peak = 0
constant = 5


def upper(text):
    return text.upper()

def same(value):
    return value

def length(text):
    return len(text)

def picky(text):
    if text == "bad":
        raise ValueError("I do not like it")
    return text

def chatty(text):
    print("not a result")
    os.write(1, b"nor is this\\n")
    return text

def reader(text):
    return subprocess.run(["cat"], capture_output=True).stdout.decode()

def mortal(text):
    if text == "exit":
        os._exit(7)
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return text

def leaver(text):
    sys.exit("bye")

def interrupter(text):
    raise KeyboardInterrupt

def worker(text):
    open(f"worker-{os.getpid()}", "w").close()
    while sum(name.startswith("worker-") for name in os.listdir()) < 2:
        time.sleep(0.005)
    return os.getpid()

def after_the_other(text):
    if text == "second":
        open("first", "w").close()
    else:
        while not os.path.exists("first"):
            time.sleep(0.005)
        time.sleep(0.5)
    return text

def nap(seconds):
    time.sleep(float(seconds))
    return seconds

def native(text):
    return os.fsencode(text).hex()

class Local(Exception):
    def __init__(self, one, two):
        self.lock = __import__("threading").Lock()
        super().__init__("a text")

def unpicklable(text):
    raise Local(1, 2)

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

def mute(text):
    raise Mute

def returning(name):
    loop = []
    loop.append(loop)
    return {"set": {1}, "nan": float("nan"), "bytes": b"x", "function": same, "loop": loop,
            "big": 10**5000}[name]

async def crowd(text):
    global running, peak
    running += 1
    peak = max(peak, running)
    while peak < 5:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.01)
    running -= 1
    return peak

async def rude(text):
    raise asyncio.CancelledError if text == "cancelled" else LookupError(text)

class Shelf:
    @staticmethod
    def lift(text):
        return f"lifted {text}"

class Doubler:
    async def __call__(self, text):
        return 2 * text

doubler = Doubler()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with a module `jobs`."""
    (tmp_path / "jobs.py").write_text(JOBS)
    return tmp_path


class Finished(NamedTuple):
    """A run that has ended."""

    status: int
    lines: list[Any]  # standard output, each line parsed
    stderr: str

    @property
    def errors(self) -> list[str]:
        return [line["error"]["type"] for line in self.lines]


class Command:
    """`manyhands` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, stdin: str | bytes = b"") -> Finished:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-m", "manyhands", *arguments],
            cwd=self.folder,
            input=data,
            capture_output=True,
            check=False,
        )
        lines = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]
        return Finished(done.returncode, lines, done.stderr.decode())

    def map(self, *arguments: str, stdin: str | bytes = b"") -> Finished:
        return self("map", "--workers", "2", *arguments, stdin=stdin)


@pytest.fixture
def command(folder: Path) -> Command:
    return Command(folder)


class TestInputs:
    def test_arguments_are_inputs(self, command: Command) -> None:
        assert command.map("jobs:upper", "a", "b").lines == ["A", "B"]

    def test_lines_of_standard_input_are_inputs_when_there_is_no_other(
        self, command: Command
    ) -> None:
        assert command.map("jobs:upper", stdin="a\nb\n").lines == ["A", "B"]

    def test_standard_input_is_left_alone_when_there_are_other_inputs(
        self, command: Command
    ) -> None:
        assert command.map("jobs:upper", "a", stdin="b\n").lines == ["A"]

    def test_dash_stands_for_standard_input_where_it_is_written(self, command: Command) -> None:
        assert command.map("jobs:upper", "a", "-", "c", stdin="b\n").lines == ["A", "B", "C"]

    def test_lines_of_files_follow_the_arguments(self, command: Command) -> None:
        (command.folder / "one").write_text("b\nc\n")
        (command.folder / "two").write_text("d")
        ran = command.map("jobs:upper", "-f", "one", "a", "--file", "two")
        assert ran.lines == ["A", "B", "C", "D"]

    def test_a_file_may_be_a_pipe(self, command: Command) -> None:
        ran = command.map("jobs:upper", "-f", "/dev/stdin", stdin="a\n")
        assert ran.lines == ["A"]

    def test_options_may_follow_inputs_and_two_dashes_end_them(self, command: Command) -> None:
        ran = command.map("jobs:same", "a", "--chunksize", "2", "b", "--", "--jsonl", "-f")
        assert ran.lines == ["a", "b", "--jsonl", "-f"]

    def test_jsonl_parses_inputs_wherever_they_come_from(self, command: Command) -> None:
        ran = command.map("jobs:same", "--jsonl", "[1]", "-", stdin='{"a": null}\n2.5\n"ä"\n')
        assert ran.lines == [[1], {"a": None}, 2.5, "ä"]

    def test_jsonl_leaves_out_blank_lines(self, command: Command) -> None:
        assert command.map("jobs:same", "--jsonl", stdin="1\n\n  \n2\n\n").lines == [1, 2]

    def test_an_empty_line_of_text_is_an_input(self, command: Command) -> None:
        assert command.map("jobs:same", stdin="\na\n\n").lines == ["", "a", ""]

    def test_no_input_is_no_work_and_no_failure(self, command: Command) -> None:
        ran = command.map("jobs:same")
        assert (ran.status, ran.lines) == (0, [])
        assert "0 done, 0 failed" in ran.stderr

    def test_text_of_every_script_arrives_and_returns(self, command: Command) -> None:
        words = ["äöü", "日本語", "🎉", "a\tb", "\x00"]
        ran = command.map("jobs:same", stdin="\n".join(words))
        assert ran.lines == words

    def test_bytes_that_are_not_utf8_arrive_as_in_file_names(self, command: Command) -> None:
        assert command.map("jobs:native", stdin=b"\xff\xfe\n").lines == ["fffe"]
        assert command.map("jobs:same", stdin=b"\xff\n").lines == ["\udcff"]

    def test_line_ends_and_byte_order_mark_of_windows_are_not_part_of_inputs(
        self, command: Command
    ) -> None:
        ran = command.map("jobs:same", stdin=b"\xef\xbb\xbfa\r\nb\r\n")
        assert ran.lines == ["a", "b"]

    def test_a_line_may_be_huge(self, command: Command) -> None:
        size = 30_000_000
        ran = command.map("jobs:length", stdin=b"x" * size + b"\ny\n")
        assert ran.lines == [size, 1]


class TestResults:
    def test_results_come_in_input_order(self, command: Command) -> None:
        assert command.map("jobs:nap", "0.5", "0.1", "0").lines == ["0.5", "0.1", "0"]

    def test_unordered_results_come_as_they_are_completed(self, command: Command) -> None:
        ran = command.map("jobs:after_the_other", "--unordered", "first", "second")
        assert ran.lines == ["second", "first"]

    def test_with_input_each_result_carries_its_input(self, command: Command) -> None:
        ran = command.map("jobs:upper", "--with-input", "a")
        assert ran.lines == [{"input": "a", "result": "A"}]

    def test_output_goes_to_a_file_if_one_is_named(self, command: Command) -> None:
        ran = command.map("jobs:upper", "a", "b", "-o", "results")
        assert (ran.status, ran.lines) == (0, [])
        assert (command.folder / "results").read_text() == '"A"\n"B"\n'

    def test_what_functions_and_modules_print_is_not_among_results(self, command: Command) -> None:
        ran = command.map("jobs:chatty", "a")
        assert ran.lines == ["a"]
        for text in ("imported", "not a result", "nor is this"):
            assert text in ran.stderr

    def test_programs_that_functions_start_do_not_eat_inputs(self, command: Command) -> None:
        assert command.map("jobs:reader", stdin="a\nb\nc\n").lines == ["", "", ""]

    def test_text_stays_readable(self, command: Command) -> None:
        command.map("jobs:same", "日本", "-o", "results")
        assert (command.folder / "results").read_text() == '"日本"\n'

    @pytest.mark.parametrize("chunksize", ["1", "7", "1000"])
    def test_chunksize_changes_no_result(self, command: Command, chunksize: str) -> None:
        lines = "".join(f"{number}\n" for number in range(500))
        ran = command.map("jobs:same", "--jsonl", "--chunksize", chunksize, stdin=lines)
        assert ran.lines == list(range(500))


class TestFunctions:
    def test_coroutines_run_at_once_up_to_the_concurrency(self, command: Command) -> None:
        ran = command("map", "jobs:crowd", "--workers=1", "--concurrency=5", *"abcdefghijklmno")
        assert max(ran.lines) == 5

    def test_work_is_spread_over_the_workers(self, command: Command) -> None:
        assert len(set(command.map("jobs:worker", *"abcdef").lines)) == 2

    @pytest.mark.parametrize(
        ("target", "result"),
        [
            ("jobs.py:upper", "A"),
            ("./jobs.py:upper", "A"),
            ("package.inner:function", "a inner"),
            ("package/inner.py:function", "a inner"),
            ("jobs:Shelf.lift", "lifted a"),
            ("jobs:doubler", "aa"),
            ("os.path:basename", "a"),
        ],
    )
    def test_a_function_is_named_as_in_an_import_or_by_its_file(
        self, command: Command, target: str, result: str
    ) -> None:
        (command.folder / "package").mkdir()
        source = "def function(text): return text + ' inner'"
        (command.folder / "package" / "inner.py").write_text(source)
        assert command.map(target, "a").lines == [result]

    def test_a_file_elsewhere_is_found_by_its_path(self, command: Command, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "far.py").write_text("def function(text): return 'far'")
        inside = tmp_path / "inside"
        inside.mkdir()
        ran = Command(inside).map("../elsewhere/far.py:function", "a")
        assert ran.lines == ["far"]


class TestFailures:
    def test_a_failing_input_gets_a_line_and_the_others_go_on(self, command: Command) -> None:
        ran = command.map("jobs:picky", "good", "bad", "fine")
        assert ran.status == 1
        assert [ran.lines[0], ran.lines[2]] == ["good", "fine"]
        line = ran.lines[1]
        assert (line["input"], line["index"]) == ("bad", 1)
        assert line["error"]["type"] == "ValueError"
        assert line["error"]["message"] == "I do not like it"
        assert "2 done, 1 failed" in ran.stderr

    def test_results_that_cannot_be_written_end_the_run_with_one_line(
        self, command: Command
    ) -> None:
        ran = command.map("jobs:picky", "good", "-o", "/dev/full")
        assert ran.status == 1
        assert "No space left" in ran.stderr
        assert "Traceback" not in ran.stderr

    def test_a_traceback_shows_the_users_code_and_not_ours(self, command: Command) -> None:
        text = command.map("jobs:picky", "bad").lines[0]["error"]["traceback"]
        assert "in picky" in text
        assert "_cli" not in text

    def test_a_failing_coroutine_is_reported_alike(self, command: Command) -> None:
        ran = command.map("jobs:rude", "a", "cancelled")
        assert ran.status == 1
        assert ran.errors[0] == "LookupError"
        assert ran.errors[1].endswith("CancelledError")

    @pytest.mark.parametrize("chunksize", ["1", "5"])
    @pytest.mark.parametrize("death", ["exit", "kill"])
    def test_an_input_that_kills_its_worker_costs_only_itself(
        self, command: Command, death: str, chunksize: str
    ) -> None:
        ran = command.map("jobs:mortal", "--chunksize", chunksize, "a", "b", death, "c", "d")
        assert ran.status == 1
        assert [line for line in ran.lines if isinstance(line, str)] == ["a", "b", "c", "d"]
        line = ran.lines[2]
        assert (line["input"], line["index"]) == (death, 2)
        assert line["error"]["type"] == "manyhands.WorkerDied"
        message = line["error"]["message"]
        assert {"exit": "status 7", "kill": "SIGKILL"}[death] in message
        assert "while it ran jobs:mortal" in message

    @pytest.mark.parametrize(
        ("function", "kind"),
        [
            ("leaver", "SystemExit"),
            ("interrupter", "KeyboardInterrupt"),
            ("unpicklable", "jobs.Local"),
            ("mute", "jobs.Mute"),
        ],
    )
    def test_exceptions_of_every_kind_are_reported(
        self, command: Command, function: str, kind: str
    ) -> None:
        ran = command.map(f"jobs:{function}", "a")
        assert (ran.status, ran.errors) == (1, [kind])

    @pytest.mark.parametrize("name", ["set", "nan", "bytes", "function", "loop", "big"])
    def test_a_result_that_json_cannot_express_is_an_error_that_says_so(
        self, command: Command, name: str
    ) -> None:
        ran = command.map("jobs:returning", name)
        assert (ran.status, ran.errors) == (1, ["NotJSON"])
        assert "cannot be written as JSON" in ran.lines[0]["error"]["message"]
        assert ran.lines[0]["input"] == name

    def test_a_line_that_is_not_json_is_an_error_of_that_line(self, command: Command) -> None:
        ran = command.map("jobs:same", "--jsonl", stdin=b"1\n{oops\n\xff\n2\n")
        assert ran.status == 1
        assert [ran.lines[0], ran.lines[3]] == [1, 2]
        assert [line["error"]["type"] for line in ran.lines[1:3]] == ["NotJSON", "NotJSON"]
        assert [line["input"] for line in ran.lines[1:3]] == ["{oops", "\udcff"]

    def test_input_that_cannot_be_read_to_its_end_fails_after_what_was_read(
        self, command: Command
    ) -> None:
        # Reading the memory of a process at address 0 is an error, but opening it is none.
        ran = command.map("jobs:upper", "a", "-f", "/proc/self/mem")
        assert (ran.status, ran.lines) == (1, ["A"])
        assert "Input/output error" in ran.stderr


class TestUsage:
    def test_help_is_written_for_people(self, command: Command) -> None:
        for arguments in (["--help"], ["map", "--help"]):
            done = subprocess.run(
                [sys.executable, "-m", "manyhands", *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            assert "example" in done.stdout
            assert not done.stderr
            assert max(map(len, done.stdout.splitlines())) <= 100

    def test_version_is_that_of_the_package(self, folder: Path) -> None:
        from importlib.metadata import version

        done = subprocess.run(
            [sys.executable, "-m", "manyhands", "--version"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"manyhands {version('manyhands')}\n"

    def test_there_is_a_script_that_finds_modules_in_the_current_directory(
        self, folder: Path
    ) -> None:
        done = subprocess.run(
            [Path(sys.executable).with_name("manyhands"), "map", "jobs:upper", "a"],
            cwd=folder,
            capture_output=True,
            check=True,
        )
        assert done.stdout == b'"A"\n'

    @pytest.mark.parametrize(
        ("line", "explanation"),
        [
            ("", "commands:"),
            ("mop", "no command 'mop'"),
            ("map", "MODULE:FUNCTION"),
            ("map jobs", "Functions in jobs: chatty"),
            ("map jobs:uper", "did you mean upper?"),
            ("map jobs:Shelf.lefft", "Shelf has no function 'lefft'; did you mean lift?"),
            ("map jobs:constant", "not a function but a value of type int"),
            ("map job:upper", "no module named 'job'; did you mean jobs"),
            ("map jsn:loads", "did you mean json"),
            ("map json.decodr:x", "did you mean decoder"),
            ("map jobs.inner:x", "jobs is not a package"),
            ("map no/such.py:x", "there is no file 'no/such.py'"),
            ("map 'what is this'", "MODULE:FUNCTION"),
            ("map broken:function", "ZeroDivisionError"),
            ("map needy:function", "No module named 'nowhere_to_be_found'"),
            ("map jobs:upper --workers 0", "at least 1"),
            ("map jobs:upper --workers 500", "at most 256"),
            ("map jobs:upper --chunksize few", "few"),
            ("map jobs:upper --frobnicate", "--frobnicate"),
            ("map jobs:upper -f missing", "missing: No such file"),
            ("map jobs:upper -f .", "it is a directory"),
            ("map jobs:upper - -f -", "only once"),
            ("map jobs:upper -o no/such/folder a", "cannot write"),
            ("map jobs:upper -f jobs.py -o jobs.py", "is read from"),
        ],
    )
    def test_a_wrong_command_is_explained_and_ends_with_2(
        self, command: Command, line: str, explanation: str
    ) -> None:
        (command.folder / "broken.py").write_text("1 / 0")
        (command.folder / "needy.py").write_text("import nowhere_to_be_found")
        ran = command(*shlex.split(line))
        assert (ran.status, ran.lines) == (2, [])
        assert explanation in ran.stderr
        assert "importlib" not in ran.stderr
        assert "_cli" not in ran.stderr

    def test_a_wrong_command_leaves_the_output_file_alone(self, command: Command) -> None:
        (command.folder / "results").write_text("precious")
        assert command.map("jobs:uper", "a", "-o", "results").status == 2
        assert (command.folder / "results").read_text() == "precious"

    def test_quiet_says_nothing(self, command: Command) -> None:
        (command.folder / "silent.py").write_text("def function(text): pass")
        assert command.map("silent:function", "a", "-q") == (0, [None], "")

    @pytest.mark.parametrize("closed", ["<&-", "2>&-", "2>&- <&-"])
    def test_streams_that_are_closed_are_not_missed_unless_needed(
        self, folder: Path, closed: str
    ) -> None:
        line = f"{sys.executable} -m manyhands map --workers 1 jobs:upper a {closed}"
        done = subprocess.run(["sh", "-c", line], cwd=folder, stdout=subprocess.PIPE, check=True)
        assert done.stdout == b'"A"\n'

    @pytest.mark.parametrize(("closed", "word"), [("<&-", "input"), (">&-", "output")])
    def test_streams_that_are_closed_but_needed_are_named(
        self, folder: Path, closed: str, word: str
    ) -> None:
        line = f"{sys.executable} -m manyhands map --workers 1 jobs:upper {closed}"
        done = subprocess.run(["sh", "-c", line], cwd=folder, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 2
        assert f"there is no standard {word}" in done.stderr.decode()

    def test_a_worker_imports_nothing_of_the_command_line_but_what_it_calls(
        self, command: Command
    ) -> None:
        source = "import sys\ndef loaded(name): return name in sys.modules"
        (command.folder / "probe.py").write_text(source)
        names = ["manyhands._cli_call", "argparse", "manyhands._cli_stream", "tqdm"]
        assert command.map("probe:loaded", *names).lines == [True, False, False, False]

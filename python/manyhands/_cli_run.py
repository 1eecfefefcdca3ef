"""`manyhands run PROGRAM`: an unmodified program, with manyhands in place of the executors.

The program finds all as `python PROGRAM` would leave it: `__main__`, `sys.argv`, `sys.path`, its
exit status, its tracebacks. Processes that `multiprocessing` starts find the program's main module.
Two things differ: `sys.modules` has this package already, and the stack has its frames at the
bottom.
"""

from __future__ import annotations

import builtins
import os
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import ModuleType

from manyhands import _patch
from manyhands._cli import UsageError

TYPE_CHECKING = False  # that of `typing` would add 7 ms to the start of every program
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, TracebackType
    from typing import Any, TypeAlias

    Start: TypeAlias = Callable[[ModuleType], None]
    """Runs the program in this module, and returns at the program's end."""

HELP = """\
Run a program, unchanged, with manyhands in place of the standard library's executors.

usage: manyhands run [OPTIONS] PROGRAM [ARGUMENTS...]
       manyhands run [OPTIONS] -m MODULE [ARGUMENTS...]
       manyhands run [OPTIONS] -c CODE [ARGUMENTS...]

PROGRAM is a Python file, a directory or zip file with a __main__.py, or - for standard input.

options:
  --on-worker-death {replace,break}
                 what a ProcessPoolExecutor does when one of its processes dies: replace it, and
                 fail only the task that it ran (the default); or break, as in the standard library
  -h, --help     show this help

Options of Python itself come before: python -X dev -m manyhands run PROGRAM

for example:
  manyhands run crawler.py --depth 3
"""


def main(arguments: Sequence[str]) -> int | Callable[[], int]:
    """Prepare the program; the caller runs it, outside of whatever it does about errors of ours.

    Raises:
        UsageError: the command was not understood, or there is no such file.
    """
    words = list(arguments)
    on_worker_death: Any = "replace"
    while words and words[0].startswith("-") and words[0] != "-":
        option = words.pop(0)
        name, equals, value = option.partition("=")
        if option in ("-h", "--help"):
            sys.stdout.write(HELP)
            return 0
        if name == "--on-worker-death":
            on_worker_death = value if equals else _value(option, words)
            if on_worker_death not in ("replace", "break"):
                raise UsageError(f"{name} is replace or break, not {on_worker_death!r}")
        elif option[:2] in ("-m", "-c"):  # the value may be attached, as with python
            text = option[2:] or _value(option, words)
            start = _module(text, words) if option[1] == "m" else _command(text, words)
            break
        elif option == "--":
            start = _program(words)
            break
        else:
            raise UsageError(f"there is no option {option!r}: see manyhands run --help")
    else:
        start = _program(words)
    return lambda: _run(start, on_worker_death)


def _value(option: str, words: list[str]) -> str:
    if not words:
        raise UsageError(f"{option} lacks its value: see manyhands run --help")
    return words.pop(0)


# --- what is to be run ---------------------------------------------------------------------------
# Each of these reads what may be missing at once, and returns what runs it. The differences between
# them are those of python's own command line (see "Interface options" in its documentation).


def _program(words: list[str]) -> Start:
    if not words:
        raise UsageError("run needs a program: see manyhands run --help")
    name = words[0]
    if name == "-":
        source = sys.stdin.buffer.read()
        _arguments(words, "")
        return lambda main: _execute_source(main, source, "<stdin>", file="<stdin>")
    path = os.path.join(os.getcwd(), name) if name != "." else os.getcwd()
    if _has_modules(path):
        _arguments(words, path, safe=True)
        return lambda _: _run_module("__main__", False)
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise UsageError(f"can't open file {path!r}: {error.strerror}") from None
    _arguments(words, os.path.dirname(os.path.realpath(path)))
    if path.endswith(".pyc"):
        loader = SourcelessFileLoader("__main__", path)
        return lambda main: _execute_compiled(main, loader, path)
    return lambda main: _execute_source(
        main, source, path, file=path, loader=SourceFileLoader("__main__", path)
    )


def _module(name: str, words: list[str]) -> Start:
    # Its file is not known yet: until then the first argument is "-m", as with python.
    _arguments(["-m", *words], os.getcwd())
    return lambda _: _run_module(name, True)


def _command(code: str, words: list[str]) -> Start:
    _arguments(["-c", *words], "")
    if sys.version_info >= (3, 13):  # from then on tracebacks show its lines
        import linecache

        linecache.cache["<string>"] = (len(code), None, code.splitlines(True), "<string>")
    return lambda main: _execute_source(main, code.encode(), "<string>")


def _arguments(argv: list[str], path: str, safe: bool = False) -> None:
    """What the program finds in `sys.argv`, and where it imports from first.

    With `python -P` that place is not on the path, unless it is `safe`: the program itself.
    """
    sys.argv = list(argv)
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif safe:
        sys.path.insert(0, path)


def _has_modules(path: str) -> bool:
    """Whether modules can be imported from there: a directory, a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


# --- running it ----------------------------------------------------------------------------------


def _run(start: Start, on_worker_death: _patch.OnWorkerDeath) -> int:
    """Run the program to its end; the status, if it comes to an end without an error."""
    main = ModuleType("__main__")
    main.__dict__.update(__loader__=BuiltinImporter, __builtins__=builtins, __spec__=None)
    if sys.version_info < (3, 14):  # from then on they are made when asked for (PEP 649)
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    _patch.patch(on_worker_death=on_worker_death)
    try:
        start(main)
    except SystemExit:
        raise
    except BaseException:
        # The interpreter itself reports it, and ends as it always does (after Ctrl-C: by the
        # signal).
        _report_without_our_frames()
        raise
    return 0


def _execute_source(
    main: ModuleType, source: bytes, name: str, file: str | None = None, loader: Any = None
) -> None:
    _describe(main, file, loader)
    _execute(compile(source, name, "exec", dont_inherit=True), main)


def _execute_compiled(main: ModuleType, loader: SourcelessFileLoader, path: str) -> None:
    _describe(main, path, loader)
    code = loader.get_code("__main__")
    assert code is not None  # it raises where there is none
    _execute(code, main)


def _describe(main: ModuleType, file: str | None, loader: Any) -> None:
    if loader is not None:
        main.__loader__ = loader
    if file is not None:
        main.__file__ = file
        if sys.version_info < (3, 15):
            main.__cached__ = None  # type: ignore[attr-defined]


def _execute(code: CodeType, main: ModuleType) -> None:
    exec(code, main.__dict__)


def _run_module(name: str, alter_argv: bool) -> None:
    import runpy

    # It is what the interpreter calls for `python -m`, and for directories and zip files.
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


OURS = {_execute.__code__, _run_module.__code__}
"""Each of these calls the program; the frames outside of it are not the program's."""


def _report_without_our_frames() -> None:
    """Has the next uncaught exception reported as if the program had been run by python."""
    hook = getattr(sys, "excepthook", None)
    if hook is None:  # the program has deleted it, and gets to see what the interpreter then shows
        return

    def excepthook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        sys.excepthook = hook
        shown = _inside(trace)
        error.__traceback__ = sys.last_traceback = shown
        hook(kind, error, shown)

    sys.excepthook = excepthook


def _inside(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is the program's; nothing, if it could not be compiled."""
    while trace is not None and trace.tb_frame.f_code not in OURS:
        trace = trace.tb_next
    return trace.tb_next if trace is not None else None

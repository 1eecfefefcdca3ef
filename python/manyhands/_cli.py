"""The command line, `manyhands COMMAND …` or `python -m manyhands COMMAND …`.

Every command is a module of its own with `main(arguments) -> exit status`, imported only when asked
for: a worker of the console script imports this module too, and should have it for nothing. A
command that runs somebody else's program returns what runs it in place of a status.

Exit status: 0 all went well, 1 something failed and was reported, 2 the command was not understood,
130 interrupted (Ctrl-C), 141 nobody reads the output any more (`| head`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

HELP = """\
Run work on every core from the command line.

usage: manyhands COMMAND ...
       manyhands COMMAND --help

commands:
  map         call a function for each input; print each result as a line of JSON
  run         run a program, unchanged, on manyhands

options:
  -h, --help  show this help
  --version   show the version

for example:
  seq 1 20 | manyhands map --jsonl math:factorial
  manyhands run program.py
"""

COMMANDS = {"map": "manyhands._cli_map", "run": "manyhands._cli_run"}

FAILED, USAGE, INTERRUPTED, NO_READER = 1, 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE


class UsageError(Exception):
    """The command cannot be carried out as given; the text tells the user what to change."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` without the program's name. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        ended = _dispatch(words)
    except UsageError as error:
        complain(error)
        return USAGE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return NO_READER
    return ended if isinstance(ended, int) else ended()


def complain(message: object) -> None:
    """One line (or what the error needs) on standard error, which may be gone."""
    if sys.stderr is not None:  # or print would take standard output
        with contextlib.suppress(OSError):
            print(f"manyhands: {message}", file=sys.stderr, flush=True)


def hard_interrupts() -> None:
    """From now on one more Ctrl-C ends the process at once: the first already began the end.

    Nothing is lost by it, since workers end with their parent.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def _dispatch(words: list[str]) -> int | Callable[[], int]:
    command, *rest = words or [""]
    if command in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if command in ("-V", "--version"):
        from importlib.metadata import version

        print("manyhands", version("manyhands"))
        return 0
    if command not in COMMANDS:
        sys.stderr.write(HELP)
        if command:
            raise UsageError(f"there is no command {command!r}")
        return USAGE
    from importlib import import_module

    ended: int | Callable[[], int] = import_module(COMMANDS[command]).main(rest)
    return ended

"""`manyhands map`: its options, and the order in which a run is set up and ended."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence

from manyhands._cli import FAILED, INTERRUPTED, NO_READER, complain, hard_interrupts
from manyhands._cli_inputs import Inputs, without_blanks
from manyhands._cli_output import Report, open_results, take_standard_streams
from manyhands._engine import MAX_WORKERS

USAGE = """manyhands map [options] MODULE:FUNCTION [INPUT ...]"""

DESCRIPTION = """\
Call a function for each input, on every core, and print each result as a line of JSON.

The function takes one argument and is a `def` or an `async def`. MODULE is a dotted name, or the
path of a file, in the current directory or wherever Python finds modules.

Each INPUT is passed as text. Without any, the lines of standard input are the inputs; they are
followed live, so a result appears as soon as it is there. An INPUT of - also means the lines of
standard input. With --jsonl every input is a line of JSON, and what it holds is passed.
"""

EPILOG = """\
output:
  One line of JSON for each input, in the order of the inputs. An input that fails does not stop the
  run; its line is
      {"error": {"type": ..., "message": ..., "traceback": ...}, "input": ..., "index": ...}
  where index counts the inputs from 0. So it is if the function ends its whole process: only that
  input fails. What the function prints goes to standard error.

exit status:
  0 all inputs succeeded    1 some failed    2 the command is wrong    130 interrupted (Ctrl-C)

examples:
  manyhands map thumbnails:make *.jpg                  inputs as arguments
  find . -name '*.py' | manyhands map audit.py:check   inputs as they come from a pipe
  manyhands map --concurrency 100 crawl:fetch -f urls.txt -o pages.jsonl
                                                       100 coroutines at once in each process
  seq 1 20 | manyhands map --jsonl math:factorial      numbers instead of text
  manyhands map audit:check -f files.txt | jq -c 'select(.error?)'
                                                       only what failed
"""


def main(arguments: Sequence[str]) -> int:
    """Run `manyhands map` and return its exit status."""
    options = _parse(arguments)
    stdin, stdout = take_standard_streams()

    # Only now, so that whatever these print or start finds the streams already replaced.
    from manyhands import Pool
    from manyhands._cli_call import Job
    from manyhands._cli_stream import Aborted, Stream
    from manyhands._cli_target import find, is_coroutine_function

    inputs = Inputs(options.inputs, options.file, stdin)
    target, function = find(options.target)
    coroutine = is_coroutine_function(function)
    on_terminal = not options.quiet and sys.stderr is not None and sys.stderr.isatty()
    report = Report(
        open_results(options.output, stdout, inputs.files),
        total=inputs.total,
        bar=on_terminal and not inputs.typed,
        summary=not options.quiet,
    )
    if on_terminal and inputs.typed:
        complain("type one input a line, Ctrl-D after the last")

    try:
        with Pool(options.workers, concurrency=options.concurrency, name="map") as pool:
            outcomes = Stream(
                pool,
                Job(target, options.jsonl, options.with_input),
                without_blanks(inputs.bursts()) if options.jsonl else inputs.bursts(),
                coroutine=coroutine,
                chunksize=options.chunksize,
                window=_window(options, coroutine),
                ordered=not options.unordered,
            )
            with _ending_at_once():
                for outcome in outcomes:
                    if outcome is None:
                        report.flush()
                    else:
                        report.add(*outcome)
                report.flush()
        report.close()
    except KeyboardInterrupt:
        report.close("interrupted: ")
        return INTERRUPTED
    except SystemExit:
        report.abandon()
        return NO_READER
    except (Aborted, OSError) as error:
        complain(error)
        try:
            report.close()
        except OSError:
            # It was that which went wrong.
            report.abandon()
        return FAILED
    return FAILED if report.failed else 0


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """Leave the pool in the way that ends its workers without waiting for what they do."""
    try:
        yield
    except KeyboardInterrupt:
        hard_interrupts()
        raise
    except BrokenPipeError:
        raise SystemExit(NO_READER) from None


def _window(options: argparse.Namespace, coroutine: bool) -> int:
    """How many inputs may be in flight: enough that a slow one in front keeps nobody idle."""
    from manyhands import usable_cores
    from manyhands._cli_stream import INPUTS_IN_FLIGHT

    workers: int = options.workers or usable_cores()
    at_once: int = workers * (options.concurrency if coroutine else 1) * (options.chunksize or 1)
    return max(INPUTS_IN_FLIGHT, 4 * at_once)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manyhands map",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    add = parser.add_argument_group("inputs").add_argument
    add(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="read inputs from the lines of FILE, after the INPUTs; may be given more than once",
    )
    add("--jsonl", action="store_true", help="inputs are JSON; blank lines are left out")

    add = parser.add_argument_group("results").add_argument
    add("-o", "--output", metavar="FILE", help="write results to FILE, not to standard output")
    add("--unordered", action="store_true", help="print each result as soon as it is there")
    add(
        "--with-input",
        action="store_true",
        help='print {"input": ..., "result": ...} in place of the result alone',
    )
    add("-q", "--quiet", action="store_true", help="no progress bar and no summary")

    add = parser.add_argument_group("workers").add_argument
    add("--workers", type=_positive, metavar="N", help="processes (default: the usable cores)")
    add(
        "--concurrency",
        type=_positive,
        default=16,
        metavar="N",
        help="coroutines at once in each process (default: 16)",
    )
    add(
        "--chunksize",
        type=_positive,
        metavar="N",
        help="hand inputs over in groups of up to N (default: by what they cost)",
    )

    # What follows -- is never an option; argparse versions disagree on it among inputs.
    arguments = list(arguments)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_intermixed_args(arguments[:split])
    words = options.words + arguments[split + 1 :]
    if not words:
        parser.error("which function? Name it as MODULE:FUNCTION")
    if options.workers is not None and options.workers > MAX_WORKERS:
        parser.error(f"argument --workers: must be at most {MAX_WORKERS}, not {options.workers}")
    options.target, *options.inputs = words
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


_positive.__name__ = "number"  # argparse: "invalid number value: 'x'"

"""What `manyhands map` shows: the lines of results, the progress bar, the summary.

The process's own standard output and input are put out of reach first, before anything is imported
or started: what the function prints, in whichever process, goes to standard error and never
between the results, and what it reads (or a program that it starts) never swallows inputs.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from manyhands._cli import UsageError, complain

if TYPE_CHECKING:
    from tqdm import tqdm

STDIN, STDOUT, STDERR = 0, 1, 2


def take_standard_streams() -> tuple[int | None, int | None]:
    """Private copies of standard input and output (None: closed), for this process alone."""
    stdin, stdout, stderr = map(_copy, (STDIN, STDOUT, STDERR))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, STDIN)
    os.dup2(null if stderr is None else stderr, STDOUT)
    if stderr is None:
        os.dup2(null, STDERR)
    for descriptor in (null, stderr):
        if descriptor is not None and descriptor > STDERR:
            os.close(descriptor)
    return stdin, stdout


def _copy(descriptor: int) -> int | None:
    """A copy that is not in the place of a standard stream, should one of those be closed."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    except OSError:
        return None


def open_results(name: str | None, stdout: int | None, inputs: list[str]) -> BinaryIO:
    """The file that results are written to: `name`, or standard output."""
    if name is None or name in ("-", "/dev/stdout"):
        if stdout is None:
            raise UsageError("there is no standard output; name a file with -o FILE")
        return os.fdopen(stdout, "wb")
    for source in inputs:
        if source != "-" and os.path.exists(name) and os.path.samefile(name, source):
            raise UsageError(f"{name} is read from, and cannot be written at the same time")
    try:
        return open(name, "wb")
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from error


class Report:
    """Results out, and word of how it goes on standard error."""

    def __init__(self, results: BinaryIO, *, total: int | None, bar: bool, summary: bool) -> None:
        """`total`: how many inputs there are, if that is known."""
        self._results = results
        self._summary = summary
        self._began = time.monotonic()
        self._bar: tqdm[Any] | None = None
        if bar:
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no helper thread
            self._bar = tqdm(total=total, unit=" inputs", dynamic_ncols=True, leave=False)
        # A bar and lines on the same screen make room for each other.
        self._one_screen = bar and results.isatty()
        self.done = self.failed = 0

    def add(self, ok: bool, line: bytes) -> None:
        """Take one line of output; it may stay in the buffer until `flush`."""
        self._results.write(line + b"\n")
        if ok:
            self.done += 1
        else:
            self.failed += 1
        if self._bar is not None:
            if self.failed:
                self._bar.set_postfix(failed=self.failed, refresh=False)
            self._bar.update()

    def flush(self) -> None:
        """Show what was taken: it may be a while until more comes."""
        if self._bar is not None and self._one_screen:
            self._bar.clear()
        self._results.flush()
        if self._bar is not None:
            self._bar.refresh()

    def close(self, remark: str = "") -> None:
        """Write the rest, and the summary, which `remark` precedes.

        Raises:
            OSError: the rest cannot be written.
        """
        if self._bar is not None:
            self._bar.close()
        self._results.close()
        if self._summary:
            seconds = time.monotonic() - self._began
            rate = (self.done + self.failed) / max(seconds, 1e-9)
            complain(
                f"{remark}{self.done} done, {self.failed} failed in {seconds:.1f} s ({rate:,.0f}/s)"
            )

    def abandon(self) -> None:
        """End without a word, as nobody reads the results any more."""
        self._summary = False
        try:
            self.close()
        except OSError:
            pass

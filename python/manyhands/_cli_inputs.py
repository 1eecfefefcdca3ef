"""Where the inputs of `manyhands map` come from: arguments, files, standard input.

Inputs arrive in bursts: all the lines that can be had without waiting, so that a reader may group
them and yet holds none back while it waits for the next.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from manyhands._cli import UsageError

READ_SIZE = 1 << 18
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Inputs:
    """The inputs of a run: first the arguments, then the lines of each file; `-` means stdin."""

    def __init__(self, arguments: Sequence[str], files: Sequence[str], stdin: int | None) -> None:
        """`stdin` is the descriptor to read standard input from, None if it was closed."""
        self._sources: list[Sequence[bytes] | str] = []
        words = list(arguments) if arguments or files else ["-"]
        for word in words:
            if word == "-":
                self._sources.append("-")
            else:
                self._sources.append([os.fsencode(word)])
        # Its other name would lead to what `take_standard_streams` has put in its place.
        self._sources += ["-" if name == "/dev/stdin" else name for name in files]
        self._stdin = stdin
        self._check()

    @property
    def total(self) -> int | None:
        """How many there are, if that is known before reading."""
        return None if self.files else len(self._sources)

    @property
    def files(self) -> list[str]:
        """What is read: names of files, `-` among them for standard input."""
        return [source for source in self._sources if isinstance(source, str)]

    @property
    def typed(self) -> bool:
        """Whether a person types them."""
        return "-" in self.files and self._stdin is not None and os.isatty(self._stdin)

    def bursts(self) -> Iterator[Sequence[bytes]]:
        """The inputs, in order."""
        arguments: list[bytes] = []
        for source in self._sources:
            if not isinstance(source, str):
                arguments += source
                continue
            if arguments:
                yield arguments
                arguments = []
            if source == "-":
                assert self._stdin is not None, "checked at the beginning"
                yield from lines(self._stdin)
            else:
                descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    yield from lines(descriptor)
                finally:
                    os.close(descriptor)
        if arguments:
            yield arguments

    def _check(self) -> None:
        """Complain before the work begins, not in the middle."""
        if self.files.count("-") > 1:
            raise UsageError("standard input can be read only once")
        if "-" in self.files and self._stdin is None:
            raise UsageError("there is no standard input; give inputs as arguments or with -f FILE")
        for name in self.files:
            if name == "-":
                continue
            try:
                mode = os.stat(name).st_mode
            except OSError as error:
                raise UsageError(f"cannot read {name}: {error.strerror}") from error
            if stat.S_ISDIR(mode):
                raise UsageError(f"cannot read {name}: it is a directory")
            if not os.access(name, os.R_OK):
                raise UsageError(f"cannot read {name}: permission denied")


def lines(descriptor: int) -> Iterator[Sequence[bytes]]:
    """Bursts of lines, without their ends, as soon as they can be had.

    Reads the descriptor itself: a buffered file would hold lines back, and a thread that blocks in
    one of those upsets the end of the interpreter.
    """
    pieces: list[bytes] = []  # of a line whose end is yet to come
    start = True
    while block := os.read(descriptor, READ_SIZE):
        if start:
            block, start = block.removeprefix(BYTE_ORDER_MARK), False
        head, *rest = block.split(b"\n")
        pieces.append(head)
        if rest:
            *whole, last = rest
            yield [line.removesuffix(b"\r") for line in (b"".join(pieces), *whole)]
            pieces = [last]
    if unfinished := b"".join(pieces):
        yield [unfinished.removesuffix(b"\r")]


def without_blanks(bursts: Iterable[Sequence[bytes]]) -> Iterator[Sequence[bytes]]:
    """Leave out empty lines, as JSON Lines allows them."""
    for burst in bursts:
        if kept := [line for line in burst if line.strip()]:
            yield kept

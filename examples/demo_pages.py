"""The demo's work: fetch one source file over HTTP (waiting), then take it apart (computing).

Fetching comes in both usual forms, blocking and as a coroutine; taking apart is the same
plain function for all. A file that is no valid Python is an answer too, never an error here.
"""

from __future__ import annotations

import ast
import asyncio
import io
import threading
import time
import tokenize
import urllib.request
import warnings
import zlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Old test files hold escapes such as "\d", and to say so is not this program's business.
warnings.filterwarnings("ignore", category=SyntaxWarning)

# Until CPython 3.11.8, `ast.parse` in two threads at once can fail with a SystemError
# (python/cpython#106905). The GIL lets only one thread compute anyway, so this lock costs nothing.
one_parser_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Page:
    """What was found in one source file."""

    url: str
    size: int
    compressed: int
    nodes: int = 0
    tokens: int = 0
    error: str = ""
    cpu_seconds: float = field(default=0.0, compare=False)


def parse(url: str, source: bytes) -> Page:
    """Count syntax nodes and tokens, and compress: some 20 ms of real work for one core."""
    start = time.thread_time()
    nodes = tokens = 0
    error = ""
    try:
        nodes = sum(1 for _ in ast.walk(ast.parse(source)))
        tokens = sum(1 for _ in tokenize.tokenize(io.BytesIO(source).readline))
    except (SyntaxError, ValueError, tokenize.TokenError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    compressed = len(zlib.compress(source, level=9))
    return Page(
        url, len(source), compressed, nodes, tokens, error, cpu_seconds=time.thread_time() - start
    )


def fetch_blocking(url: str) -> bytes:
    """The body at `url`; the calling thread waits for it."""
    with urllib.request.urlopen(url) as response:
        body: bytes = response.read()
    return body


async def fetch(url: str) -> bytes:
    """The body at `url`; other coroutines go on meanwhile."""
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        writer.write(f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *headers = head.decode("latin-1").splitlines()
        if status_line.split()[1] != "200":
            raise OSError(f"{url}: {status_line}")
        length = next(int(h.split(":")[1]) for h in headers if h.startswith("Content-Length:"))
        return await reader.readexactly(length)
    finally:
        writer.close()


def fetch_and_parse_blocking(url: str) -> Page:
    """Wait for the page at `url`, then take it apart."""
    source = fetch_blocking(url)
    with one_parser_at_a_time:
        return parse(url, source)


async def fetch_and_parse(url: str) -> Page:
    """The same as a coroutine: only the waiting overlaps with other coroutines."""
    return parse(url, await fetch(url))

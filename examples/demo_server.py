"""A small web server for the demo: the standard library's source files, each after a delay.

It guarantees that it does not outlive the program that started it: it ends when its standard
input does, and the system closes that pipe even if the other program was killed.

The first line on standard output is the port. `GET /` answers with one path per line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import sysconfig
import zlib
from pathlib import Path
from urllib.parse import quote


def standard_library() -> dict[str, Path]:
    """The source files of the running Python, by URL path."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    return {
        "/" + quote(file.relative_to(root).as_posix()): file
        for file in sorted(root.rglob("*.py"))
        if skipped.isdisjoint(file.relative_to(root).parts)
    }


def delay_of(path: str, mean: float) -> float:
    """Seconds to wait before answering: within 30 % of `mean`, and the same in every run."""
    return mean * (0.7 + 0.6 * (zlib.crc32(path.encode()) % 1000) / 999)


async def serve(delay: float) -> None:
    """Answer requests until standard input ends. `delay` is the mean, in seconds."""
    files = standard_library()
    index = "\n".join(files).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Clients may leave at any moment, and this server be told to end: neither is an error.
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(maxsplit=2)[1].decode("ascii")
            if path == "/":
                status, body = "200 OK", index
            else:
                await asyncio.sleep(delay_of(path, delay))
                file = files.get(path)
                status, body = ("200 OK", file.read_bytes()) if file else ("404 Not Found", b"")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()

    # The backlog must hold a burst of connections: a refused one would be retried only after 1 s.
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    with contextlib.suppress(BrokenPipeError):
        print(server.sockets[0].getsockname()[1], flush=True)
    stdin_ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stdin_ended.set)
    await stdin_ended.wait()


def main() -> None:
    """Run the server; `python examples/demo.py` starts it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=45, help="mean milliseconds per request")
    options = parser.parse_args()
    asyncio.run(serve(options.delay / 1000))


if __name__ == "__main__":
    main()

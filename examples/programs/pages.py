"""A small site on this machine, for the programs that fetch pages.

It counts how many requests it answers at once. It can answer only when so many came together
(`party`), or hold each page back until it is released (`held`), so that programs show what overlaps
without measuring time; or take some seconds for each page (`delay`).
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

PATIENCE = 60  # seconds until a page gives up waiting; only when something is wrong


class Site:
    """Pages `/0`, `/1`, …, served while the `with` block runs."""

    def __init__(self, party: int = 1, held: bool = False, delay: float = 0) -> None:
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._party = threading.Barrier(party)
        self._held = held
        self._delay = delay
        self._released: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site._answer(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """No log."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def url(self, number: int) -> str:
        """The address of a page."""
        return f"http://127.0.0.1:{self._server.server_port}/{number}"

    def release(self, number: int) -> None:
        """Lets a page that is held go out."""
        self._event(f"/{number}").set()

    def _event(self, path: str) -> threading.Event:
        with self._lock:
            return self._released[path]

    def _answer(self, path: str) -> bytes:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self._delay)
            self._party.wait(PATIENCE)
            if self._held and not self._event(path).wait(PATIENCE):
                raise TimeoutError(f"nobody released {path}")
        finally:
            with self._lock:
                self._at_once -= 1
        return f"<title>Page {path[1:]}</title>".encode() + b"<p>text</p>" * int(path[1:])

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> str:
    """A page's text; blocks until it is there."""
    with _direct.open(url, timeout=PATIENCE) as response:
        text: str = response.read().decode()
    return text


def title(page: str) -> str:
    """What stands between a page's title tags."""
    return page.partition("<title>")[2].partition("</title>")[0]

"""One job, four ways: fetch the standard library's source files over HTTP and parse each.

Waiting for the network overlaps with coroutines or threads; parsing needs cores. A pool of
processes that runs coroutines has both, and takes the fewest lines: see `with_manyhands`.

    python examples/demo.py
    python examples/demo.py --files 300 --delay 100
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from demo_pages import Page, fetch_and_parse, fetch_and_parse_blocking, fetch_blocking
from tqdm import tqdm

import manyhands as mh

AT_ONCE = 32  # requests that each concurrent way keeps in flight
SAMPLE = 60  # files for the slowest way; its time is extrapolated
SHOW_PROGRESS = sys.stderr.isatty()

T = TypeVar("T")


# --- the four ways -----------------------------------------------------------------------------


def one_by_one(urls: Sequence[str]) -> list[Page]:
    """Wait, compute, wait, compute."""
    return [fetch_and_parse_blocking(url) for url in progress(urls, len(urls))]


def with_asyncio(urls: Sequence[str]) -> list[Page]:
    """Waiting overlaps; parsing holds up the only loop."""

    async def main() -> list[Page]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def limited(url: str) -> Page:
            async with slots:
                page = await fetch_and_parse(url)
            bar.update()
            return page

        with tqdm(total=len(urls), disable=not SHOW_PROGRESS, leave=False) as bar:
            return await asyncio.gather(*map(limited, urls))

    return asyncio.run(main())


def with_threads(urls: Sequence[str]) -> list[Page]:
    """Waiting overlaps; parsing takes turns, because of the GIL."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(progress(pool.map(fetch_and_parse_blocking, urls), len(urls)))


def with_manyhands(urls: Sequence[str], workers: int | None = None) -> list[Page]:
    """Waiting overlaps within every worker (16 coroutines each by default), and all cores parse."""
    with mh.Pool(workers) as pool:
        return list(pool.map(fetch_and_parse, urls, progress=SHOW_PROGRESS))


# --- the comparison ----------------------------------------------------------------------------


class Run(NamedTuple):
    """One way's outcome. `seconds` covers everything, also starting and ending the pool."""

    name: str
    seconds: float
    pages: list[Page]

    def seconds_for(self, files: int) -> float:
        """The time for `files` files; exact if that is how many there were."""
        return self.seconds * files / len(self.pages)

    def busy_cores(self) -> float:
        """How many cores were parsing, on average."""
        return sum(page.cpu_seconds for page in self.pages) / self.seconds


def timed(name: str, way: Callable[[Sequence[str]], list[Page]], urls: Sequence[str]) -> Run:
    """Run one way and say on standard error how long it took."""
    note(f"{name}: {len(urls)} files ...")
    start = time.perf_counter()
    pages = way(urls)
    run = Run(name, time.perf_counter() - start, pages)
    note(f"{name}: {run.seconds:.1f} s")
    return run


def disagreements(runs: Sequence[Run]) -> list[str]:
    """The files on which two ways gave different answers; none, if all is well."""
    answers: dict[str, set[Page]] = {}
    for run in runs:
        for page in run.pages:
            answers.setdefault(page.url, set()).add(page)
    return [url for url, different in answers.items() if len(different) > 1]


def table(runs: Sequence[Run], files: int) -> str:
    """One line for each way, compared with the last."""
    ours = runs[-1].seconds_for(files)
    lines = [f"{'way':<22}{'time':>10}{'files/s':>9}{'cores parsing':>15}{'takes':>9}"]
    lines.append("-" * len(lines[0]))
    for run in runs:
        seconds = run.seconds_for(files)
        mark = "~" if len(run.pages) < files else ""
        lines.append(
            f"{run.name:<22}{mark + format(seconds, '.1f'):>8} s{files / seconds:>9.0f}"
            f"{run.busy_cores():>15.2f}{seconds / ours:>7.1f} x"
        )
    return "\n".join(lines)


def compare(all_urls: Sequence[str], files: int, workers: int | None) -> int:
    """Run the four ways and print what came of it. The exit status: 0 if all answers agree."""
    urls = evenly(all_urls, files)
    sample = evenly(urls, SAMPLE)
    runs = [
        timed("one by one", one_by_one, sample),
        timed("asyncio alone", with_asyncio, urls),
        timed("ThreadPoolExecutor", with_threads, urls),
        timed("manyhands", lambda some: with_manyhands(some, workers), urls),
    ]
    wrong = disagreements(runs)
    if wrong or any(len(run.pages) != len(urls) for run in runs[1:]):
        print(f"The answers DISAGREE on {len(wrong)} files, such as {wrong[:3]}")
        return 1

    pages = runs[-1].pages
    print(
        f"\n{len(pages):,} files, {sum(page.size for page in pages) / 1e6:.1f} MB, "
        f"{sum(page.nodes for page in pages):,} syntax nodes, "
        f"{sum(page.tokens for page in pages):,} tokens; "
        f"{sum(1 for page in pages if page.error)} files are no valid Python.\n"
    )
    print(table(runs, len(urls)))
    if len(sample) < len(urls):
        print(f"\n~ extrapolated from {len(sample)} files, spread over the whole set.")
    _, asyncio_alone, threads, ours = runs
    print(
        f"\nAll answers agree. All but the first overlap the waiting. On average, coroutines kept "
        f"{asyncio_alone.busy_cores():.1f}\n"
        f"cores parsing, threads {threads.busy_cores():.1f}, and manyhands "
        f"{ours.busy_cores():.1f}, with the coroutine unchanged."
    )
    return 0


# --- what the comparison needs -----------------------------------------------------------------


@contextlib.contextmanager
def server(delay: float) -> Iterator[str]:
    """The address of a server in a process of its own, for as long as the block runs."""
    program = Path(__file__).with_name("demo_server.py")
    with subprocess.Popen(
        [sys.executable, str(program), "--delay", str(delay)],
        stdin=subprocess.PIPE,  # the server ends when this pipe closes, whatever happens here
        stdout=subprocess.PIPE,
        process_group=0,  # out of reach of Ctrl-C, which is for this program
        text=True,
    ) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the demo's server did not start; its error is above")
        yield f"http://127.0.0.1:{port}"


def evenly(items: Sequence[str], count: int) -> list[str]:
    """`count` of the items, evenly spread; all of them if there are fewer."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def progress(items: Iterable[T], total: int) -> Iterable[T]:
    """Show a bar on standard error while the items are consumed, if that is a terminal."""
    bar: Iterable[T] = tqdm(items, total=total, disable=not SHOW_PROGRESS, leave=False)
    return bar


def note(text: str) -> None:
    """Tell someone who waits what is going on."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Parse the options, start the server, compare."""
    parser = argparse.ArgumentParser(
        description="Fetch the standard library's source files over HTTP and parse each: "
        "one by one, with asyncio, with threads, and with manyhands. Takes about a minute.",
    )
    parser.add_argument(
        "--files", type=int, default=1200, metavar="N", help="how many files (default: %(default)s)"
    )
    parser.add_argument(
        "--delay",
        type=float,
        default=45,
        metavar="MS",
        help="how long the server waits before it answers, on average (default: %(default)s ms)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes for manyhands (default: one for each usable core)",
    )
    options = parser.parse_args()
    if options.files < 1 or options.delay < 0:
        parser.error("--files must be at least 1, and --delay at least 0")
    try:
        with server(options.delay) as address:
            urls = [address + path for path in fetch_blocking(address + "/").decode().split()]
            return compare(urls, options.files, options.workers)
    except KeyboardInterrupt:
        note("\ninterrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())

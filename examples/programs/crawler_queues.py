"""A crawler: 3 threads fetch, 2 parse, through two queues into one file."""

import queue
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

from pages import Site, fetch, title

PAGES, FETCHERS, PARSERS = 30, 3, 2
END = None
file_lock = threading.Lock()


def fetch_all(urls, texts):
    while (url := urls.get()) is not END:
        texts.put(fetch(url))


def parse_all(texts, file):
    count = 0
    while (text := texts.get()) is not END:
        with file_lock:
            print(title(text), file=file)
        count += 1
    return count


def main():
    urls, texts = queue.Queue(), queue.Queue(maxsize=4)
    with (
        tempfile.TemporaryFile("w+") as file,
        Site() as site,
        ThreadPoolExecutor(FETCHERS + PARSERS) as executor,
    ):
        fetchers = [executor.submit(fetch_all, urls, texts) for _ in range(FETCHERS)]
        parsers = [executor.submit(parse_all, texts, file) for _ in range(PARSERS)]
        for number in range(PAGES):
            urls.put(site.url(number))
        for _ in fetchers:
            urls.put(END)
        for fetcher in fetchers:
            fetcher.result()
        for _ in parsers:
            texts.put(END)
        parsed = sum(parser.result() for parser in parsers)
        file.seek(0)
        lines = file.read().splitlines()
    print(f"{PAGES} pages fetched, {parsed} parsed, {len(lines)} lines in the file")
    assert parsed == PAGES
    assert sorted(lines) == sorted(f"Page {number}" for number in range(PAGES))


main()

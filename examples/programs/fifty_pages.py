"""50 pages fetched one by one, then by ten threads.

Times go to standard error; they depend on the machine.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pages import Site, fetch, title

PAGES, THREADS = 50, 10
DELAY = 0.01  # seconds that the site takes for a page


def timed(how, call):
    start = time.perf_counter()
    result = call()
    print(f"{how}: {time.perf_counter() - start:.2f} s", file=sys.stderr)
    return result


def main():
    with Site(delay=DELAY) as site:
        urls = [site.url(number) for number in range(PAGES)]
        slowly = timed("one by one", lambda: [fetch(url) for url in urls])
        print(f"one by one: {len(slowly)} pages, {site.most_at_once} request at a time")
        assert site.most_at_once == 1

    # This site answers only when ten requests have come together.
    with Site(party=THREADS, delay=DELAY) as site, ThreadPoolExecutor(THREADS) as executor:
        urls = [site.url(number) for number in range(PAGES)]
        fast = timed("by threads", lambda: list(executor.map(fetch, urls)))
        print(f"by threads: {len(fast)} pages, {site.most_at_once} requests at a time")
        assert site.most_at_once == THREADS

    assert fast == slowly
    assert [title(page) for page in fast] == [f"Page {number}" for number in range(PAGES)]


main()

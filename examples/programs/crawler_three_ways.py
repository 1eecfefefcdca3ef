"""Pages by `map`, by `submit` and by `as_completed`: order kept, or order of completion."""

from concurrent.futures import ThreadPoolExecutor, as_completed

from pages import Site, fetch, title

PAGES = 5
WANTED = [f"Page {number}" for number in range(PAGES)]


def main():
    with Site() as site, ThreadPoolExecutor(PAGES) as executor:
        urls = [site.url(number) for number in range(PAGES)]

        by_map = [title(page) for page in executor.map(fetch, urls)]
        print("map:         ", ", ".join(by_map))
        assert by_map == WANTED

        futures = [executor.submit(fetch, url) for url in urls]
        by_submit = [title(future.result()) for future in futures]
        print("submit:      ", ", ".join(by_submit))
        assert by_submit == WANTED

    # This site holds each page until it is released: the last one first.
    with Site(held=True) as site, ThreadPoolExecutor(PAGES) as executor:
        futures = {executor.submit(fetch, site.url(number)): number for number in range(PAGES)}
        to_release = iter(range(PAGES - 1, -1, -1))
        site.release(next(to_release))
        completed = []
        for future in as_completed(futures, timeout=60):
            completed.append(title(future.result()))
            assert completed[-1] == f"Page {futures[future]}"
            site.release(next(to_release, 0))
        print("as_completed:", ", ".join(completed))
        assert completed == WANTED[::-1]


main()

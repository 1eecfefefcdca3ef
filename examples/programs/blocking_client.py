"""A blocking HTTP client under asyncio, on the default executor: the loop stays free meanwhile."""

import asyncio

from pages import Site, fetch, title

PAGES = 5


async def main():
    loop = asyncio.get_running_loop()
    with Site(held=True) as site:
        fetches = [loop.run_in_executor(None, fetch, site.url(n)) for n in range(PAGES)]
        ticks = 0
        for number in range(PAGES):
            await asyncio.sleep(0)  # the loop runs, though every client is blocked
            ticks += 1
            assert not fetches[number].done()
            site.release(number)
        results = [title(page) for page in await asyncio.gather(*fetches)]
    print(f"the loop ran {ticks} times while {PAGES} clients were blocked")
    print(", ".join(results))
    assert results == [f"Page {number}" for number in range(PAGES)]


asyncio.run(main())

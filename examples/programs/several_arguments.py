"""Several arguments through `functools.partial`, on the default executor and on one of its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial


def add(a, b):
    return a + b


def multiply(a, *, by):
    return a * by


async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as executor:
        total = await loop.run_in_executor(None, partial(add, 10, b=20))
        product = await loop.run_in_executor(executor, partial(multiply, 10, by=20))
    print(f"10 + 20 = {total}, 10 * 20 = {product}")
    assert (total, product) == (30, 200)


asyncio.run(main())

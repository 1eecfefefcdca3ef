"""A call that fails under `gather`: its error is raised; or values and errors side by side."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


def reciprocal(n):
    return 1 / n


async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as executor:

        def calls():
            return [loop.run_in_executor(executor, reciprocal, n) for n in (1, 0, 4)]

        try:
            await asyncio.gather(*calls())
        except ZeroDivisionError as error:
            print("gather raises:", error)
        else:
            raise AssertionError("the error was lost")

        results = await asyncio.gather(*calls(), return_exceptions=True)
    print("or returns:   ", results)
    assert results[0] == 1
    assert isinstance(results[1], ZeroDivisionError)
    assert results[2] == 0.25


asyncio.run(main())

"""Named blocking calls on 3 threads, which end in reverse: gathered in order of submission."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

NAMES = ["alpha", "beta", "gamma"]
ended = {name: threading.Event() for name in NAMES}
log = []


def work(name, wait_for):
    if wait_for is not None:
        assert ended[wait_for].wait(60)
    log.append(name)
    ended[name].set()
    return f"result of {name}"


async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(3) as executor:
        successors = [*NAMES[1:], None]
        calls = [
            loop.run_in_executor(executor, work, name, successor)
            for name, successor in zip(NAMES, successors)
        ]
        results = await asyncio.gather(*calls)
    print("ended:   ", ", ".join(log))
    print("gathered:", ", ".join(results))
    assert log == NAMES[::-1]
    assert results == [f"result of {name}" for name in NAMES]


asyncio.run(main())

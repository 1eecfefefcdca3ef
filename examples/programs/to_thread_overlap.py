"""Five blocking calls through `asyncio.to_thread`: all overlap, and see the caller's context."""

import asyncio
import contextvars
import threading

user = contextvars.ContextVar("user", default="nobody")
all_five = threading.Barrier(5, timeout=60)


def blocking_call(number):
    all_five.wait()  # passes only if five calls run at the same time
    return f"call {number} for {user.get()}"


async def main():
    user.set("alice")
    results = await asyncio.gather(*(asyncio.to_thread(blocking_call, n) for n in range(5)))
    print(*results, sep="\n")
    assert results == [f"call {n} for alice" for n in range(5)]


asyncio.run(main())

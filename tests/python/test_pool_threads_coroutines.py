"""`Pool(kind="thread")`: coroutines on event loops in threads, and what can go wrong there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from typing import Any

import pytest

import pool_tasks as tasks


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("in a coroutine")


class Crowd:
    """Coroutines that wait for one another, on whatever loop they run."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.there: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []
        self.most = 0

    async def join(self, _: object = None) -> int:
        event = asyncio.Event()
        me = (asyncio.get_running_loop(), event, threading.get_ident())
        with self.lock:
            self.there.append(me)
            self.most = max(self.most, len(self.there))
            full = list(self.there) if len(self.there) == self.size else []
        for loop, other, _thread in full:
            loop.call_soon_threadsafe(other.set)
        await event.wait()
        return me[2]


def test_coroutines_run_many_at_once_on_loops_in_threads() -> None:
    crowd = Crowd(2 * 5)
    with tasks.thread_pool(2, concurrency=5) as pool:
        futures = [pool.submit(crowd.join) for _ in range(10)]
        idents = [future.result(30) for future in futures]
    assert threading.get_ident() not in idents
    # Spread to the least loaded.
    assert sorted(idents.count(ident) for ident in set(idents)) == [5, 5]


def test_what_finds_no_room_waits_its_turn() -> None:
    running, most, order = 0, 0, []
    go = threading.Event()

    async def work(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(number)
        while not go.is_set():
            await asyncio.sleep(0.001)
        running -= 1

    with tasks.thread_pool(1, concurrency=3) as pool:
        futures = [pool.submit(work, number) for number in range(50)]
        tasks.until(lambda: most == 3)
        go.set()
        for future in futures:
            future.result(30)
    assert most == 3
    assert order == list(range(50))


def test_a_map_of_coroutines_keeps_to_the_concurrency() -> None:
    crowd = Crowd(6)
    with tasks.thread_pool(2, concurrency=3) as pool:
        assert len(list(pool.map(crowd.join, range(6), chunksize=6))) == 6
    assert crowd.most == 6


def test_what_a_coroutine_raises_is_raised_as_it_is(threads: Any) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(ValueError, match="in a coroutine"):
        threads.submit(fail).result()
    with pytest.raises(SystemExit):
        threads.submit(leave).result()
    with pytest.raises(ValueError, match="in a coroutine"):
        list(threads.map(lambda: None, [])) + list(threads.starmap(fail, [()]))
    assert threads.submit(tasks.echo, 7).result() == 7


def test_partials_and_objects_that_give_coroutines_are_awaited(threads: Any) -> None:
    class Caller:
        async def __call__(self, value: int) -> int:
            return await tasks.echo(value)

    assert threads.submit(functools.partial(tasks.echo, 7)).result() == 7
    assert threads.submit(Caller(), 8).result() == 8


def test_cancelling_a_coroutine_under_way_cancels_it(threads: Any) -> None:
    began, ended = threading.Event(), threading.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    future = threads.submit(work)
    began.wait()
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert ended.wait(30)


def test_cancelling_a_coroutine_that_waits_for_room_keeps_it_from_running() -> None:
    ran: list[int] = []
    go = threading.Event()

    async def block() -> None:
        await asyncio.to_thread(go.wait)

    async def work(number: int) -> None:
        ran.append(number)

    with tasks.thread_pool(1, concurrency=1) as pool:
        pool.submit(block)
        futures = [pool.submit(work, number) for number in range(2000)]
        assert all(future.cancel() for future in futures[:-1])
        go.set()
        futures[-1].result(30)
    assert ran == [1999]


def test_a_loops_thread_is_replaced_after_so_many_coroutines() -> None:
    async def name() -> str:
        return threading.current_thread().name

    with tasks.thread_pool(1, concurrency=2, max_tasks=4) as pool:
        names = [future.result(30) for future in [pool.submit(name) for _ in range(20)]]
    assert len(set(names)) == 5
    assert all(names.count(each) == 4 for each in names)


def test_an_initializer_runs_in_a_loops_thread_and_breaks_the_pool_if_it_fails() -> None:
    local = threading.local()

    def prepare() -> None:
        local.value = "ready"

    async def look() -> str:
        return local.value

    def refuse() -> None:
        raise ValueError("refused")

    with tasks.thread_pool(initializer=prepare) as pool:
        assert pool.submit(look).result(30) == "ready"
    with tasks.thread_pool(1, initializer=refuse) as pool:
        future = pool.submit(look)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            future.result(30)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(look)

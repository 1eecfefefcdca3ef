"""`Future` for event loops: awaited on asyncio's and uvloop's, by one and by many."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import manyhands as mh
import pool_tasks as tasks

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# The first loop opens libuv's own pipe for signals, which stays open for ever.
uvloop.new_event_loop().close()


@pytest.fixture(params=["asyncio", "uvloop", "asyncio in debug mode"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on a fresh event loop."""
    debug = request.param == "asyncio in debug mode"
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            loops.append(weakref.ref(runner.get_loop()))
            return runner.run(main)

    yield run

    def are_gone() -> bool:
        gc.collect()
        return all(loop() is None for loop in loops)

    # (A thread that has just woken one may still hold it.)
    tasks.until(are_gone, "that the pool keeps no loop alive")


async def wait_for(future: mh.Future[Any]) -> Any:
    return await future


class Busy:
    """Both workers run something until `release` is called."""

    def __init__(self, pool: mh.Pool, directory: Path) -> None:
        begun, self._go = [directory / "a", directory / "b"], directory / "go"
        self.futures = [
            pool.submit(tasks.announce_and_wait, str(path), str(self._go), path.name)
            for path in begun
        ]
        tasks.until(lambda: all(path.exists() for path in begun))

    def release(self) -> None:
        self._go.touch()


@pytest.fixture
def busy(pool: mh.Pool, tmp_path: Path) -> Any:
    busy = Busy(pool, tmp_path)
    yield busy
    busy.release()
    cf.wait(busy.futures)


def test_await_gives_the_result_or_raises_the_error(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        assert await pool.submit(tasks.square, 3) == 9
        assert await pool.submit(tasks.sleep, 0.05, "slept") == "slept"
        with pytest.raises(ValueError, match="mine"):
            await pool.submit(tasks.fail, ValueError("mine"))
        with pytest.raises(mh.WorkerDied):
            await pool.submit(tasks.leave, 3)

    run(main())


def test_a_future_that_has_ended_can_be_awaited_again_and_again(pool: mh.Pool, run: Run) -> None:
    future = pool.submit(tasks.identity, [1])
    assert run(wait_for(future)) is run(wait_for(future)) is future.result()


def test_other_work_of_the_loop_goes_on_meanwhile(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> Any:
        waiting = asyncio.create_task(wait_for(busy.futures[0]))
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        busy.release()
        return await waiting

    assert run(main()) == "a"


def test_many_coroutines_may_await_one_future(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> list[Any]:
        waiting = [asyncio.create_task(wait_for(busy.futures[0])) for _ in range(50)]
        await asyncio.sleep(0.01)
        busy.release()
        return await asyncio.gather(*waiting)

    assert run(main()) == ["a"] * 50


def test_five_thousand_awaits_at_once(pool: mh.Pool, run: Run) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*[pool.submit(tasks.square, n) for n in range(5000)])

    assert run(main()) == [number**2 for number in range(5000)]


def test_gather_asyncs_wait_and_as_completed_take_futures(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        results = await asyncio.gather(
            pool.submit(tasks.square, 2),
            pool.submit(tasks.fail, ValueError("x")),
            pool.submit(tasks.async_square, 3),
            return_exceptions=True,
        )
        assert (results[0], type(results[1]), results[2]) == (4, ValueError, 9)
        waiting = [asyncio.ensure_future(pool.submit(tasks.square, n)) for n in range(20)]
        done, pending = await asyncio.wait(waiting)
        assert ({task.result() for task in done}, pending) == ({n * n for n in range(20)}, set())
        finished = asyncio.as_completed([pool.submit(tasks.square, n) for n in range(20)])
        assert sorted([await next_one for next_one in finished]) == [n * n for n in range(20)]
        async with asyncio.TaskGroup() as group:
            member = group.create_task(wait_for(pool.submit(tasks.square, 5)))
        assert member.result() == 25

    run(main())


def test_cancelling_the_awaiter_withdraws_the_task(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> mh.Future[int]:
        future = pool.submit(tasks.square, 2)
        waiting = asyncio.create_task(wait_for(future))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return future

    assert run(main()).cancelled()


def test_a_task_under_way_survives_its_awaiter(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(wait_for(busy.futures[0]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())
    assert not busy.futures[0].cancelled()
    busy.release()
    assert busy.futures[0].result() == "a"


def test_shield_keeps_the_task(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> mh.Future[int]:
        future = pool.submit(tasks.square, 2)
        inner = asyncio.ensure_future(future)
        outer = asyncio.shield(inner)
        await asyncio.sleep(0.01)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not future.cancelled()
        busy.release()
        assert await inner == 4
        return future

    assert run(main()).result() == 4


def test_a_timeout_withdraws_the_task(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> mh.Future[int]:
        future = pool.submit(tasks.square, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await future
        other = pool.submit(tasks.square, 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_for(other), 0.02)
        assert other.cancelled()
        return future

    assert run(main()).cancelled()


def test_awaiting_a_cancelled_future_says_so(pool: mh.Pool, run: Run, busy: Busy) -> None:
    async def main() -> None:
        future = pool.submit(tasks.square, 2)
        waiting = asyncio.create_task(wait_for(future))
        await asyncio.sleep(0.01)
        assert future.cancel()
        with pytest.raises((cf.CancelledError, asyncio.CancelledError)):
            await waiting

    run(main())


def test_a_loop_that_ends_while_it_waits_leaves_the_pool_sound(
    pool: mh.Pool, run: Run, busy: Busy
) -> None:
    async def main() -> None:
        for future in (busy.futures[0], pool.submit(tasks.square, 2)):
            asyncio.ensure_future(future)
        await asyncio.sleep(0.01)

    run(main())
    busy.release()
    assert pool.submit(tasks.square, 2).result() == 4
    assert run(wait_for(pool.submit(tasks.square, 3))) == 9


def test_wrap_future_and_run_in_executor(pool: mh.Pool, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.wrap_future(pool.submit(tasks.square, 3)) == 9
        assert await loop.run_in_executor(pool, tasks.square, 4) == 16
        with pytest.raises(ValueError, match="x"):
            await loop.run_in_executor(pool, tasks.fail, ValueError("x"))
        many = [loop.run_in_executor(pool, tasks.square, n) for n in range(500)]
        assert await asyncio.gather(*many) == [n * n for n in range(500)]

    run(main())


def test_cancelling_a_wrapped_future_withdraws_the_task(
    pool: mh.Pool, run: Run, busy: Busy, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"

    async def main() -> None:
        waiting = asyncio.get_running_loop().run_in_executor(pool, tasks.touch, str(ran))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.sleep(0.01)

    run(main())
    busy.release()
    assert pool.submit(tasks.square, 2).result() == 4
    assert not ran.exists()


def test_many_loops_and_threads_may_wait_for_one_future(
    pool: mh.Pool, run: Run, busy: Busy
) -> None:
    results: list[Any] = []
    future = busy.futures[1]
    targets: list[Callable[[], Any]] = [lambda: run(wait_for(future)), future.result]
    threads = [
        threading.Thread(target=lambda target=target: results.append(target()))
        for target in targets * 6
    ]
    for thread in threads:
        thread.start()
    busy.release()
    for thread in threads:
        thread.join()
    assert results == ["b"] * 12


def test_async_with_waits_for_the_tasks_without_blocking_the_loop(run: Run, tmp_path: Path) -> None:
    go = tmp_path / "go"

    async def main() -> mh.Future[str]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1
                if ticks > 3:
                    go.touch()

        async with mh.Pool(1) as pool:
            future = pool.submit(tasks.wait_for_file, str(go))
            ticking = asyncio.create_task(tick())
        ticking.cancel()
        return future

    future = run(main())
    assert future.done()
    assert future.result() == str(go)


def test_a_cancelled_async_with_kills_what_runs(run: Run) -> None:
    async def main() -> None:
        async def block() -> None:
            async with mh.Pool(1) as pool:
                await pool.submit(tasks.sleep, 600)

        blocked = asyncio.create_task(block())
        await asyncio.sleep(0.3)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked

    run(main())


def test_one_pool_serves_loop_after_loop(pool: mh.Pool, run: Run) -> None:
    for number in range(20):
        assert run(wait_for(pool.submit(tasks.async_square, number))) == number**2

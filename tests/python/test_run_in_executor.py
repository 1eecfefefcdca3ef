"""Event loops that wait for threads: by `run_in_executor`, `wrap_future`, or `await`."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

import manyhands as mh
from manyhands import _future
from manyhands.futures import ThreadPoolExecutor

# Its first loop opens a pipe for the whole process.
uvloop.new_event_loop().close()

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def gate(executor: ThreadPoolExecutor) -> Iterator[threading.Event]:
    """Opened at the end, so that a test that fails does not hang."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_results_and_errors_arrive(run: Any, executor: ThreadPoolExecutor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, abs, -7) == 7
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        calls = [loop.run_in_executor(executor, abs, -n) for n in range(1000)]
        assert await asyncio.gather(*calls) == list(range(1000))

    run(main())


def test_asyncios_callback_is_recognised_and_many_ends_are_one_wake_up(
    run: Any, executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    assert _future.chain_code() is not None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls = 0
        futures = [executor.submit(gate.wait) for _ in range(2)]
        futures += [executor.submit(abs, -n) for n in range(100)]
        wrapped = [asyncio.wrap_future(future) for future in futures]
        hub = _future.thread_hubs.get(loop)
        assert hub is not None
        door = hub._door

        class Spy:
            def __getattr__(self, name: str) -> Any:
                return getattr(door, name)

            def read(self) -> list[int]:
                nonlocal calls
                calls += 1
                return door.read()

        hub._door = Spy()  # type: ignore[assignment]
        gate.set()
        for future in futures:
            # The loop is blocked meanwhile, and nothing is lost by that.
            future.result(30)
        await asyncio.gather(*wrapped)
        hub._door = door
        # Threads may have rung once more while the loop read.
        assert calls <= 3

    run(main())


def test_a_default_executor_serves_to_thread(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(2, thread_name_prefix="default")
        loop.set_default_executor(executor)
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        assert name.startswith("default_")
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError):
            executor.submit(abs, 1)

    run(main())


def test_a_pool_of_either_kind_serves_run_in_executor(run: Any) -> None:
    async def main(pool: Any) -> None:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, abs, -n) for n in range(200)]
        assert await asyncio.gather(*calls) == list(range(200))
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(pool, divmod, 1, 0)

    for kind in ("process", "thread"):
        with mh.Pool(1, kind=kind) as pool:  # type: ignore[arg-type]
            run(main(pool))


def test_a_future_that_has_ended_does_not_end_the_loops_at_once(
    run: Any, executor: ThreadPoolExecutor
) -> None:
    async def main() -> None:
        future = executor.submit(abs, -7)
        future.result()
        wrapped = asyncio.wrap_future(future)
        assert not wrapped.done()
        assert await wrapped == 7

    run(main())


def test_cancelling_the_loops_future_withdraws_the_task(
    run: Any, executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        blocked = [loop.run_in_executor(executor, gate.wait) for _ in range(2)]
        inner = executor.submit(ran.append, 1)
        call = asyncio.wrap_future(inner)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
        assert inner.cancelled()
        # One that runs goes on, and its end concerns nobody.
        blocked[0].cancel()
        gate.set()
        await blocked[1]
        assert ran == []

    run(main())


def test_cancelling_the_task_cancels_the_loops_future(
    run: Any, executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    async def main() -> None:
        for _ in range(2):
            executor.submit(gate.wait)
        future = executor.submit(abs, 1)
        call = asyncio.wrap_future(future)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.set()

    run(main())


def test_a_future_can_be_awaited_by_many_and_on_several_loops(
    executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    future = executor.submit(lambda: (gate.wait(), 7)[1])
    there = threading.Barrier(4)

    def one() -> int:
        async def main() -> int:
            there.wait()
            values = await asyncio.gather(asyncio.wrap_future(future), _wait(future))
            return sum(values)

        return asyncio.run(main())

    with ThreadPoolExecutor(3) as loops:
        results = [loops.submit(one) for _ in range(3)]
        there.wait()
        gate.set()
        assert [result.result(30) for result in results] == [14] * 3


async def _wait(future: Any) -> Any:
    return await future


def test_an_awaiter_that_is_cancelled_withdraws_what_has_not_begun(
    run: Any, executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    async def main() -> None:
        for _ in range(2):
            executor.submit(gate.wait)
        future = executor.submit(abs, 1)
        task = asyncio.ensure_future(_wait(future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()
        gate.set()

    run(main())


def test_a_loop_that_is_closed_before_the_end_is_no_matter(
    run: Any, executor: ThreadPoolExecutor, gate: threading.Event
) -> None:

    async def main() -> Any:
        future = executor.submit(gate.wait)
        asyncio.wrap_future(future).add_done_callback(lambda _: None)
        return future

    future = run(main())
    gate.set()
    assert future.result(30)
    assert executor.submit(abs, -7).result() == 7


def test_a_loop_that_runs_again_gets_what_ended_meanwhile(
    executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    loop = asyncio.SelectorEventLoop()
    try:

        async def begin() -> Any:
            return asyncio.wrap_future(executor.submit(gate.wait))

        wrapped = loop.run_until_complete(begin())
        gate.set()
        executor.submit(abs, 1).result()
        assert loop.run_until_complete(wrapped)
    finally:
        loop.close()


def test_a_callback_of_another_loop_goes_the_ordinary_way(
    executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    future = executor.submit(lambda: (gate.wait(), 7)[1])

    async def main() -> int:
        loop = asyncio.get_running_loop()
        # Wrapped in a thread where that loop does not run.
        wrapped = await asyncio.to_thread(asyncio.wrap_future, future, loop=loop)
        gate.set()
        return await wrapped

    assert asyncio.run(main()) == 7


def test_a_loop_that_can_watch_no_descriptor_goes_the_ordinary_way(
    executor: ThreadPoolExecutor, gate: threading.Event
) -> None:
    class Blind(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
            raise NotImplementedError

    async def main() -> int:
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(executor, lambda: (gate.wait(), 7)[1])
        gate.set()
        return await call

    with asyncio.Runner(loop_factory=Blind) as runner:
        assert runner.run(main()) == 7


def test_a_loop_that_only_seems_to_watch_goes_the_ordinary_way(
    executor: ThreadPoolExecutor,
) -> None:
    """As tests of asyncio have it, with a mock for the method that watches."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.run_in_executor(executor, abs, -7), 60) == 7

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        loop: Any = runner.get_loop()
        loop._add_reader = lambda *_: None
        runner.run(main())
        del loop._add_reader
        runner.run(main())


def test_a_loops_descriptor_goes_with_the_loop(executor: ThreadPoolExecutor) -> None:
    async def main() -> weakref.ref[Any]:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(executor, abs, 1)
        await executor.submit(abs, 1)
        return weakref.ref(loop)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    asyncio.run(main())
    gc.collect()
    before = descriptors()
    for _ in range(10):
        weak = asyncio.run(main())
        gc.collect()
        assert weak() is None
    assert descriptors() == before


def test_a_loop_does_not_keep_the_context_of_the_first_who_waited() -> None:
    class Value: ...

    variable: contextvars.ContextVar[Value] = contextvars.ContextVar("variable")

    async def wait(executor: ThreadPoolExecutor, awaited: bool) -> weakref.ref[Value]:
        value = Value()
        variable.set(value)
        if awaited:
            await executor.submit(abs, -7)
        else:
            await asyncio.get_running_loop().run_in_executor(executor, abs, -7)
        return weakref.ref(value)

    async def is_kept(executor: ThreadPoolExecutor, awaited: bool) -> bool:
        value = await asyncio.create_task(wait(executor, awaited))
        # The task's last step is over, and its context with it.
        await asyncio.sleep(0)
        gc.collect()
        return value() is not None

    with ThreadPoolExecutor(1) as executor:
        assert not asyncio.run(is_kept(executor, awaited=False))
        assert not asyncio.run(is_kept(executor, awaited=True))


def test_a_loop_that_nobody_closed_goes_with_what_ended_for_it_since() -> None:
    async def main(executor: ThreadPoolExecutor, gate: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(executor, abs, -7)
        loop.run_in_executor(executor, gate.wait)

    with ThreadPoolExecutor(1) as executor:
        gate = threading.Event()
        loop = asyncio.SelectorEventLoop()
        loop.run_until_complete(main(executor, gate))
        known = weakref.ref(loop)
        del loop
        gate.set()
        # The loop has been told of the end when the next task begins.
        assert executor.submit(abs, -7).result() == 7
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            gc.collect()
        assert known() is None

"""`Pool(kind="thread")`: the face of a pool, on threads and on event loops in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks
from manyhands._thread_pool import _default_pool

# It lives as long as the process, with a descriptor.
_default_pool()

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


# -- what it is --------------------------------------------------------------------------------


def test_it_is_a_pool_and_a_thread_pool_executor(threads: Any) -> None:
    assert isinstance(threads, mh.Pool)
    assert isinstance(threads, concurrent.futures.ThreadPoolExecutor)
    assert not isinstance(mh.Pool, type(threads))
    assert threads.submit(os.getpid).result() == os.getpid()


def test_words_and_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="start_method is for processes"):
        tasks.thread_pool(start_method="spawn")
    for settings in ({"workers": 0}, {"concurrency": 0}, {"max_tasks": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            tasks.thread_pool(**settings)
    with pytest.raises(TypeError, match="initializer must be callable"):
        tasks.thread_pool(initializer=7)
    with pytest.raises(TypeError, match="must be callable"):
        tasks.thread_pool().submit("abs")
    with pytest.raises(ValueError, match="kind must be 'process' or 'thread'"):
        mh.Pool(kind="greenlet")  # type: ignore[arg-type]


def test_repr_says_what_it_is_and_does() -> None:
    with tasks.thread_pool(name="crawl") as pool:
        assert repr(pool) == "<Pool 'crawl' (thread): 0 threads, 0 tasks queued>"
        assert pool.submit(lambda: threading.current_thread().name).result() == "crawl_0"
        assert repr(pool) == "<Pool 'crawl' (thread): 1 thread, 0 tasks queued>"
    assert repr(pool) == "<Pool 'crawl' (thread): shut down>"


def test_repr_of_a_killed_pool_says_that_it_is_shut_down() -> None:
    began, go = threading.Event(), threading.Event()
    pool = tasks.thread_pool(1, name="crawl")
    pool.submit(lambda: (began.set(), go.wait()))
    began.wait()
    pool.kill()
    assert repr(pool) == "<Pool 'crawl' (thread): shut down, 1 thread ending>"
    go.set()
    assert pool._join(30)
    assert repr(pool) == "<Pool 'crawl' (thread): shut down>"


def test_the_arguments_are_shown_and_a_near_miss_is_explained() -> None:
    arguments = list(inspect.signature(mh.Pool).parameters)
    assert arguments[:3] == ["workers", "kind", "concurrency"]
    for kind in ("process", "thread"):
        with pytest.raises(TypeError, match="'workers'"):
            mh.Pool(max_workers=2, kind=kind)  # type: ignore[call-overload]


def test_repr_of_results_says_when_they_have_ended(threads: Any) -> None:
    results = threads.map(abs, [-1, -2])
    assert repr(results) == "<MapResults: not begun>"
    assert next(results) == 1
    assert "in flight" in repr(results)
    assert list(results) == [2]
    assert repr(results) == "<MapResults: ended>"

    async def main() -> None:
        later = threads.map(abs, [-3])
        assert [value async for value in later] == [3]
        assert repr(later) == "<MapResults: ended>"

    asyncio.run(main())


# -- functions ---------------------------------------------------------------------------------


def test_nothing_is_pickled(threads: Any) -> None:
    lock = threading.Lock()
    assert threads.submit(lambda it: it, lock).result() is lock
    assert list(threads.map(lambda it: it, [lock])) == [lock]


def test_a_task_runs_in_a_copy_of_its_submitters_context(threads: Any) -> None:
    def change() -> str:
        before = VARIABLE.get()
        VARIABLE.set("changed")
        return before

    async def look() -> str:
        await asyncio.sleep(0)
        return change()

    VARIABLE.set("caller")
    try:
        assert threads.submit(change).result() == "caller"
        assert threads.submit(look).result() == "caller"
        assert list(threads.map(lambda _: change(), range(3))) == ["caller"] * 3
        assert threads.submit(change).result() == "caller"
        assert VARIABLE.get() == "caller"
    finally:
        VARIABLE.set("none")


def test_a_thread_is_replaced_after_so_many_tasks() -> None:
    with tasks.thread_pool(1, max_tasks=3) as pool:
        idents = [pool.submit(threading.current_thread).result() for _ in range(9)]
        assert len({thread.name for thread in idents}) == 3
        tasks.until(lambda: len(pool._threads) <= 2)
        assert list(pool.map(abs, range(100))) == list(range(100))


# -- map ---------------------------------------------------------------------------------------


def test_map_is_lazy_ordered_and_bounded(threads: Any) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = threads.map(lambda n: -n, endless(), buffersize=8)
    assert [next(results) for _ in range(1000)] == list(range(-1, -1001, -1))
    assert read <= 1008
    results.close()


def test_map_as_it_comes_gives_each_result_once(threads: Any) -> None:
    assert sorted(threads.map(abs, range(2000), ordered=False)) == list(range(2000))
    assert list(threads.starmap(pow, [(2, 3), (3, 2)])) == [8, 9]


def test_map_raises_at_the_place_of_its_item_and_withdraws_the_rest(threads: Any) -> None:
    results = threads.map(lambda n: 1 // n, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_batch_that_is_withdrawn_ends_with_the_item_under_way() -> None:
    began, go = threading.Event(), threading.Event()
    ran: list[int] = []

    def work(number: int) -> None:
        ran.append(number)
        began.set()
        go.wait()

    with tasks.thread_pool(1) as pool:
        batch = pool._submit_batch(work, list(range(10)), True)
        began.wait()
        batch.cancel()
        assert not batch.wait(0)
        go.set()
        assert batch.wait(30)
        _, errors = batch.take()
        assert ran == [0]
        assert sorted(errors) == list(range(1, 10))
        assert isinstance(errors[1], concurrent.futures.CancelledError)


def test_an_asynchronous_map_takes_asynchronous_input() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(100):
            await asyncio.sleep(0)
            yield number

    async def main() -> None:
        async with tasks.thread_pool() as pool:
            assert await pool.map(abs, range(-5, 0)) == [5, 4, 3, 2, 1]
            assert [n async for n in pool.map(tasks.echo, numbers())] == list(range(100))
            assert sorted([n async for n in pool.map(abs, numbers(), ordered=False)]) == list(
                range(100)
            )

    asyncio.run(main())


# -- the end -----------------------------------------------------------------------------------


def test_a_block_waits_for_all_functions_and_coroutines() -> None:
    with tasks.thread_pool() as pool:
        futures = [pool.submit(tasks.echo, n) for n in range(50)] + [
            pool.submit(abs, n) for n in range(50)
        ]
    assert all(future.done() for future in futures)
    assert not any(thread.is_alive() for thread in pool._threads)
    for call in (lambda: pool.submit(abs, 1), lambda: pool.submit(tasks.echo, 1)):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call()


def test_kill_withdraws_what_waits_and_cancels_coroutines() -> None:
    began, go = threading.Semaphore(0), threading.Event()

    async def sleep() -> None:
        began.release()
        await asyncio.sleep(3600)

    pool = tasks.thread_pool(1)
    running = pool.submit(lambda: (began.release(), go.wait()))
    coroutine = pool.submit(sleep)
    for _ in range(2):
        assert began.acquire(timeout=30)
    queued = pool.submit(abs, 1)
    pool.kill()
    assert queued.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        coroutine.result(30)
    assert not running.done()
    go.set()
    assert running.result(30)[1]
    assert pool._join(30)


def test_an_error_like_ctrl_c_in_a_block_does_not_wait() -> None:
    began, go = threading.Event(), threading.Event()
    with pytest.raises(KeyboardInterrupt), tasks.thread_pool(1) as pool:
        running = pool.submit(lambda: (began.set(), go.wait()))
        began.wait()
        queued = [pool.submit(abs, 1) for _ in range(3)]
        raise KeyboardInterrupt
    assert all(future.cancelled() for future in queued)
    assert running.running()
    go.set()
    assert pool._join(30)


def test_an_asynchronous_block_waits_without_blocking_its_loop() -> None:
    async def main() -> None:
        go = threading.Event()
        loop = asyncio.get_running_loop()
        async with tasks.thread_pool(1) as pool:
            future = pool.submit(go.wait)
            loop.call_later(0.05, go.set)
        assert future.done()
        assert pool._is_gone()

    asyncio.run(main())


def test_a_pool_that_is_dropped_ends_its_coroutines_and_its_threads() -> None:
    pool = tasks.thread_pool()
    future = pool.submit(tasks.echo, 7)
    threads = pool._threads
    del pool
    assert future.result(30) == 7
    for thread in list(threads):
        thread.join(30)
        assert not thread.is_alive()


def test_the_interpreter_waits_for_functions_and_coroutines_at_its_end() -> None:
    program = """
        import asyncio, os, time
        import manyhands as mh
        pool = mh.Pool(2, kind="thread")
        async def work():
            await asyncio.sleep(0.2)
            os.write(1, b"pear\\n")
        pool.submit(work)
        pool.submit(lambda: (time.sleep(0.2), os.write(1, b"apple\\n")))
    """
    assert sorted(tasks.run(program).split()) == ["apple", "pear"]


# -- to_thread ---------------------------------------------------------------------------------


def test_to_thread_runs_in_a_copy_of_the_context_and_gives_result_or_error() -> None:
    async def main() -> None:
        VARIABLE.set("main")
        assert await mh.to_thread(VARIABLE.get) == "main"
        assert await mh.to_thread(threading.get_ident) != threading.get_ident()
        assert await mh.to_thread(int, "ff", base=16) == 255
        with pytest.raises(ZeroDivisionError):
            await mh.to_thread(divmod, 1, 0)
        assert await asyncio.gather(*[mh.to_thread(abs, -n) for n in range(100)]) == list(
            range(100)
        )

    asyncio.run(main())
    asyncio.run(main())


def test_an_iteration_goes_that_only_its_own_function_refers_to() -> None:
    class Owner:
        def itself(self, _number: int) -> Owner:
            return self

        def begin(self, pool: mh.Pool) -> None:
            self.results = pool.map(self.itself, range(1_000))
            assert next(iter(self.results)) is self

    with mh.Pool(1, kind="thread") as pool:
        owner = Owner()
        owner.begin(pool)
        known = weakref.ref(owner)
        del owner
        # What was submitted before has ended when this has.
        assert pool.submit(abs, -7).result() == 7
        gc.collect()
        # The collection has withdrawn what had not begun: it is dropped by the thread.
        assert pool.submit(abs, -7).result() == 7
        gc.collect()
        assert known() is None


def test_an_item_that_cannot_be_begun_ends_with_the_error_and_the_others_as_ever() -> None:
    items: list[Any] = [(-1,), 5, (-3,)]
    context = contextvars.copy_context()
    with mh.Pool(1, kind="thread") as pool:
        in_threads = pool._batch(abs, list(items), False, context, True)  # type: ignore[attr-defined]
        assert in_threads.wait(60)
        values, errors = in_threads.take()
        assert values == [1, None, 3]
        assert [*errors] == [1]
        assert type(errors[1]) is TypeError
        on_loops = pool._batch(abs, items[1:], False, context, False)  # type: ignore[attr-defined]
        assert on_loops._begin()[:3] == (1, abs, (-3,))
        on_loops._end(1, 3, None)
        assert on_loops._begin() is None
        assert on_loops.done()
        assert type(on_loops.take()[1][0]) is TypeError


# -- turns -------------------------------------------------------------------------------------


def test_tasks_that_never_end_to_come_leave_other_threads_their_turns() -> None:
    """Each of these system calls lets go of the interpreter, and has to get it back."""
    go_on = True

    def follow(pool: Any) -> None:
        if go_on:
            pool.submit(follow, pool)

    with tasks.thread_pool(1) as pool:
        pool.submit(follow, pool)
        for _ in range(1000):
            os.stat("/")
        go_on = False


def test_tasks_without_python_code_leave_other_threads_their_turns() -> None:
    sums: list[int] = []
    seen: list[int] = []
    with tasks.thread_pool(1) as pool:
        seen.append(1)
        results = pool.map(sum, [seen, *[range(300_000)] * 100, seen], chunksize=102)
        consumer = threading.Thread(target=lambda: sums.extend(results))
        consumer.start()
        while consumer.is_alive():
            seen.append(1)
            os.stat("/")
        consumer.join()
    # Of the list as it was at the beginning, and at the end of the batch.
    assert sums[-1] > sums[0] + 3

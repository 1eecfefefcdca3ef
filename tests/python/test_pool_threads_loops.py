"""Event loops in a thread pool's threads: harm that tasks do, Ctrl-C, shortage, fork."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import pool_tasks as tasks

# -- what tasks do to their loop ---------------------------------------------------------------


def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()


def exit_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)


def exit_in_a_background_task() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    stop_the_loop.__dict__["task"] = asyncio.get_running_loop().create_task(leave())


@pytest.mark.parametrize("harm", [stop_the_loop, exit_in_a_callback, exit_in_a_background_task])
def test_what_a_task_does_to_its_loop_does_not_end_the_others(
    harm: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    go = []

    async def bad() -> str:
        harm()
        for _ in range(3):
            await asyncio.sleep(0)
        return "bad"

    async def good() -> str:
        event = asyncio.Event()
        go.append((asyncio.get_running_loop(), event))
        await event.wait()
        return "good"

    with tasks.thread_pool(1) as pool:
        other = pool.submit(good)
        assert pool.submit(bad).result(30) == "bad"
        loop, event = go[0]
        loop.call_soon_threadsafe(event.set)
        assert other.result(30) == "good"
        assert pool.submit(tasks.echo, 7).result(30) == 7
    assert ("SystemExit" in caplog.text) == (harm is not stop_the_loop)


def test_a_loop_that_dies_costs_what_it_ran_and_has_a_successor() -> None:
    async def break_the_loop() -> None:
        def refuse(loop: object, context: object) -> None:
            raise SystemExit(4)

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(refuse)
        loop.call_soon(sys.exit, 3)
        await asyncio.sleep(3600)

    with tasks.thread_pool(1, concurrency=1) as pool:
        broken = pool.submit(break_the_loop)
        later = [pool.submit(tasks.echo, number) for number in range(3)]
        with pytest.raises(SystemExit):
            broken.result(30)
        assert [future.result(30) for future in later] == [0, 1, 2]


def test_background_tasks_are_cancelled_when_their_loop_ends() -> None:
    cleaned = []
    left = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def work() -> None:
        left.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    with tasks.thread_pool(1) as pool:
        pool.submit(work).result(30)
    assert cleaned == [True]


def test_there_are_never_more_loops_than_workers() -> None:
    lock, now, most = threading.Lock(), 0, 0

    async def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        while most < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        with lock:
            now -= 1

    with tasks.thread_pool(2, concurrency=1, max_tasks=1) as pool:
        for future in [pool.submit(work) for _ in range(12)]:
            future.result(30)
    assert most == 2


# -- Ctrl-C and shortage -----------------------------------------------------------------------


class Interruption:
    """Ctrl-C after so many calls: where the interpreter looks for signals."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        ours = "_lane" in code.co_filename or code.co_filename.endswith("_threads.py")
        starts = code.co_name == "start" and code.co_filename == threading.__file__
        if starts and getattr(arg, "__name__", None) == "__enter__":
            # Since CPython 3.14 that may happen, and the standard library's lock stays taken.
            return
        if event in ("call", "c_return") and (ours or starts):
            self.left -= 1
            if self.left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_ctrl_c_at_any_point_of_a_submission_is_raised_and_loses_nothing(before: int) -> None:
    for after in range(200):
        pool = tasks.thread_pool(2, concurrency=1 if before > 1 else 2)
        go = threading.Event()

        async def hold(go: threading.Event = go) -> int:
            await asyncio.to_thread(go.wait)
            return 7

        held = [pool.submit(hold) for _ in range(before)]
        interrupted = True
        sys.setprofile(Interruption(after))
        try:
            held.append(pool.submit(hold))
            interrupted = False
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        go.set()
        assert [future.result(30) for future in held] == [7] * len(held)
        assert pool.submit(tasks.echo, 8).result(30) == 8
        pool.shutdown()
        assert not any(thread.is_alive() for thread in pool._threads)
        if not interrupted:
            assert after > 5
            return
    pytest.fail("a submission takes no so many calls")


def test_without_a_thread_a_submission_fails_and_with_one_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    refused = []

    def refuse(thread: threading.Thread) -> None:
        if "loop-" in thread.name:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with tasks.thread_pool(2, concurrency=1) as pool:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(tasks.echo, 1)
        monkeypatch.undo()
        assert pool.submit(tasks.echo, 2).result(30) == 2
        go = threading.Event()
        first = pool.submit(asyncio.to_thread, go.wait)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        second = pool.submit(tasks.echo, 3)
        assert len(refused) == 2
        monkeypatch.undo()
        go.set()
        assert first.result(30)
        assert second.result(30) == 3


def test_without_descriptors_a_coroutine_ends_with_the_error_or_waits_for_another_loop() -> None:
    program = """
        import asyncio, os, resource, threading
        import manyhands._lane_jobs, manyhands._lanes  # that takes descriptors, too
        import manyhands as mh
        async def wait(there, go):
            there.set()
            while not go.is_set():
                await asyncio.sleep(0.001)
        async def echo(value):
            return value
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        def take():
            taken = []
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                return taken
        def end_of(future):
            # Waiting for the future itself might take a descriptor.
            ended = threading.Event()
            future.add_done_callback(lambda _: ended.set())
            assert ended.wait(30)
            return future
        with mh.Pool(2, kind="thread", concurrency=1) as pool:
            taken = take()
            print(end_of(pool.submit(echo, 1)).exception().strerror)
            for each in taken:
                os.close(each)
            there, go = threading.Event(), threading.Event()
            first = pool.submit(wait, there, go)
            there.wait()
            assert pool.submit(echo, 2).result(30) == 2
            go.set()
        with mh.Pool(2, kind="thread", concurrency=1) as pool:
            there, go = threading.Event(), threading.Event()
            first = pool.submit(wait, there, go)
            there.wait()
            taken = take()
            second = pool.submit(echo, 3)
            go.set()
            print(end_of(second).result())
            for each in taken:
                os.close(each)
    """
    # (A loop that could not be made complains of that itself.)
    assert tasks.run(program).startswith("Too many open files\n3\n")


def test_a_forked_child_ends_though_the_parent_had_locked_its_lanes() -> None:
    program = """
        import asyncio, os, sys, threading
        import manyhands as mh
        pool = mh.Pool(1, kind="thread")
        pool.submit(asyncio.sleep, 0).result()
        locked, go = threading.Event(), threading.Event()
        def hold():
            with pool._lanes._lock:
                locked.set()
                go.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        locked.wait()
        child = os.fork()
        if not child:
            repr(pool)
            pool.kill()
            sys.exit(0)
        status = os.waitpid(child, 0)[1]
        go.set()
        thread.join()
        assert pool.submit(asyncio.sleep, 0, "pear").result() == "pear"
        print(status)
    """
    assert tasks.run(program) == "0\n"


# -- an initializer that fails -----------------------------------------------------------------


@pytest.mark.parametrize("first", [abs, tasks.echo])
def test_an_initializer_that_fails_in_either_half_breaks_both(first: Any) -> None:
    failed = []

    def refuse_once() -> None:
        if not failed:
            failed.append(True)
            raise ValueError("refused")

    with tasks.thread_pool(1, initializer=refuse_once) as pool:
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(first, -1).result(30)
        for function in (abs, tasks.echo):
            with pytest.raises(concurrent.futures.BrokenExecutor):
                pool.submit(function, -1)
            with pytest.raises(concurrent.futures.BrokenExecutor):
                list(pool.map(function, [-1]))


def test_what_waits_for_a_function_ends_when_the_initializer_fails_in_a_loops_thread() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def prepare() -> None:
        if "loop" in threading.current_thread().name:
            raise ValueError("refused")

    def block() -> str:
        begun.set()
        goes_on.wait(60)
        return "ran"

    with tasks.thread_pool(1, initializer=prepare) as pool:
        under_way = pool.submit(block)
        assert begun.wait(60)
        waits = [pool.submit(abs, -1), pool.submit(abs, -2)]
        batch = pool._submit_batch(abs, [(-1,)], False)
        told: list[Any] = []
        waits[0].add_done_callback(told.append)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(tasks.echo, 1).result(60)
        # Although the only thread for functions is busy.
        for future in waits:
            with pytest.raises(concurrent.futures.BrokenExecutor, match="initializer failed"):
                future.result(60)
        assert told == waits[:1]
        assert batch.wait(60)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(abs, -3)
        assert not under_way.done()
        goes_on.set()
        assert under_way.result(60) == "ran"

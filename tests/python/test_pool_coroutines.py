"""Coroutines in workers: how many at once, beside what, and what asyncio promises them."""

from __future__ import annotations

import asyncio
import contextvars
import os
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks


async def time_out() -> str:
    task = asyncio.current_task()
    assert task is not None
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(tasks.PATIENCE)
    except TimeoutError:
        return f"timed out {task.cancelling()}"
    return "went on"


async def group() -> list[int]:
    async with asyncio.TaskGroup() as members:
        found = [members.create_task(tasks.async_square(number)) for number in range(5)]
    return [member.result() for member in found]


async def cancel_oneself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def mark_context(name: str) -> tuple[str, str]:
    before = tasks.variable.get()
    tasks.variable.set(name)
    await asyncio.sleep(0.001)
    return before, tasks.variable.get()


def mark_sync_context(name: str) -> str:
    return tasks.variable.get()


async def leave_behind(path: str) -> str:
    """Ends before what it started."""

    async def later() -> None:
        await asyncio.sleep(0.02)
        tasks.touch(path)

    asyncio.current_task().background = asyncio.create_task(later())  # type: ignore[union-attr]
    keep.append(asyncio.current_task())
    return "ended"


keep: list[Any] = []


async def stop_the_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.001)
    return "went on"


async def callback_exits() -> str:
    def leave() -> None:
        raise SystemExit(3)

    asyncio.get_running_loop().call_soon(leave)
    await asyncio.sleep(0.01)
    return "went on"


async def in_a_thread() -> tuple[bool, int]:
    main = threading.main_thread().ident
    return await asyncio.to_thread(threading.get_ident) != main, os.getpid()


class Awaitable:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0.001).__await__()
        return 9


async def await_an_awaitable() -> int:
    return await Awaitable()


async def start_a_program() -> tuple[int | None, bytes]:
    program = await asyncio.create_subprocess_exec("echo", "hello", stdout=-1)
    out, _ = await program.communicate()
    return program.returncode, out


async def clean_up(begun: str, cleaned: str) -> None:
    try:
        Path(begun).touch()
        await asyncio.sleep(tasks.PATIENCE)
    finally:
        Path(cleaned).touch()


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_as_many_as_concurrency_overlap_and_not_one_more(concurrency: int, tmp_path: Path) -> None:
    full = 2 * concurrency
    with mh.Pool(2, concurrency=concurrency) as pool:
        futures = [pool.submit(tasks.crowd, str(tmp_path), full) for _ in range(4 * full)]
        most = Counter[int]()
        for future in futures:
            pid, count = future.result()
            most[pid] = max(most[pid], count)
    assert max(most.values()) == concurrency
    assert len(most) == 2


@pytest.mark.parametrize("chunksize", [1, 50])
def test_coroutines_of_a_map_overlap_too(chunksize: int, tmp_path: Path) -> None:
    with mh.Pool(2, concurrency=20) as pool:
        results = pool.map(
            tasks.crowd, [str(tmp_path)] * 100, [40] * 100, chunksize=chunksize, buffersize=100
        )
        assert max(count for _, count in results) == 20


def test_all_that_fit_are_under_way_together(tmp_path: Path) -> None:
    """None ends before the last has begun."""
    names = [str(number) for number in range(40)]
    with mh.Pool(2, concurrency=20) as pool:
        futures = [pool.submit(tasks.meet, str(tmp_path), name, names) for name in names]
        assert [future.result() for future in futures] == names


def test_they_spread_over_the_workers(tmp_path: Path) -> None:
    """One could take all: so it is unless the system keeps the other from running for long."""
    with mh.Pool(2, concurrency=40) as pool:
        for future in [pool.submit(tasks.crowd, str(tmp_path), 80) for _ in range(80)]:
            future.result()

        def is_fair() -> bool:
            directory = tempfile.mkdtemp(dir=tmp_path.parent)
            futures = [pool.submit(tasks.crowd, directory, 40) for _ in range(40)]
            share = Counter(future.result()[0] for future in futures)
            return len(share) == 2 and min(share.values()) >= 8

        tasks.until(is_fair, "a fair share")


def test_functions_and_coroutines_do_not_wait_for_each_other(pool: mh.Pool, tmp_path: Path) -> None:
    go = tmp_path / "go"
    begun = [tmp_path / "a", tmp_path / "b"]
    functions = [pool.submit(tasks.announce_and_wait, str(path), str(go)) for path in begun]
    tasks.until(lambda: all(path.exists() for path in begun))
    assert [pool.submit(tasks.async_square, 3).result() for _ in range(50)] == [9] * 50
    assert list(pool.map(tasks.async_square, range(500))) == [n * n for n in range(500)]
    assert not any(future.done() for future in functions)
    go.touch()

    endless = [pool.submit(tasks.async_sleep, 0.3) for _ in range(32)]
    assert [pool.submit(tasks.square, 3).result() for _ in range(50)] == [9] * 50
    for future in [*functions, *endless]:
        future.result()


TICKS: list[int] = []


class Ticks:
    """In a worker: the list itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ticks, ()


def ticks() -> list[int]:
    return TICKS


async def tick(path: str) -> None:
    TICKS.append(1)
    while not os.path.exists(path):
        TICKS.append(1)
        await asyncio.sleep(0.0005)


def test_a_long_batch_without_python_code_leaves_coroutines_their_turns(tmp_path: Path) -> None:
    """Nothing in it has the interpreter look whether another thread waits for it."""
    with mh.Pool(1) as pool:
        path = tmp_path / "stop"
        ticking = pool.submit(tick, str(path))
        try:
            while not pool.submit(sum, Ticks()).result():  # type: ignore[arg-type]
                pass
            items = [Ticks(), *[range(100_000)] * 600, Ticks()]
            before, *_, after = pool.map(sum, items, chunksize=len(items))
        finally:
            path.touch()
        ticking.result()
        assert after > before + 2


def test_functions_run_in_the_main_thread_and_coroutines_beside_it(pool: mh.Pool) -> None:
    async def async_thread_name() -> str:
        return tasks.thread_name()

    assert pool.submit(tasks.thread_name).result() == "MainThread"
    assert pool.submit(async_thread_name).result() != "MainThread"


def test_many_waiting_coroutines_leave_room_for_functions(tmp_path: Path) -> None:
    """Also where they are more than the slots."""
    go = tmp_path / "go"
    with mh.Pool(1, concurrency=10) as pool:
        waiting = [pool.submit(tasks.async_wait_for_file, str(go)) for _ in range(5000)]
        assert pool.submit(tasks.square, 3).result() == 9
        assert not any(future.done() for future in waiting)
        go.touch()
        for future in waiting:
            future.result()


def test_timeouts_task_groups_and_current_task_work(pool: mh.Pool) -> None:
    assert pool.submit(time_out).result() == "timed out 0"
    assert pool.submit(group).result() == [0, 1, 4, 9, 16]
    assert isinstance(pool.submit(cancel_oneself).exception(), asyncio.CancelledError)
    assert pool.submit(await_an_awaitable).result() == 9
    assert pool.submit(in_a_thread).result()[0]


def test_programs_can_be_started(pool: mh.Pool) -> None:
    assert pool.submit(start_a_program).result() == (0, b"hello\n")


def test_each_coroutine_has_a_context_of_its_own(pool: mh.Pool) -> None:
    tasks.variable.set("the parent's")
    names = [f"name {number}" for number in range(200)]
    results = list(pool.map(mark_context, names))
    assert results == [("untouched", name) for name in names]
    assert contextvars.copy_context()[tasks.variable] == "the parent's"


def test_what_a_coroutine_started_goes_on_after_it(pool: mh.Pool, tmp_path: Path) -> None:
    assert pool.submit(leave_behind, str(tmp_path / "later")).result() == "ended"
    tasks.until((tmp_path / "later").exists)


def test_no_coroutine_can_end_the_loop_of_the_others(pool: mh.Pool) -> None:
    workers = tasks.workers_of(pool)
    others = [pool.submit(tasks.async_sleep, 0.1, number) for number in range(20)]
    assert pool.submit(stop_the_loop).result() == "went on"
    assert pool.submit(callback_exits).result() == "went on"
    for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        assert type(pool.submit(tasks.async_fail, error).exception()) is type(error)
    assert [future.result() for future in others] == list(range(20))
    assert tasks.workers_of(pool) == workers


def test_shutdown_waits_for_coroutines_under_way(tmp_path: Path) -> None:
    with mh.Pool(2) as pool:
        futures = [pool.submit(tasks.async_sleep, 0.1, number) for number in range(100)]
    assert [future.result(0) for future in futures] == list(range(100))


NO_COROUTINE = """\
import os
import sys
from multiprocessing import util
import time
import manyhands as mh

def at_the_end() -> None:
    util.Finalize(None, report, exitpriority=0)

def report() -> None:
    os.write(1, b"ended with a loop\\n" if "asyncio" in sys.modules else b"ended\\n")

if __name__ == "__main__":
    for _ in range(4):
        with mh.Pool(4, initializer=at_the_end) as pool:
            while [phase for _, phase in pool._status()[0]] != ["ready"] * 4:
                time.sleep(0.01)
            list(pool.map(abs, range(4)))
"""


def test_workers_without_coroutines_start_no_loop_to_end_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(NO_COROUTINE)
    status, out, error = tasks.run_program(str(program))
    assert (status, error) == (0, "")
    assert out.splitlines() == ["ended"] * 16


def test_a_coroutine_that_blocks_delays_only_its_own_loop(tmp_path: Path) -> None:
    async def block() -> None:
        tasks.announce_and_wait(str(tmp_path / "begun"), str(tmp_path / "go"))

    with mh.Pool(2) as pool:
        tasks.workers_of(pool)
        blocked = pool.submit(block)
        tasks.until((tmp_path / "begun").exists)
        for _ in range(20):
            assert pool.submit(tasks.async_square, 3).result() == 9
        assert not blocked.done()
        (tmp_path / "go").touch()
        blocked.result()

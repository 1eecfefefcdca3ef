"""A pool's life: arguments, endings of all sorts, and what is left behind."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks


class Big:
    """Something that can be weakly referenced."""


def make_big() -> Big:
    return Big()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"workers": -1}, ValueError, "workers must be at least 1"),
        ({"workers": 1 << 20}, ValueError, "workers must be at most"),
        ({"workers": "2"}, TypeError, "workers must be an integer"),
        ({"workers": 1.5}, TypeError, "workers must be an integer"),
        ({"workers": True}, TypeError, "workers must be an integer"),
        ({"concurrency": 0}, ValueError, "concurrency must be at least 1"),
        ({"max_tasks": 0}, ValueError, "max_tasks must be at least 1"),
        ({"max_tasks": 2.0}, TypeError, "max_tasks must be an integer"),
        ({"start_method": "teleport"}, ValueError, "start_method must be one of"),
        ({"kind": "fibre"}, ValueError, "kind must be"),
        ({"initializer": 5}, TypeError, "initializer must be callable"),
    ],
    ids=str,
)
def test_arguments_are_checked_at_once(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        mh.Pool(**arguments)


def test_an_initializer_that_cannot_be_pickled_raises_or_breaks_the_pool() -> None:
    lock = threading.Lock()
    with pytest.raises((TypeError, mh.PoolBroken)):
        with mh.Pool(1, initializer=tasks.identity, initargs=(lock,)) as pool:
            pool.submit(tasks.square, 2).result()


def test_by_default_there_is_a_worker_for_each_usable_core() -> None:
    with mh.Pool() as pool:
        assert len(tasks.workers_of(pool)) == mh.usable_cores() <= (os.cpu_count() or 1)


def test_the_pool_is_an_executor(pool: mh.Pool) -> None:
    assert isinstance(pool, cf.Executor)


def test_repr_tells_how_it_is_doing(tmp_path: Path) -> None:
    pool = mh.Pool(2, name="mine")
    tasks.workers_of(pool)
    assert repr(pool) == "<Pool 'mine' (forkserver): 2 of 2 workers ready, 0 tasks>"
    futures = [pool.submit(tasks.wait_for_file, str(tmp_path / "go")) for _ in range(3000)]
    assert "3000 tasks (" in repr(pool)
    assert "queued)" in repr(pool)
    for future in futures[2:]:
        future.cancel()
    pool.shutdown(wait=False)
    assert repr(pool).endswith("shutting down>")
    (tmp_path / "go").touch()
    pool.shutdown()
    assert repr(pool) == "<Pool 'mine' (forkserver): shut down>"


def test_leaving_the_block_waits_for_all_tasks(tmp_path: Path) -> None:
    with mh.Pool(2) as pool:
        futures = [pool.submit(tasks.sleep, 0.01, number) for number in range(20)]
    assert [future.result(0) for future in futures] == list(range(20))


def test_an_exception_in_the_block_waits_too_and_passes() -> None:
    with pytest.raises(KeyError), mh.Pool(1) as pool:
        future = pool.submit(tasks.sleep, 0.1, "done")
        raise KeyError
    assert future.result(0) == "done"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_block_kills(error: type[BaseException]) -> None:
    began = time.monotonic()
    with pytest.raises(error), mh.Pool(1) as pool:
        workers = tasks.workers_of(pool)
        future = pool.submit(tasks.sleep, 600)
        raise error
    assert time.monotonic() - began < 60
    assert not any(tasks.alive(pid) for pid in workers)
    assert future.cancelled()


def test_nothing_can_be_submitted_after_shutdown() -> None:
    pool = mh.Pool(1)
    results = pool.map(tasks.square, range(3))
    pool.shutdown()
    for refused in (
        lambda: pool.submit(tasks.square, 1),
        lambda: list(results),
        lambda: list(pool.map(tasks.square, [1])),
    ):
        with pytest.raises(RuntimeError, match="after shutdown"):
            refused()
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)


def test_shutdown_without_waiting_returns_at_once_and_ends_the_tasks(tmp_path: Path) -> None:
    pool = mh.Pool(1)
    future = pool.submit(tasks.wait_for_file, str(tmp_path / "go"))
    more = [pool.submit(tasks.square, number) for number in range(5)]
    pool.shutdown(wait=False)
    assert not future.done()
    (tmp_path / "go").touch()
    future.result()
    assert [future.result() for future in more] == [0, 1, 4, 9, 16]
    pool.shutdown()


def test_shutdown_may_withdraw_what_has_not_begun(tmp_path: Path) -> None:
    pool = mh.Pool(1)
    begun = tmp_path / "begun"
    running = pool.submit(tasks.announce_and_wait, str(begun), str(tmp_path / "go"), 5)
    tasks.until(begun.exists)
    pending = [pool.submit(tasks.square, number) for number in range(5000)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in pending)
    (tmp_path / "go").touch()
    pool.shutdown()
    assert running.result(0) == 5


def test_several_threads_may_shut_down_at_once() -> None:
    pool = mh.Pool(2)
    future = pool.submit(tasks.sleep, 0.1, 5)
    threads = [threading.Thread(target=pool.shutdown) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert future.result(0) == 5


def test_a_callback_may_shut_down_the_pool() -> None:
    pool = mh.Pool(1)
    ended = threading.Event()

    def shut_down(_: Any) -> None:
        pool.shutdown()
        ended.set()

    pool.submit(tasks.square, 1).add_done_callback(shut_down)
    assert ended.wait(tasks.PATIENCE)


def test_kill_ends_everything_at_once() -> None:
    pool = mh.Pool(2)
    workers = tasks.workers_of(pool)
    futures = [pool.submit(tasks.sleep, 600) for _ in range(100)]
    futures += [pool.submit(tasks.async_sleep, 600) for _ in range(100)]
    pool.kill()
    assert all(future.cancelled() for future in futures)
    assert not any(tasks.alive(pid) for pid in workers)
    with pytest.raises(mh.PoolBroken, match="killed"):
        pool.submit(tasks.square, 1)
    pool.kill()
    pool.shutdown()


def test_a_stopped_worker_does_not_keep_the_pool_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands._pool.GRACE", 0.3)
    pool = mh.Pool(2)
    with tasks.stopped(tasks.workers_of(pool)[0]):
        pool.shutdown()


def test_a_task_that_never_ends_its_threads_does_not_keep_the_pool_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands._pool.GRACE", 0.3)

    def start_thread() -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()

    with mh.Pool(1) as pool:
        pool.submit(start_thread).result()


def clear_away() -> None:
    """What the interpreter's end would wait for goes with the next pool."""
    mh.Pool(1).shutdown()
    gc.collect()


def test_a_dropped_pool_ends_its_tasks_and_then_its_workers() -> None:
    pool = mh.Pool(1)
    workers = tasks.workers_of(pool)
    futures = [pool.submit(tasks.sleep, 0.02, number) for number in range(10)]
    del pool
    gc.collect()
    assert [future.result() for future in futures] == list(range(10))
    del futures
    tasks.until(lambda: not any(tasks.alive(pid) for pid in workers))
    clear_away()


def test_a_dropped_pool_without_futures_ends_too(tmp_path: Path) -> None:
    pool = mh.Pool(1)
    workers = tasks.workers_of(pool)
    pool.submit(tasks.touch, str(tmp_path / "ran"), 0.05)
    del pool
    tasks.until(lambda: not any(tasks.alive(pid) for pid in workers))
    assert (tmp_path / "ran").exists()
    clear_away()


def test_results_and_arguments_live_no_longer_than_they_are_held(pool: mh.Pool) -> None:
    argument = Big()
    future = pool.submit(tasks.identity, argument)
    result = future.result()
    gone = [weakref.ref(argument), weakref.ref(result), weakref.ref(future)]
    del argument, result, future
    assert [ref() for ref in gone] == [None] * 3
    for value in pool.map(tasks.identity, [Big(), Big()]):
        gone.append(weakref.ref(value))
        del value
    assert [ref() for ref in gone] == [None] * len(gone)


def test_failed_futures_can_be_collected(pool: mh.Pool) -> None:
    """An exception holds the frames that it passed, and those hold the future."""

    def fail() -> weakref.ref[Any]:
        future = pool.submit(tasks.fail, ValueError())
        with pytest.raises(ValueError):
            future.result()
        return weakref.ref(future)

    gone = fail()
    gc.collect()
    assert gone() is None


def test_futures_outlive_their_pool() -> None:
    with mh.Pool(1) as pool:
        value = pool.submit(tasks.identity, b"x" * 1_000_000)
        error = pool.submit(tasks.fail, ValueError("mine"))
    del pool
    gc.collect()
    assert value.result() == b"x" * 1_000_000
    with pytest.raises(ValueError, match="mine"):
        error.result()


def test_a_forked_child_cannot_use_the_pool_and_does_it_no_harm(
    pool: mh.Pool, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    pending = pool.submit(tasks.wait_for_file, str(go))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for use in (
                lambda: pool.submit(tasks.square, 1),
                lambda: list(pool.map(tasks.square, [1])),
                lambda: pending.result(5),
            ):
                try:
                    use()
                except RuntimeError:
                    continue
                os._exit(2)
            repr(pool)
            repr(pending)
            pool.shutdown()
            gc.collect()
            with mh.Pool(1, start_method="fork") as own:
                status = 0 if own.submit(tasks.square, 3).result(30) == 9 else 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.touch()
    assert pending.result() == str(go)
    assert list(pool.map(tasks.square, range(100))) == [n * n for n in range(100)]


def test_a_task_may_fork(pool: mh.Pool) -> None:
    def fork(how: str) -> int:
        child = os.fork()
        if child == 0:
            if how == "returns":
                return 1
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert pool.submit(fork, "exits").result() == 0
    assert pool.submit(fork, "returns").result() != 1
    assert pool.submit(tasks.square, 3).result() == 9


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("end", ["keeps", "drops", "exits"])
def test_the_interpreters_end_waits_for_what_was_submitted(
    tmp_path: Path, method: str, end: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import sys, time
import manyhands as mh

def append(number):
    time.sleep(0.02)
    with open("ran", "a") as file:
        file.write("x")

if __name__ == "__main__":
    pool = mh.Pool(2, start_method={method!r})
    for number in range(10):
        pool.submit(append, number)
    if {end == "drops"}:
        del pool
    if {end == "exits"}:
        sys.exit(0)
"""
    )
    assert tasks.run_program(str(program), cwd=tmp_path) == (0, "", "")
    assert (tmp_path / "ran").read_text() == "x" * 10

"""`Future` for threads: all that `concurrent.futures` promises of one."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks


@pytest.fixture
def busy(pool: mh.Pool, tmp_path: Path) -> Any:
    """Both workers run something until `busy()`; gives the futures."""
    begun, go = [tmp_path / "a", tmp_path / "b"], tmp_path / "go"
    futures = [pool.submit(tasks.announce_and_wait, str(path), str(go)) for path in begun]
    tasks.until(lambda: all(path.exists() for path in begun))

    def release() -> list[mh.Future[Any]]:
        go.touch()
        return futures

    release.futures = futures  # type: ignore[attr-defined]
    yield release
    for future in release():
        future.result()


def test_is_a_future_of_the_standard_library(pool: mh.Pool) -> None:
    future = pool.submit(tasks.square, 3)
    assert isinstance(future, cf.Future)
    assert isinstance(future, mh.Future)
    assert future.result() == 9


def test_result_and_exception_wait(pool: mh.Pool) -> None:
    assert pool.submit(tasks.sleep, 0.05, "slept").result() == "slept"
    assert pool.submit(tasks.sleep, 0.05).exception() is None


@pytest.mark.parametrize("timeout", [0, -1, 0.01, 1e-9])
def test_a_timeout_ends_the_wait_and_not_the_task(busy: Any, timeout: float) -> None:
    future = busy.futures[0]
    with pytest.raises(TimeoutError):
        future.result(timeout)
    with pytest.raises(cf.TimeoutError):
        future.exception(timeout=timeout)
    assert not future.done()


@pytest.mark.parametrize("timeout", [None, 1e9, float("inf"), threading.TIMEOUT_MAX])
def test_long_timeouts_are_no_problem(pool: mh.Pool, timeout: float | None) -> None:
    assert pool.submit(tasks.sleep, 0.01, 5).result(timeout) == 5


def test_states(pool: mh.Pool, busy: Any) -> None:
    running, pending = busy.futures[0], pool.submit(tasks.square, 2)
    assert (running.running(), running.done(), running.cancelled()) == (True, False, False)
    assert (pending.running(), pending.done(), pending.cancelled()) == (False, False, False)
    assert (running._state, pending._state) == ("RUNNING", "PENDING")
    assert "state=running" in repr(running)
    assert "state=pending" in repr(pending)
    busy()
    assert pending.result() == 4
    assert (pending.running(), pending.done(), pending.cancelled()) == (False, True, False)
    assert pending._state == "FINISHED"
    assert "of pool_tasks.square state=finished returned int" in repr(pending)


def test_pending_tasks_can_be_cancelled_and_running_ones_cannot(pool: mh.Pool, busy: Any) -> None:
    pending = pool.submit(tasks.square, 2)
    assert not busy.futures[0].cancel()
    assert pending.cancel()
    assert pending.cancel(), "twice is no error"
    assert (pending.cancelled(), pending.done(), pending.running()) == (True, True, False)
    assert pending._state == "CANCELLED_AND_NOTIFIED"
    for wait in (pending.result, pending.exception):
        with pytest.raises(cf.CancelledError):
            wait(0)
    assert "state=cancelled" in repr(pending)


def test_ended_tasks_cannot_be_cancelled(pool: mh.Pool) -> None:
    future = pool.submit(tasks.square, 2)
    future.result()
    assert not future.cancel()
    assert not future.cancelled()


def test_cancelled_tasks_never_run(pool: mh.Pool, busy: Any, tmp_path: Path) -> None:
    futures = [pool.submit(tasks.touch, str(tmp_path / "ran")) for _ in range(5000)]
    assert all(future.cancel() for future in futures)
    busy()
    assert pool.submit(tasks.square, 2).result() == 4
    assert not (tmp_path / "ran").exists()


def test_a_loop_over_done_comes_to_an_end(pool: mh.Pool) -> None:
    """Nobody else reads the completion."""
    future = pool.submit(tasks.sleep, 0.02)
    tasks.until(future.done)
    future = pool.submit(tasks.sleep, 0.02)
    tasks.until(lambda: future._state == "FINISHED")


def test_wait_knows_all_its_return_conditions(pool: mh.Pool, busy: Any, tmp_path: Path) -> None:
    blocked = busy.futures[0]
    with pytest.raises(ValueError):
        cf.wait([blocked], return_when="NEVER")
    done, pending = cf.wait([blocked, busy.futures[1]], timeout=0.05)
    assert (done, len(pending)) == (set(), 2)
    busy()
    go = str(tmp_path / "later")
    first, slow = pool.submit(tasks.sleep, 0.01), pool.submit(tasks.wait_for_file, go)
    done, _ = cf.wait([first, slow], return_when=cf.FIRST_COMPLETED)
    assert done == {first}
    fails = pool.submit(tasks.fail, ValueError())
    done, pending = cf.wait([slow, fails], return_when=cf.FIRST_EXCEPTION)
    assert done == {fails}
    Path(go).touch()
    done, pending = cf.wait([slow, fails, first, blocked])
    assert (len(done), pending) == (4, set())


def test_wait_and_as_completed_take_futures_of_other_executors_beside(pool: mh.Pool) -> None:
    with cf.ThreadPoolExecutor(2) as threads:
        futures: list[cf.Future[Any]] = []
        for number in range(50):
            executor: cf.Executor = threads if number % 2 else pool
            futures.append(executor.submit(tasks.sleep, 0.002, number))
        assert sorted(future.result() for future in cf.as_completed(futures)) == list(range(50))
        futures += [pool.submit(tasks.square, 2), threads.submit(tasks.square, 2)]
        assert cf.wait(futures).not_done == set()


def test_as_completed_yields_in_order_of_completion(pool: mh.Pool, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow, fast = pool.submit(tasks.wait_for_file, str(go)), pool.submit(tasks.square, 2)
    completed = cf.as_completed([slow, fast])
    assert next(completed) is fast
    go.touch()
    assert list(completed) == [slow]
    assert set(cf.as_completed([slow, fast, slow])) == {slow, fast}


def test_as_completed_has_a_timeout(busy: Any) -> None:
    with pytest.raises(TimeoutError):
        list(cf.as_completed(busy.futures, timeout=0.02))


def test_wait_sees_cancelled_futures_and_dead_workers(pool: mh.Pool, busy: Any) -> None:
    cancelled = pool.submit(tasks.square, 2)
    waits = threading.Thread(target=cf.wait, args=([cancelled],))
    waits.start()
    time.sleep(0.02)
    cancelled.cancel()
    waits.join()
    busy()
    dying = pool.submit(tasks.leave, 3)
    done, _ = cf.wait([dying])
    assert isinstance(done.pop().exception(), mh.WorkerDied)


def test_callbacks_run_once_after_the_end_whenever_they_are_added(pool: mh.Pool) -> None:
    calls: list[tuple[str, mh.Future[Any]]] = []
    future = pool.submit(tasks.sleep, 0.05)
    for name in ("first", "second"):
        future.add_done_callback(lambda ended, name=name: calls.append((name, ended)))
    tasks.until(lambda: len(calls) == 2)
    assert future.done()
    future.add_done_callback(lambda ended: calls.append(("late", ended)))
    assert calls == [("first", future), ("second", future), ("late", future)]


def test_a_late_callback_runs_in_the_calling_thread(pool: mh.Pool) -> None:
    future = pool.submit(tasks.square, 2)
    future.result()
    threads: list[threading.Thread] = []
    future.add_done_callback(lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


def test_callbacks_of_cancelled_tasks_run(pool: mh.Pool, busy: Any) -> None:
    future = pool.submit(tasks.square, 2)
    called = threading.Event()
    future.add_done_callback(lambda ended: called.set())
    future.cancel()
    assert called.wait(tasks.PATIENCE)


def test_a_failing_callback_is_logged_and_stops_no_other(
    pool: mh.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "concurrent.futures")
    called = threading.Event()
    future = pool.submit(tasks.sleep, 0.02)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(tasks.PATIENCE)
    assert "exception calling callback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_may_submit_wait_and_block(pool: mh.Pool) -> None:
    results: list[int] = []
    ended = threading.Event()

    def more(future: mh.Future[int]) -> None:
        number = future.result()
        results.append(pool.submit(tasks.identity, number + 1).result())
        if number < 20:
            pool.submit(tasks.identity, number + 1).add_done_callback(more)
        else:
            ended.set()

    pool.submit(tasks.identity, 0).add_done_callback(more)
    assert ended.wait(tasks.PATIENCE)
    assert results == list(range(1, 22))


def test_a_blocked_callback_holds_up_no_result(pool: mh.Pool, tmp_path: Path) -> None:
    blocked, release = threading.Event(), threading.Event()

    def block(_: object) -> None:
        blocked.set()
        release.wait(tasks.PATIENCE)

    future = pool.submit(
        tasks.announce_and_wait, str(tmp_path / "begun"), str(tmp_path / "go"), None
    )
    future.add_done_callback(block)
    (tmp_path / "go").touch()
    assert blocked.wait(tasks.PATIENCE)
    try:
        assert [pool.submit(tasks.square, 3).result() for _ in range(100)] == [9] * 100
    finally:
        release.set()


def test_callbacks_may_be_added_by_many_threads_while_tasks_end(pool: mh.Pool) -> None:
    """Each is called exactly once, before or after the end."""
    calls: list[int] = []
    futures = [pool.submit(tasks.identity, number) for number in range(300)]

    def add() -> None:
        for future in futures:
            future.add_done_callback(lambda ended: calls.append(ended.result()))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks.until(lambda: len(calls) >= 6 * 300)
    assert sorted(calls) == sorted(list(range(300)) * 6)


def test_only_the_pool_sets_the_outcome(pool: mh.Pool) -> None:
    future = pool.submit(tasks.square, 2)
    for forbidden in (
        lambda: future.set_result(1),
        lambda: future.set_exception(ValueError()),
        future.set_running_or_notify_cancel,
    ):
        with pytest.raises(cf.InvalidStateError):
            forbidden()
    assert future.result() == 4


def test_a_future_made_by_hand_belongs_to_no_pool() -> None:
    future: mh.Future[int] = mh.Future()
    with pytest.raises(RuntimeError, match=r"Pool\.submit"):
        future.result()


def test_many_threads_may_wait_for_one_future(pool: mh.Pool, busy: Any) -> None:
    future = pool.submit(tasks.identity, ["the", "same"])
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(future.result())) for _ in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    busy()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(result is results[0] for result in results)


def test_the_collector_looks_only_at_futures_that_refer_to_something(pool: mh.Pool) -> None:
    """Else a program with a million pending futures would have it go through them for ever."""
    future = pool.submit(tasks.square, 3)
    assert not gc.is_tracked(future)
    assert future.result() == 9
    assert not gc.is_tracked(future)
    future = pool.submit(list)
    assert future.result() == []
    assert gc.is_tracked(future)


def by_attribute(future: mh.Future[Any]) -> None:
    future.owner = future  # type: ignore[attr-defined]


def by_callback(future: mh.Future[Any]) -> None:
    future.add_done_callback(lambda _: future.done())


def by_waiters(future: mh.Future[Any]) -> None:
    waiter: Any = cf._base._AsCompletedWaiter()
    waiter.future = future
    future._waiters.append(waiter)


def by_result(future: mh.Future[Any]) -> None:
    future.result().append(future)


def by_exception(future: mh.Future[Any]) -> None:
    error = future.exception()
    assert error is not None
    error.future = future  # type: ignore[attr-defined]


@pytest.mark.parametrize("refer", [by_attribute, by_callback, by_waiters, by_result, by_exception])
def test_cycles_through_a_future_are_collected(
    pool: mh.Pool, refer: Callable[[mh.Future[Any]], None]
) -> None:
    fails = refer is by_exception
    future = pool.submit(tasks.fail, ValueError("x")) if fails else pool.submit(list)
    refer(future)
    cf.wait([future])
    gone = weakref.ref(future)
    del future

    def collected() -> bool:
        gc.collect()
        return gone() is None

    tasks.until(collected)


def test_attributes_can_be_set_and_deleted(pool: mh.Pool) -> None:
    future: Any = pool.submit(tasks.square, 3)
    future.label = "nine"
    assert future.label == "nine"
    del future.label
    assert not hasattr(future, "label")
    with pytest.raises(AttributeError):
        del future.label
    assert future.result() == 9

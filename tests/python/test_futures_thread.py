"""`manyhands.futures.ThreadPoolExecutor`: what the standard library's does, this does."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import threading
import traceback
import weakref
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait
from typing import Any

import pytest

import manyhands as mh
from manyhands.futures import ThreadPoolExecutor


class Thing:
    """Can be referred to weakly."""


# -- calls and results -------------------------------------------------------------------------


def test_a_number_of_threads_may_be_a_fraction() -> None:
    """As programs have it that divide: the standard library starts threads below that number."""
    with ThreadPoolExecutor(5 / 2) as executor:  # type: ignore[arg-type]
        barrier = threading.Barrier(3)
        waits = [executor.submit(barrier.wait, 60) for _ in range(3)]
        assert sorted(wait.result() for wait in waits) == [0, 1, 2]


def test_it_is_a_thread_pool_executor_and_its_futures_are_futures(
    executor: ThreadPoolExecutor,
) -> None:
    assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    future = executor.submit(pow, 2, 8)
    assert isinstance(future, mh.Future)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 256
    assert future.exception() is None
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert repr(future) == f"<Future at {id(future):#x} state=finished returned int>"


def test_keywords_reach_the_function_whatever_their_name(executor: ThreadPoolExecutor) -> None:
    def capture(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    future = executor.submit(capture, 1, self=2, fn=3)
    assert future.result() == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        executor.submit(fn=capture)  # type: ignore[call-arg]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_call_raises_is_raised_as_it_is(
    executor: ThreadPoolExecutor, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    future = executor.submit(fail)
    assert future.exception() is error
    with pytest.raises(type(error)) as caught:
        future.result()
    assert caught.value is error
    assert error.__cause__ is None
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-1] == "fail"
    # The thread goes on.
    assert executor.submit(abs, -1).result() == 1


def test_a_result_that_is_not_there_in_time_is_a_timeout(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    future = executor.submit(abs, -7)
    for method in (future.result, future.exception):
        for limit in (0, 0.01, -1):
            with pytest.raises(TimeoutError):
                method(limit)
    busy.set()
    assert future.result(30) == 7


def test_many_threads_wait_for_one_future(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    future = executor.submit(abs, -7)
    with ThreadPoolExecutor(8) as others:
        waits = [others.submit(future.result) for _ in range(8)]
        busy.set()
        assert [wait.result() for wait in waits] == [7] * 8


def test_tasks_begin_in_the_order_of_their_submission() -> None:
    order: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        for number in range(1000):
            executor.submit(order.append, number)
    assert order == list(range(1000))


def test_a_task_may_submit_and_wait(executor: ThreadPoolExecutor) -> None:
    assert executor.submit(lambda: executor.submit(abs, -7).result()).result() == 7


# -- cancelling --------------------------------------------------------------------------------


def test_what_has_not_begun_can_be_cancelled_and_does_not_run(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    ran: list[int] = []
    future = executor.submit(ran.append, 1)
    assert future._state == "PENDING"
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    busy.set()
    executor.submit(abs, 1).result()
    assert ran == []


def test_what_runs_or_has_ended_cannot_be_cancelled(executor: ThreadPoolExecutor) -> None:
    began, go = threading.Event(), threading.Event()
    future = executor.submit(lambda: (began.set(), go.wait()))
    began.wait()
    assert future.running()
    assert future._state == "RUNNING"
    assert not future.cancel()
    go.set()
    future.result()
    assert not future.cancel()
    assert future._state == "FINISHED"


def test_a_waiter_is_told_of_a_cancellation(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    future = executor.submit(abs, 1)
    with ThreadPoolExecutor(1) as other:
        there = threading.Event()

        def block() -> None:
            there.set()
            future.result()

        waiting = other.submit(block)
        there.wait()
        assert future.cancel()
        assert isinstance(waiting.exception(), concurrent.futures.CancelledError)


def test_cancel_and_begin_at_once_end_each_task_one_way() -> None:
    ran: list[int] = []
    with ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(ran.append, n) for n in range(2000)]
        cancelled = {n for n, future in enumerate(futures) if future.cancel()}
    assert sorted([*ran, *cancelled]) == list(range(2000))
    assert all(future.cancelled() == (n in cancelled) for n, future in enumerate(futures))


# -- callbacks, wait, as_completed -------------------------------------------------------------


def test_callbacks_run_in_order_in_the_thread_that_ran_the_task(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    calls: list[tuple[int, threading.Thread]] = []
    future = executor.submit(threading.current_thread)
    for number in range(3):
        future.add_done_callback(lambda _, n=number: calls.append((n, threading.current_thread())))
    busy.set()
    thread = future.result()
    executor.shutdown()
    assert calls == [(n, thread) for n in range(3)]
    future.add_done_callback(lambda _: calls.append((3, threading.current_thread())))
    assert calls[-1] == (3, threading.current_thread())


def test_callbacks_of_a_cancelled_future_run_in_the_canceller(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    calls: list[Any] = []
    future = executor.submit(abs, 1)
    future.add_done_callback(lambda f: calls.append((f, f.cancelled(), threading.get_ident())))
    future.cancel()
    assert calls == [(future, True, threading.get_ident())]


def test_what_a_callback_raises_is_logged_and_the_others_run(
    executor: ThreadPoolExecutor, busy: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[Any] = []
    future = executor.submit(abs, -7)

    def fail(_: object) -> None:
        raise ValueError("in a callback")

    future.add_done_callback(fail)
    future.add_done_callback(ran.append)
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        busy.set()
        executor.shutdown()
        future.add_done_callback(fail)
    assert ran == [future]
    records = [record for record in caplog.records if "exception calling callback" in record.msg]
    assert len(records) == 2
    assert "in a callback" in caplog.text


def test_a_callback_that_blocks_keeps_no_other_task_from_running() -> None:
    with ThreadPoolExecutor(2) as executor:
        go, blocking = threading.Event(), threading.Event()

        def block(_: object) -> None:
            blocking.set()
            go.wait()

        began = threading.Event()
        future = executor.submit(began.wait)
        future.add_done_callback(block)
        began.set()
        blocking.wait()
        # A thread that is in a callback does not count as idle.
        assert executor.submit(abs, -7).result() == 7
        go.set()


def test_a_result_whose_destructor_blocks_keeps_no_other_task_from_running() -> None:
    go, blocking = threading.Event(), threading.Event()

    class Slow:
        def __del__(self) -> None:
            blocking.set()
            go.wait()

    with ThreadPoolExecutor(2) as executor:
        executor.submit(Slow)
        blocking.wait()
        assert executor.submit(abs, -7).result() == 7
        go.set()


def test_wait_and_as_completed_take_its_futures(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    def fail() -> None:
        raise ValueError

    first, second = executor.submit(fail), executor.submit(abs, -7)
    cancelled = executor.submit(abs, 1)
    done, pending = wait([first, second], timeout=0.01)
    assert done == set()
    assert pending == {first, second}
    cancelled.cancel()
    done, _ = wait([first, second, cancelled], return_when=FIRST_COMPLETED)
    assert done == {cancelled}
    busy.set()
    done, _ = wait([first, second], return_when=FIRST_EXCEPTION)
    assert first in done
    assert set(as_completed([first, second, cancelled])) == {first, second, cancelled}
    assert wait([first, second]).not_done == set()


def test_no_end_is_missed_by_wait() -> None:
    with ThreadPoolExecutor(4) as executor:
        for _ in range(200):
            futures = {executor.submit(abs, n) for n in range(20)}
            assert wait(futures, timeout=30).done == futures


def test_as_completed_gives_them_as_they_end_and_counts_the_rest() -> None:
    with ThreadPoolExecutor(2) as executor:
        go = threading.Event()
        slow, fast = executor.submit(go.wait), executor.submit(abs, 1)
        ended = as_completed([slow, fast])
        assert next(ended) is fast
        with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
            list(as_completed([slow, fast], timeout=0.01))
        go.set()
        assert next(ended) is slow


# -- map ---------------------------------------------------------------------------------------


def test_map_submits_at_once_and_gives_results_in_order() -> None:
    ran: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        executor.map(ran.append, range(10))
    assert sorted(ran) == list(range(10))
    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(pow, range(10), range(10), chunksize=3)) == [
            n**n for n in range(10)
        ]


def test_map_raises_at_the_place_of_its_item(executor: ThreadPoolExecutor) -> None:
    results = executor.map(divmod, [1, 1, 1], [2, 0, 3])
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_map_that_times_out_or_is_closed_withdraws_the_rest(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    ran: list[int] = []
    with pytest.raises(TimeoutError):
        list(executor.map(ran.append, range(3), timeout=0))
    results = executor.map(ran.append, range(3))
    timer = threading.Timer(0.05, busy.set)
    timer.start()
    next(results)
    results.close()  # type: ignore[attr-defined]
    timer.join()
    executor.shutdown()
    assert 0 < len(ran) <= 3


def test_map_with_a_buffersize_reads_no_further_than_that() -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    with ThreadPoolExecutor(2) as executor:
        results = executor.map(abs, numbers(), buffersize=4)
        assert len(read) == 4
        assert next(results) == 0
        assert len(read) == 5
        assert list(results) == list(range(1, 100))
        with pytest.raises(ValueError, match=r"^buffersize must be None or > 0$"):
            executor.map(abs, [1], buffersize=0)
        with pytest.raises(TypeError, match=r"^buffersize must be an integer or None$"):
            executor.map(abs, [1], buffersize="4")  # type: ignore[arg-type]


def test_map_keeps_no_result_that_was_taken(executor: ThreadPoolExecutor) -> None:
    for thing in executor.map(lambda _: Thing(), range(10)):
        weak = weakref.ref(thing)
        del thing
        assert weak() is None


# -- what is kept alive ------------------------------------------------------------------------


def test_function_and_arguments_go_when_the_task_ends(executor: ThreadPoolExecutor) -> None:
    thing = Thing()
    weak = weakref.ref(thing)
    future = executor.submit(id, thing)
    del thing
    future.result()
    assert weak() is None


def test_a_cancelled_future_lets_go_of_its_arguments(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    thing = Thing()
    weak = weakref.ref(thing)
    future = executor.submit(id, thing)
    del thing
    assert weak() is not None
    future.cancel()
    assert weak() is None


def test_a_thread_keeps_no_result(executor: ThreadPoolExecutor) -> None:
    gone = threading.Event()

    def make() -> Thing:
        thing = Thing()
        weakref.finalize(thing, gone.set)
        return thing

    executor.submit(make)
    assert gone.wait(30)


def test_a_future_in_its_own_exceptions_frames_is_collected(executor: ThreadPoolExecutor) -> None:
    def fail() -> None:
        raise ValueError

    def cycle() -> weakref.ref[Any]:
        future = executor.submit(fail)
        try:
            future.result()
        except ValueError as error:
            kept = error
        future.kept = kept  # type: ignore[attr-defined]
        return weakref.ref(future)

    weak = cycle()
    gc.collect()
    assert weak() is None

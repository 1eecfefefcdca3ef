"""Workers that die: only what they ran is lost, its end says why, and the pool goes on."""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks


def crash() -> None:
    faulthandler.disable()
    ctypes.string_at(0)


def abort() -> None:
    faulthandler.disable()
    os.abort()


class DiesWhenLoaded:
    def __reduce__(self) -> Any:
        return os._exit, (7,)


class DiesWhenPickled:
    def __reduce__(self) -> Any:
        os._exit(7)


def make_dying_result() -> DiesWhenPickled:
    return DiesWhenPickled()


class ExitsWhenPickled:
    def __reduce__(self) -> Any:
        raise SystemExit(7)


def make_exiting_result() -> ExitsWhenPickled:
    return ExitsWhenPickled()


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[mh.Pool]:
    """A pool for each test, so that what a death leaves behind is seen."""
    with mh.Pool(2) as pool:
        tasks.workers_of(pool)
        yield pool
    # Its descriptors go with its last reference.
    request.node.funcargs.pop("pool")


def died(future: mh.Future[Any]) -> mh.WorkerDied:
    error = future.exception()
    assert isinstance(error, mh.WorkerDied), error
    return error


@pytest.mark.parametrize("leave", [tasks.leave, tasks.async_leave])
def test_an_exit_is_told_with_status_process_and_task(
    pool: mh.Pool, leave: Callable[..., Any]
) -> None:
    before = tasks.workers_of(pool)
    error = died(pool.submit(leave, 3))
    assert (error.exitcode, error.signal, error.signal_name) == (3, None, None)
    assert error.pid in before
    assert error.task.endswith(leave.__name__)
    assert 0 <= error.seconds < tasks.PATIENCE
    assert f"worker {error.pid} exited with status 3 while it ran" in str(error)


@pytest.mark.parametrize(
    ("task", "number"),
    [(crash, signal.SIGSEGV), (abort, signal.SIGABRT)]
    + [(lambda n=n: tasks.kill_self(n), n) for n in (signal.SIGKILL, signal.SIGTERM)],
    ids=["SIGSEGV", "SIGABRT", "SIGKILL", "SIGTERM"],
)
def test_a_signal_is_told_by_name(
    pool: mh.Pool, task: Callable[[], None], number: signal.Signals
) -> None:
    error = died(pool.submit(task))
    assert (error.exitcode, error.signal, error.signal_name) == (None, number, number.name)
    assert f"was killed by {number.name}" in str(error)


def test_a_dead_worker_is_replaced_and_the_pool_goes_on(pool: mh.Pool) -> None:
    before = set(tasks.workers_of(pool))
    for _ in range(20):
        victim = died(pool.submit(tasks.leave, 1)).pid
        assert pool.submit(tasks.square, 3).result() == 9
        after = set(tasks.workers_of(pool))
        assert len(after) == 2
        assert victim in before
        assert victim not in after
        before = after


def test_other_tasks_of_all_sorts_are_not_lost(pool: mh.Pool) -> None:
    futures: list[tuple[int, mh.Future[Any]]] = []
    doomed = []
    for number in range(3000):
        if number % 500 == 250:
            doomed.append(pool.submit(tasks.leave, 1))
        fn = tasks.async_square if number % 7 == 0 else tasks.square
        futures.append((number, pool.submit(fn, number)))  # type: ignore[arg-type]
    for future in doomed:
        died(future)
    lost = [number for number, future in futures if future.exception() is not None]
    assert all(number % 7 == 0 for number in lost), "only coroutines may have been under way"
    assert len(lost) <= len(doomed) * 16
    assert all(future.result() == n * n for n, future in futures if n not in lost)


def test_an_idle_worker_that_dies_costs_nothing(pool: mh.Pool) -> None:
    for pid in tasks.workers_of(pool):
        os.kill(pid, signal.SIGKILL)
    assert list(pool.map(tasks.square, range(100))) == [n * n for n in range(100)]


@pytest.mark.parametrize("chunksize", [1, 5, 30])
def test_a_death_costs_one_item_of_its_batch(pool: mh.Pool, chunksize: int) -> None:
    results = pool.map(tasks.square_or_die, range(30), chunksize=chunksize)
    assert [next(results) for _ in range(7)] == [n * n for n in range(7)]
    with pytest.raises(mh.WorkerDied) as caught:
        next(results)
    assert caught.value.signal_name == "SIGKILL"
    batch = pool._submit_batch(tasks.square_or_die, list(range(30)), True)
    batch.wait()
    values, errors = batch.take()
    assert [values[n] for n in range(30) if n != 7] == [n * n for n in range(30) if n != 7]
    assert {index: type(error) for index, error in errors.items()} == {7: mh.WorkerDied}


def test_several_deaths_in_one_batch(pool: mh.Pool) -> None:
    victims = (0, 1, 5, 19)
    batch = pool._submit_batch(tasks.square_or_die, [(n, victims) for n in range(20)], False)
    batch.wait()
    values, errors = batch.take()
    assert set(errors) == set(victims)
    assert all(values[n] == n * n for n in range(20) if n not in victims)


def test_dying_while_arguments_are_loaded_ends_the_task(pool: mh.Pool) -> None:
    for _ in range(3):
        assert died(pool.submit(tasks.identity, DiesWhenLoaded())).exitcode == 7
    assert pool.submit(tasks.square, 3).result() == 9


def test_a_batch_that_kills_whoever_loads_it_ends(pool: mh.Pool) -> None:
    """The pool neither breaks by it nor tries for ever."""
    results = pool.map(tasks.identity, [1, DiesWhenLoaded(), 3], chunksize=3)
    with pytest.raises(mh.WorkerDied):
        list(results)
    assert pool.submit(tasks.square, 3).result() == 9


def test_dying_while_the_result_is_pickled_ends_the_task(pool: mh.Pool) -> None:
    assert died(pool.submit(make_dying_result)).exitcode == 7
    assert isinstance(pool.submit(make_exiting_result).exception(), SystemExit)
    assert pool.submit(tasks.square, 3).result() == 9


def test_a_death_ends_all_coroutines_that_were_under_way_there(
    pool: mh.Pool, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    futures = [pool.submit(tasks.async_wait_for_file, str(go)) for _ in range(20)]
    tasks.until(lambda: all(future.running() for future in futures))
    victim = tasks.workers_of(pool)[0]
    os.kill(victim, signal.SIGKILL)
    tasks.until(lambda: any(future.done() for future in futures))
    go.touch()
    ends = [future.exception() for future in futures]
    lost = [error for error in ends if error is not None]
    assert 0 < len(lost) < 20
    assert all(isinstance(error, mh.WorkerDied) and error.pid == victim for error in lost)


def test_a_stopped_worker_delays_only_what_it_runs(pool: mh.Pool, tmp_path: Path) -> None:
    held = pool.submit(tasks.announce_and_wait, str(tmp_path / "begun"), str(tmp_path / "go"), "x")
    tasks.until((tmp_path / "begun").exists)
    victim = next(pid for pid in tasks.workers_of(pool) if pool.submit(os.getpid).result() != pid)
    with tasks.stopped(victim):
        (tmp_path / "go").touch()
        assert list(pool.map(tasks.square, range(3000))) == [n * n for n in range(3000)]
        futures = [pool.submit(tasks.async_square, number) for number in range(300)]
        assert [future.result() for future in futures] == [n * n for n in range(300)]
        assert not held.done()
    assert held.result() == "x"


def test_idle_workers_that_are_stopped_hold_up_nothing(pool: mh.Pool) -> None:
    for _ in range(10):
        for victim in tasks.workers_of(pool):
            with tasks.stopped(victim):
                assert pool.submit(tasks.square, 3).result() == 9
                assert pool.submit(tasks.async_square, 3).result() == 9


@pytest.mark.parametrize("chunksize", [1, 20])
def test_each_item_is_right_or_died_with_its_worker_under_random_kills(
    pool: mh.Pool, chunksize: int
) -> None:
    """Workers are killed at any moment while batches, functions and coroutines flow."""
    stop = threading.Event()
    kills = 0

    def kill() -> None:
        nonlocal kills
        while not stop.is_set():
            # So often only that something gets done meanwhile, however slow the machine is.
            before = pool._status()[1]
            tasks.until(lambda n=before: stop.is_set() or abs(pool._status()[1] - n) > 50)
            time.sleep(random.uniform(0, 0.1))
            rows = [pid for pid, phase in pool._status()[0] if phase == "ready" and pid]
            if rows:
                try:
                    os.kill(random.choice(rows), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    right = wrong = 0
    try:
        first = 0
        while kills < 40:
            numbers = range(first, first + 400)
            first += 400
            batches = [
                (part, pool._submit_batch(tasks.square, list(part), True))
                for part in (numbers[i : i + chunksize] for i in range(0, 200, chunksize))
            ]
            futures = [
                (n, pool.submit(tasks.async_square if n % 2 else tasks.square, n))  # type: ignore[arg-type]
                for n in numbers[200:]
            ]
            outcomes: list[tuple[int, Any, BaseException | None]] = []
            for part, batch in batches:
                batch.wait()
                values, errors = batch.take()
                outcomes += [(n, values[i], errors.get(i)) for i, n in enumerate(part)]
            for n, future in futures:
                error = future.exception()
                outcomes.append((n, None if error else future.result(), error))
            for n, value, error in outcomes:
                if error is None:
                    assert value == n * n
                    right += 1
                else:
                    assert isinstance(error, mh.WorkerDied), error
                    wrong += 1
    finally:
        stop.set()
        killer.join()
    assert right > wrong
    assert list(pool.map(tasks.square, range(100))) == [n * n for n in range(100)]


def test_somebody_else_may_take_the_exit_status() -> None:
    """A program that waits for any child of its own, or asks multiprocessing for its children."""
    with mh.Pool(2, start_method="spawn") as pool:
        for number in range(6):
            tasks.workers_of(pool)
            future = pool.submit(tasks.leave, 3)
            while not future.done():
                if number % 2:
                    multiprocessing.active_children()
                else:
                    os.waitpid(-1, os.WNOHANG)
            assert died(future).exitcode in (3, None)
        assert pool.submit(tasks.square, 3).result() == 9

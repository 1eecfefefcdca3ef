"""`ProcessPoolExecutor`: the standard library's, but that it outlives its workers."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import concurrent.futures.process as standard
import errno
import gc
import logging
import multiprocessing
import os
import pickle
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks
from manyhands import futures
from manyhands.futures import ProcessPoolExecutor

METHODS = ("forkserver", "spawn", "fork")
ON_DEMAND = ("forkserver", "spawn")

ABRUPTLY = "terminated abruptly while the future was running or pending"


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as executor:
        # Both workers, so that none is started by a test.
        cf.wait([executor.submit(time.sleep, 0.1) for _ in range(2)])
        tasks.until(lambda: len(executor._processes or {}) == 2)
        yield executor


def make(method: str, workers: int = 2, **arguments: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context(method), **arguments)


class Unpicklable:
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("not me")


class Unreadable:
    """Cannot be unpickled, wherever it is."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


def make_unreadable(_: Any = None) -> Unreadable:
    return Unreadable()


def make_unpicklable() -> Unpicklable:
    return Unpicklable()


class Thing:
    def method(self) -> int:
        return 7


def make_thing(_: Any) -> Thing:
    return Thing()


NOTED: list[Any] = []


def note(value: Any) -> None:
    NOTED.append(value)


def noted() -> list[Any]:
    return NOTED


def failing_initializer() -> None:
    raise ValueError("no luck")


def log_to(path: str) -> None:
    logging.getLogger("concurrent.futures").addHandler(logging.FileHandler(path))
    failing_initializer()


# -- what it is -----------------------------------------------------------------------------------


def test_it_is_the_standard_librarys_executor(executor: ProcessPoolExecutor) -> None:
    assert isinstance(executor, cf.ProcessPoolExecutor)
    assert isinstance(executor.submit(abs, -1), cf.Future)


def test_the_package_exports_what_concurrent_futures_does() -> None:
    for name in set(cf.__all__) & set(futures.__all__):
        ours, theirs = getattr(futures, name), getattr(cf, name)
        assert ours is theirs or issubclass(ours, theirs)
    from manyhands.futures.process import BrokenProcessPool

    assert BrokenProcessPool is standard.BrokenProcessPool
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        futures.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"max_workers": 0}, ValueError, "^max_workers must be greater than 0$"),
        ({"max_workers": 1 << 20}, ValueError, "^max_workers must be <= "),
        ({"initializer": 5}, TypeError, "^initializer must be a callable$"),
        ({"max_tasks_per_child": 1.5}, TypeError, "^max_tasks_per_child must be an integer$"),
        ({"max_tasks_per_child": 0}, ValueError, "^max_tasks_per_child must be >= 1$"),
        (
            {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")},
            ValueError,
            "^max_tasks_per_child is incompatible with the 'fork' multiprocessing start method",
        ),
        ({"on_worker_death": "weep"}, ValueError, "on_worker_death must be"),
    ],
    ids=str,
)
def test_arguments_are_checked_as_the_standard_library_does(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ProcessPoolExecutor(**arguments)


def test_defaults() -> None:
    assert ProcessPoolExecutor()._max_workers == mh.usable_cores()
    assert ProcessPoolExecutor()._mp_context.get_start_method() == "forkserver"
    assert ProcessPoolExecutor(max_tasks_per_child=1)._mp_context.get_start_method() == "spawn"


@pytest.mark.parametrize(
    ("chosen", "method"),
    [("spawn", "spawn"), ("forkserver", "forkserver"), ("fork", "forkserver")],
)
def test_a_start_method_that_the_program_has_set_is_taken_unless_it_is_fork(
    chosen: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context(chosen)
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", context)
    assert ProcessPoolExecutor()._mp_context.get_start_method() == method
    assert ProcessPoolExecutor(max_tasks_per_child=1)._mp_context.get_start_method() == "spawn"


def test_an_executor_that_is_never_used_starts_nothing() -> None:
    executor = ProcessPoolExecutor(2)
    assert executor._processes == {}
    assert executor._executor_manager_thread is None
    executor.shutdown()
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        executor.submit(abs, -1)


@pytest.mark.parametrize("method", METHODS)
def test_functions_run_in_workers_of_each_start_method(method: str) -> None:
    with make(method) as executor:
        assert executor.submit(divmod, 17, 5).result() == (3, 2)
        assert executor.submit(int, "ff", base=16).result() == 255
        assert executor.submit(os.getpid).result() in (executor._processes or {})


def test_coroutine_functions_are_awaited_in_the_worker(executor: ProcessPoolExecutor) -> None:
    assert executor.submit(tasks.async_square, 7).result() == 49
    assert list(executor.map(tasks.async_square, [1, 2, 3])) == [1, 4, 9]


def test_a_future_can_be_awaited(executor: ProcessPoolExecutor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        mine = executor.submit(abs, -1)
        theirs = loop.run_in_executor(executor, abs, -2)
        return [await mine, await theirs]

    assert asyncio.run(main()) == [1, 2]


# -- workers on demand ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ON_DEMAND)
def test_a_worker_is_started_when_none_is_idle(method: str, tmp_path: Path) -> None:
    with make(method, 3) as executor:
        for _ in range(20):
            executor.submit(abs, -1).result()
            assert len(executor._processes or {}) == 1
        go = str(tmp_path / "go")
        for count in (1, 2, 3, 3):
            executor.submit(tasks.wait_for_file, go)
            assert len(executor._processes or {}) == count
        Path(go).touch()


def test_under_fork_all_workers_start_at_the_first_submission_with_what_there_was() -> None:
    executor = make("fork", 3)
    NOTED.append("before")
    try:
        with executor:
            assert executor.submit(noted).result() == ["before"]
            assert len(executor._processes or {}) == 3
    finally:
        NOTED.clear()


def test_workers_look_like_processes() -> None:
    executor = make("forkserver", 1)
    executor.submit(abs, -1).result()
    [(pid, process)] = (executor._processes or {}).items()
    assert (process.pid, process.is_alive(), process.exitcode) == (pid, True, None)
    process.join(0)
    executor.shutdown()
    process.join()
    assert (process.is_alive(), process.exitcode) == (False, 0)
    assert "exitcode=0" in repr(process)
    process.terminate()
    process.kill()


@pytest.mark.parametrize("method", ON_DEMAND)
def test_a_worker_is_replaced_after_its_share_of_tasks(method: str) -> None:
    with make(method, 1, max_tasks_per_child=2) as executor:
        pids = [executor.submit(os.getpid).result() for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_without_work_nobody_replaces_a_dead_worker() -> None:
    with ProcessPoolExecutor(2) as executor:
        first = executor.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        tasks.until(lambda: not executor._processes, "that the dead worker was taken note of")
        assert executor.submit(os.getpid).result() != first


# -- map ------------------------------------------------------------------------------------------


def test_map_gives_results_in_order(executor: ProcessPoolExecutor) -> None:
    for chunksize in (1, 3, 10, 50):
        results = executor.map(pow, range(20), range(30), chunksize=chunksize)
        assert list(results) == list(map(pow, range(20), range(20)))
    assert list(executor.map(abs, [])) == []


def test_map_submits_everything_at_once(executor: ProcessPoolExecutor, tmp_path: Path) -> None:
    path = str(tmp_path / "marks")
    results = executor.map(tasks.touch, [path] * 5)
    executor.map(tasks.touch, [path] * 5, chunksize=2)
    tasks.until(lambda: os.path.exists(path) and os.path.getsize(path) == 10)
    assert list(results) == [None] * 5


def test_an_item_that_takes_long_does_not_hold_up_the_others(tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    with ProcessPoolExecutor(2) as executor:
        paths = [go] + [str(tmp_path)] * 50
        results = executor.map(tasks.wait_for_file, paths)
        pending = executor.submit(abs, -1)
        assert pending.result(tasks.PATIENCE) == 1
        Path(go).touch()
        assert list(results) == paths


@pytest.mark.parametrize("chunksize", [1, 2])
def test_a_map_whose_time_is_over_withdraws_the_rest(
    executor: ProcessPoolExecutor, tmp_path: Path, chunksize: int
) -> None:
    go, begun = str(tmp_path / "go"), str(tmp_path / "begun")
    waits = [executor.submit(tasks.wait_for_file, go) for _ in range(2)]
    results = executor.map(tasks.touch, [begun] * 10, timeout=0.05, chunksize=chunksize)
    with pytest.raises(TimeoutError):
        next(results)
    Path(go).touch()
    cf.wait(waits)
    executor.submit(abs, -1).result()
    assert not os.path.exists(begun)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_an_abandoned_iterator_withdraws_the_rest(
    executor: ProcessPoolExecutor, tmp_path: Path, chunksize: int
) -> None:
    go, begun = str(tmp_path / "go"), str(tmp_path / "begun")
    results = executor.map(tasks.touch, [begun] * 2, chunksize=chunksize)
    next(results)
    list(results)
    assert os.path.getsize(begun) == 2
    waits = [executor.submit(tasks.wait_for_file, go) for _ in range(2)]
    results = executor.map(abs, [-1], chunksize=chunksize)
    more = executor.map(tasks.touch, [begun] * 10, chunksize=chunksize, timeout=0)
    with pytest.raises(TimeoutError):
        next(more)
    Path(go).touch()
    cf.wait(waits)
    assert list(results) == [1]
    executor.submit(abs, -1).result()
    assert os.path.getsize(begun) == 2


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_with_a_buffer_reads_only_so_far_ahead(
    executor: ProcessPoolExecutor, chunksize: int
) -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    results = executor.map(abs, source(), buffersize=3, chunksize=chunksize)
    assert len(read) == 3 * chunksize
    assert next(results) == 0
    assert len(read) == 4 * chunksize
    assert list(results) == list(range(1, 100))
    with pytest.raises(ValueError, match=r"buffersize must be None or > 0$"):
        executor.map(abs, [], buffersize=0)
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        executor.map(abs, [], buffersize="2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(abs, [], chunksize=0)


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_raises_at_the_place_of_the_item(executor: ProcessPoolExecutor, chunksize: int) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], chunksize=chunksize)
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    results = executor.map(abs, [1, Unpicklable(), 2, 3], chunksize=chunksize)
    with pytest.raises(pickle.PicklingError):
        list(results)


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_keeps_no_result_alive(executor: ProcessPoolExecutor, chunksize: int) -> None:
    for thing in executor.map(make_thing, range(10), chunksize=chunksize):
        reference = weakref.ref(thing)
        del thing
        assert reference() is None


# -- failures -------------------------------------------------------------------------------------


def test_an_exception_has_the_workers_traceback_as_its_cause(executor: ProcessPoolExecutor) -> None:
    error = executor.submit(tasks.fail, RuntimeError(123)).exception()
    assert isinstance(error, RuntimeError)
    assert error.args == (123,)
    assert type(error.__cause__) is standard._RemoteTraceback
    assert "raise error" in str(error.__cause__.tb)


def test_what_cannot_be_pickled_fails_for_itself(executor: ProcessPoolExecutor) -> None:
    refused = executor.submit(abs, Unpicklable())
    unshippable = executor.submit(threading.Lock().acquire)
    assert isinstance(refused.exception(), pickle.PicklingError)
    assert isinstance(unshippable.exception(), TypeError | pickle.PicklingError)
    assert type(refused.exception().__cause__) is standard._RemoteTraceback  # type: ignore[union-attr]
    assert isinstance(executor.submit(make_unpicklable).exception(), pickle.PicklingError)
    assert executor.submit(abs, -1).result() == 1


def test_what_was_submitted_is_not_held(executor: ProcessPoolExecutor) -> None:
    thing = Thing()
    reference = weakref.ref(thing)
    future = executor.submit(thing.method)
    del thing
    assert reference() is None
    assert future.result() == 7
    poison = Unpicklable()
    other = weakref.ref(poison)
    refused = executor.submit(abs, poison)
    del poison
    gc.collect()
    assert other() is None
    assert refused.done()


def test_what_cannot_be_unpickled_fails_for_itself(executor: ProcessPoolExecutor) -> None:
    pids = executor._processes
    assert isinstance(executor.submit(abs, Unreadable()).exception(), ValueError)
    assert isinstance(executor.submit(make_unreadable).exception(), ValueError)
    assert executor._processes == pids


def test_sys_exit_in_a_worker_is_raised_in_the_caller(executor: ProcessPoolExecutor) -> None:
    with pytest.raises(SystemExit) as error:
        executor.submit(sys.exit, 3).result()
    assert error.value.code == 3
    assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("fn", [tasks.leave, tasks.async_leave])
def test_a_death_in_a_chunk_names_the_function(fn: Any) -> None:
    name = f"pool_tasks.{fn.__name__}"
    with ProcessPoolExecutor(1) as executor:
        with pytest.raises(mh.WorkerDied, match=f"status 3 while it ran {name} ") as caught:
            list(executor.map(fn, [3, 3], chunksize=2))
        assert caught.value.task == caught.value.args[3] == name


def test_workers_are_numbered_by_pool_and_place() -> None:
    with ProcessPoolExecutor(1) as executor:
        name = executor.submit(tasks.process_name).result()
    assert re.fullmatch(r"ProcessPoolExecutor-\d{1,4}-0", name)
    with mh.Pool(1) as pool:
        assert re.fullmatch(r"manyhands-\d{1,4}-0", pool.submit(tasks.process_name).result())


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_dies_costs_its_task_and_nothing_else(method: str) -> None:
    with make(method) as executor:
        dead = executor.submit(os._exit, 3)
        rest = [executor.submit(abs, -number) for number in range(100)]
        error = dead.exception()
        assert isinstance(error, mh.WorkerDied)
        assert isinstance(error, standard.BrokenProcessPool)
        assert error.exitcode == 3
        assert [future.result() for future in rest] == list(range(100))
        assert executor._broken is False


@pytest.mark.parametrize("method", METHODS)
def test_a_death_breaks_an_executor_that_is_to_break(method: str, tmp_path: Path) -> None:
    with make(method, on_worker_death="break") as executor:
        pending = [executor.submit(tasks.wait_for_file, str(tmp_path / "never")) for _ in range(3)]
        victim = next(iter((executor._processes or {}).values()))
        victim.terminate()
        for future in pending:
            error = future.exception()
            assert type(error) is standard.BrokenProcessPool
            assert ABRUPTLY in str(error)
            assert "signal 15" in "".join(error.__notes__)
        with pytest.raises(standard.BrokenProcessPool, match="not usable anymore"):
            executor.submit(abs, -1)
        assert "not usable anymore" in str(executor._broken)


def test_an_executor_that_is_to_break_breaks_at_what_cannot_be_unpickled() -> None:
    for fn, args in ((abs, (Unreadable(),)), (make_unreadable, ())):
        with ProcessPoolExecutor(1, on_worker_death="break") as executor:
            with pytest.raises(standard.BrokenProcessPool, match=ABRUPTLY):
                executor.submit(fn, *args).result()
            with pytest.raises(standard.BrokenProcessPool, match="not usable anymore"):
                executor.submit(abs, -1)


@pytest.mark.parametrize("mode", ["replace", "break"])
def test_an_initializer_that_fails_is_logged_and_breaks_the_executor(
    tmp_path: Path, mode: Any
) -> None:
    log = tmp_path / "log"
    executor = ProcessPoolExecutor(
        2, initializer=log_to, initargs=(str(log),), on_worker_death=mode
    )
    with executor:
        error = executor.submit(abs, -1).exception()
        assert isinstance(error, standard.BrokenProcessPool)
        assert isinstance(error.__cause__, ValueError)
        with pytest.raises(standard.BrokenProcessPool):
            executor.submit(abs, -1)
        assert executor._broken
    assert "Exception in initializer:" in log.read_text()
    assert "ValueError: no luck" in log.read_text()


@pytest.mark.parametrize("method", METHODS)
def test_the_initializer_is_called_in_each_worker(method: str) -> None:
    with make(method, initializer=note, initargs=("initialized",)) as executor:
        for future in [executor.submit(noted) for _ in range(10)]:
            assert future.result() == ["initialized"]


# -- the end --------------------------------------------------------------------------------------


def test_a_shutdown_that_cancels_withdraws_what_has_not_begun(tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    executor = ProcessPoolExecutor(1)
    running = executor.submit(tasks.wait_for_file, go)
    tasks.until(running.running)
    rest = [executor.submit(abs, -1) for _ in range(50)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in rest)
    Path(go).touch()
    assert running.result() == go
    executor.shutdown()
    assert executor._processes is None


def test_a_dropped_executor_ends_what_it_has(tmp_path: Path) -> None:
    executor = ProcessPoolExecutor(2)
    results = executor.map(abs, range(-10, 0))
    manager, processes = executor._executor_manager_thread, executor._processes
    assert manager is not None
    assert processes
    workers = list(processes.values())
    del executor
    gc.collect()
    manager.join()
    assert not manager.is_alive()
    for worker in workers:
        worker.join()
    assert list(results) == list(range(10, 0, -1))


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
@pytest.mark.parametrize("method", METHODS)
def test_workers_can_be_ended_by_force(method: str, how: str, tmp_path: Path) -> None:
    executor = make(method, 1)
    running = executor.submit(tasks.wait_for_file, str(tmp_path / "never"))
    tasks.until(running.running)
    pending = executor.submit(abs, -1)
    workers = list((executor._processes or {}).values())
    getattr(executor, how)()
    assert isinstance(running.exception(), standard.BrokenProcessPool)
    assert pending.cancelled()
    for worker in workers:
        worker.join()
        assert worker.exitcode == -(
            signal.SIGTERM if how == "terminate_workers" else signal.SIGKILL
        )
    with pytest.raises(RuntimeError):
        executor.submit(abs, -1)
    executor.shutdown()


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_an_executor_without_workers_can_be_ended_by_force(how: str) -> None:
    executor = ProcessPoolExecutor(1)
    getattr(executor, how)()
    getattr(executor, how)()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)


PENDING_AT_EXIT = """
import time
from manyhands.futures import ProcessPoolExecutor
import multiprocessing

def late(text):
    time.sleep(0.3)
    print(text, flush=True)

if __name__ == "__main__":
    executor = ProcessPoolExecutor(2, multiprocessing.get_context({method!r}))
    executor.submit(late, "apple")
    {then}
"""


@pytest.mark.parametrize("then", ["pass", "del executor", "executor.shutdown(wait=False)"])
@pytest.mark.parametrize("method", METHODS)
def test_leaving_the_interpreter_ends_what_is_pending(
    method: str, then: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PENDING_AT_EXIT.format(method=method, then=then))
    assert tasks.run_program(str(program)) == (0, "apple\n", "")


def test_no_task_is_taken_when_the_interpreter_ends(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit\n"
        "from manyhands.futures import ProcessPoolExecutor\n"
        "def last():\n"
        "    for one in executor, unused:\n"
        "        try:\n"
        "            one.submit(abs, -1)\n"
        "        except RuntimeError as error:\n"
        "            print(error)\n"
        "if __name__ == '__main__':\n"
        "    executor = ProcessPoolExecutor(1)\n"
        "    unused = ProcessPoolExecutor(1)\n"
        "    atexit.register(last)\n"
        "    print(executor.submit(abs, -1).result())\n"
    )
    text = "cannot schedule new futures after interpreter shutdown\n"
    assert tasks.run_program(str(program)) == (0, "1\n" + text + text, "")


def test_ctrl_c_ends_a_program_that_waits_for_its_executor(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from manyhands.futures import ProcessPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(2) as executor:\n"
        "        futures = [executor.submit(time.sleep, 600) for _ in range(9)]\n"
        "        while not futures[0].running():\n"
        "            time.sleep(0.01)\n"
        "        print('ready', flush=True)\n"
    )
    with tasks.start_program(str(program)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=tasks.PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert time.monotonic() - began < tasks.PATIENCE


def test_a_first_fork_that_fails_leaves_nothing_and_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, "no process")

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        with monkeypatch.context() as patch:
            patch.setattr("multiprocessing.popen_fork.Popen._launch", refuse)
            with pytest.raises(OSError, match="no process"):
                executor.submit(abs, -1)
        assert executor.submit(abs, -1).result() == 1


def test_a_forked_child_is_told_that_the_executor_is_not_its_own() -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(abs, -1).result()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                executor.submit(abs, -1)
            except RuntimeError as error:
                status = 0 if "belongs to the process that created it" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert executor.submit(abs, -2).result() == 2


def test_a_worker_may_have_an_executor_of_its_own() -> None:
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(nested).result() == [1, 2]


def nested() -> list[int]:
    with ProcessPoolExecutor(1) as executor:
        return list(executor.map(abs, [-1, -2]))


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EMFILE])
@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_cannot_be_held_loses_no_task(
    method: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []
    pidfd_open = os.pidfd_open

    def refuse_once(pid: int, flags: int = 0) -> int:
        if not refused and threading.current_thread() is not threading.main_thread():
            refused.append(pid)
            raise OSError(number, os.strerror(number))
        return pidfd_open(pid, flags)

    with make(method, 1) as executor:
        monkeypatch.setattr(os, "pidfd_open", refuse_once)
        assert executor.submit(abs, -7).result() == 7
    # The task may have ended before the executor came to look at its worker.
    assert len(refused) == 1


@pytest.mark.parametrize("mode", ["replace", "break"])
def test_a_worker_that_dies_as_soon_as_it_is_there_costs_its_task_only(mode: str) -> None:
    for _ in range(30):
        with ProcessPoolExecutor(
            2, multiprocessing.get_context("fork"), on_worker_death=mode
        ) as executor:
            with pytest.raises(standard.BrokenProcessPool):
                executor.submit(os._exit, 3).result()


def test_a_forked_child_is_told_that_nobody_will_be_called_back_there(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with ProcessPoolExecutor(1) as executor:
        ended = executor.submit(abs, -1)
        assert ended.result() == 1
        # The thread of callbacks runs when the child is forked.
        pending = executor.submit(tasks.wait_for_file, str(go))
        pending.add_done_callback(lambda future: None)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                called: list[object] = []
                ended.add_done_callback(called.append)
                pending.add_done_callback(called.append)
            except RuntimeError as error:
                told = "nobody will be called back here" in str(error)
                status = 0 if told and called == [ended] else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go.touch()
        assert pending.result() == str(go)

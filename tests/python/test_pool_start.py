"""How workers start: start methods, initializers, recycling, and programs of all sorts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks
from manyhands._guard import UNGUARDED as UNGUARDED_STATUS
from manyhands._launch_fork import Nursery, TemplateChild
from manyhands._spec import WorkerSpec
from manyhands.futures import ProcessPoolExecutor

METHODS = ["forkserver", "spawn", "fork"]


def nested(method: Any) -> tuple[int, bool]:
    with mh.Pool(1, start_method=method) as pool:
        return pool.submit(tasks.square, 7).result(), multiprocessing.current_process().daemon


state: dict[str, Any] = {}


def nested_in_threads() -> list[int]:
    with ThreadPoolExecutor(4) as threads:
        return [square for square, _ in threads.map(nested, ["spawn", "forkserver"] * 2)]


def set_state(**values: Any) -> None:
    state["calls"] = state.get("calls", 0) + 1
    state.update(values)


def get_state(_: Any = None) -> tuple[int, dict[str, Any]]:
    return os.getpid(), dict(state)


def refuse(error: BaseException) -> None:
    raise error


def refuse_except_at(path: str, *calls: int) -> None:
    tasks.touch(path)
    call = len(Path(path).read_text())
    if call not in calls:
        raise ValueError(f"at call {call}")


def keep_shared(lock: Any, queue: Any) -> None:
    state.update(lock=lock, queue=queue)


def use_shared(number: int) -> None:
    with state["lock"]:
        state["queue"].put(number)


def blocked_signals() -> list[int]:
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


async def async_blocked_signals() -> list[int]:
    return blocked_signals()


def open_pool(method: str) -> int:
    state["pool"] = mh.Pool(1, start_method=method)  # type: ignore[arg-type]
    result: int = state["pool"].submit(tasks.square, 3).result()
    return result


@pytest.mark.parametrize("method", METHODS)
def test_every_start_method_runs_everything(method: Any) -> None:
    with mh.Pool(2, start_method=method) as pool:
        assert f"({method})" in repr(pool)
        assert pool.submit(tasks.square, 3).result() == 9
        assert pool.submit(tasks.async_square, 3).result() == 9
        assert pool.submit(lambda: 5).result() == 5
        assert list(pool.map(tasks.square, range(100))) == [n * n for n in range(100)]
        with pytest.raises(ValueError, match="x"):
            pool.submit(tasks.fail, ValueError("x")).result()
        error = pool.submit(tasks.leave, 3).exception()
        assert isinstance(error, mh.WorkerDied)
        assert error.exitcode == 3
        error = pool.submit(tasks.kill_self, signal.SIGKILL).exception()
        assert isinstance(error, mh.WorkerDied)
        assert error.signal == signal.SIGKILL
        assert pool.submit(tasks.square, 3).result() == 9
        victim = tasks.workers_of(pool)[0]
        with tasks.stopped(victim):
            assert list(pool.map(tasks.square, range(100))) == [n * n for n in range(100)]


@pytest.mark.parametrize("method", METHODS)
def test_workers_block_no_signal(method: Any) -> None:
    """Else what a task starts is deaf to the end of its children, alarms and SIGTERM."""
    with mh.Pool(1, start_method=method) as pool:
        for task in (blocked_signals, async_blocked_signals) * 2:
            assert pool.submit(task).result() == []
            if task is async_blocked_signals:
                pool.submit(tasks.leave, 1).exception()


@pytest.mark.parametrize("method", METHODS)
def test_the_initializer_runs_once_in_each_worker_before_its_tasks(method: Any) -> None:
    with mh.Pool(
        2, start_method=method, initializer=lambda **v: set_state(**v), initargs=()
    ) as pool:
        tasks.workers_of(pool)
        calls = {pid: found["calls"] for pid, found in pool.map(get_state, range(100))}
        assert set(calls.values()) == {1}
        pool.submit(tasks.leave, 1).exception()
        tasks.workers_of(pool)
        assert all(found["calls"] == 1 for _, found in pool.map(get_state, range(100)))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_only_inherited_reaches_the_initializer(method: Any) -> None:
    context = multiprocessing.get_context(method)
    lock, queue = context.Lock(), context.SimpleQueue()
    with mh.Pool(2, start_method=method, initializer=keep_shared, initargs=(lock, queue)) as pool:
        list(pool.map(use_shared, range(20)))
        assert sorted(queue.get() for _ in range(20)) == list(range(20))
        pool.submit(tasks.leave, 1).exception()
        pool.submit(use_shared, 20).result()
        assert queue.get() == 20
    queue.close()


def test_a_failing_initializer_ends_the_pool_with_its_own_error() -> None:
    with mh.Pool(2, initializer=refuse, initargs=(ValueError("mine"),)) as pool:
        for _ in range(10):
            # Which of the two raises is a matter of time.
            with pytest.raises(ValueError, match="mine") as caught:
                pool.submit(tasks.square, 2).result()
            assert "initializer" in caught.value.__notes__[-1]
        with pytest.raises(ValueError, match="mine"):
            pool.submit(tasks.square, 2)
        with pytest.raises(ValueError, match="mine"):
            list(pool.map(tasks.square, [2]))
        assert "broken" in repr(pool)


def test_an_initializer_that_exits_ends_the_pool_saying_so() -> None:
    with mh.Pool(1, initializer=refuse, initargs=(SystemExit(4),)) as pool:
        with pytest.raises(mh.InitializerFailed, match=r"SystemExit\(4\)"):
            pool.submit(tasks.square, 2).result()
    with mh.Pool(1, initializer=os._exit, initargs=(4,)) as pool:
        with pytest.raises(mh.PoolBroken, match="status 4"):
            pool.submit(tasks.square, 2).result()


@pytest.mark.parametrize("drop_in", [False, True])
def test_an_initializer_that_raises_at_first_is_called_once(tmp_path: Path, drop_in: bool) -> None:
    calls = tmp_path / "calls"
    make: Any = ProcessPoolExecutor if drop_in else mh.Pool
    with make(1, initializer=refuse_except_at, initargs=(str(calls), 0)) as pool:
        with pytest.raises(mh.InitializerFailed if drop_in else ValueError, match="call 1"):
            pool.submit(tasks.square, 3).result()
    assert calls.read_text() == "x"


def test_what_a_worker_said_is_heard_though_it_ended_before_its_launch_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args: Any) -> TemplateChild:
        time.sleep(0.3)
        return TemplateChild(*args)

    monkeypatch.setattr("manyhands._launch_fork.TemplateChild", late)
    calls = tmp_path / "calls"
    with mh.Pool(
        1, start_method="fork", initializer=refuse_except_at, initargs=(str(calls), 0)
    ) as pool:
        with pytest.raises(ValueError, match="call 1"):
            pool.submit(tasks.square, 3).result()
    assert calls.read_text() == "x"


@pytest.mark.parametrize("drop_in", [False, True])
def test_a_replacements_initializer_that_raises_is_tried_again(
    tmp_path: Path, drop_in: bool
) -> None:
    calls = tmp_path / "calls"
    make: Any = ProcessPoolExecutor if drop_in else mh.Pool
    with make(1, initializer=refuse_except_at, initargs=(str(calls), 1, 3)) as pool:
        assert pool.submit(tasks.square, 3).result() == 9
        assert isinstance(pool.submit(tasks.leave, 3).exception(), mh.WorkerDied)
        assert pool.submit(tasks.square, 4).result() == 16
    assert calls.read_text() == "xxx"


@pytest.mark.parametrize("most", [1, 5])
def test_max_tasks_replaces_workers_under_a_backlog(most: int) -> None:
    with mh.Pool(2, max_tasks=most) as pool:
        futures = [pool.submit(tasks.process_number) for _ in range(20 * most)]
        ran = Counter(future.result() for future in futures)
    assert max(ran.values()) <= most
    assert sum(ran.values()) == 20 * most


def test_max_tasks_counts_items_of_maps_and_coroutines() -> None:
    with mh.Pool(2, max_tasks=5) as pool:
        ran = Counter(pool.map(tasks.process_number, range(50), chunksize=25))
        assert max(ran.values()) <= 5
        assert sum(ran.values()) == 50
    with mh.Pool(2, max_tasks=5, concurrency=2) as pool:
        assert list(pool.map(tasks.async_square, range(60), chunksize=30)) == [
            n * n for n in range(60)
        ]
        futures = [pool.submit(tasks.async_square, n) for n in range(60)]
        assert [future.result() for future in futures] == [n * n for n in range(60)]


def test_a_pool_whose_worker_retires_at_the_end_shuts_down_soon() -> None:
    for _ in range(5):
        with mh.Pool(1, max_tasks=1) as pool:
            assert pool.submit(tasks.square, 3).result() == 9


@pytest.mark.parametrize("inner", METHODS)
@pytest.mark.parametrize("outer", METHODS)
def test_a_pool_left_open_in_a_task_ends_with_its_worker(outer: Any, inner: str) -> None:
    with mh.Pool(1, start_method=outer), mh.Pool(1, start_method=outer) as pool:
        assert pool.submit(open_pool, inner).result() == 9


def test_the_fork_server_may_die() -> None:
    with mh.Pool(2) as pool:
        workers = tasks.workers_of(pool)
        from multiprocessing import forkserver

        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
        # They go with the process that made them.
        tasks.until(lambda: not any(tasks.alive(pid) for pid in workers))
        for _ in range(3):
            assert pool.submit(tasks.square, 3).result() == 9
            pool.submit(tasks.leave, 1).exception()
        assert pool.submit(blocked_signals).result() == []


def test_pools_may_be_made_by_several_threads_at_once() -> None:
    results: list[int] = []

    def make(method: Any) -> None:
        with mh.Pool(1, start_method=method) as pool:
            results.append(pool.submit(tasks.square, 3).result())

    threads = [threading.Thread(target=make, args=(method,)) for method in METHODS * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [9] * 3 * len(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_pools_may_end_in_the_order_they_were_made(method: Any) -> None:
    first = mh.Pool(1, start_method=method)
    assert first.submit(tasks.square, 3).result() == 9
    with mh.Pool(1, start_method=method) as second:
        assert second.submit(tasks.square, 4).result() == 16
        first.shutdown()
        assert second.submit(tasks.square, 5).result() == 25


PROGRAM = """
import sys
import manyhands as mh

factor = 3

class Box:
    def __init__(self, value): self.value = value

def multiply(box): return Box(box.value * factor)
async def amultiply(value): return value * factor

if __name__ == "__main__":
    with mh.Pool(2, start_method=METHOD) as pool:
        print([box.value for box in pool.map(multiply, map(Box, range(4)))])
        print(pool.submit(amultiply, 5).result(), pool.submit(lambda: factor).result())
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["file", "module", "-c", "stdin"])
def test_programs_may_define_their_functions_wherever_they_stand(
    tmp_path: Path, way: str, method: str
) -> None:
    source = PROGRAM.replace("METHOD", repr(method))
    (tmp_path / "program.py").write_text(source)
    stdin = None
    arguments = {
        "file": [str(tmp_path / "program.py")],
        "module": ["-m", "program"],
        "-c": ["-c", source],
        "stdin": ["-"],
    }[way]
    if way == "stdin":
        stdin = source
    status, out, error = tasks.run_program(*arguments, stdin=stdin, cwd=tmp_path)
    assert (status, out, error) == (0, "[0, 3, 6, 9]\n15 3\n", "")


WHEREVER = """
import functools, sys
import manyhands as mh

def top():
    return "top"

def loud(function):
    @functools.wraps(function)
    def call():
        return function().upper()
    return call

@loud
def decorated():
    return "decorated"

if sys.argv[1:]:
    def conditional():
        return "conditional"

class Box:
    @staticmethod
    def method():
        return "method"

pool = mh.Pool(1, start_method=sys.argv[1]) if __name__ == "__main__" else None

def later():
    return "later"

if __name__ == "__main__":
    def guarded():
        return "guarded"

    def local():
        def inside():
            return "inside"
        return inside

    with pool:
        print(pool.submit(top).result(), "cloudpickle" in sys.modules)
        for function in (decorated, conditional, Box.method, later, guarded, local()):
            print(pool.submit(function).result())
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [["-m", "package"], ["package"], ["-m", "pdb", "program.py"]])
def test_main_modules_that_multiprocessing_does_not_find(
    tmp_path: Path, words: list[str], method: str
) -> None:
    source = PROGRAM.replace("METHOD", repr(method))
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__main__.py").write_text(source)
    (tmp_path / "program.py").write_text(source)
    status, out, error = tasks.run_program(*words, stdin="continue\nquit\n", cwd=tmp_path)
    assert "[0, 3, 6, 9]\n15 3\n" in out
    assert (status, error) == (0, "")


@pytest.mark.parametrize("method", METHODS)
def test_a_package_may_make_its_pool_above_its_functions(tmp_path: Path, method: str) -> None:
    """No worker runs its `__main__.py`."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__main__.py").write_text(WHEREVER)
    status, out, error = tasks.run_program("-m", "package", method, cwd=tmp_path)
    wanted = ["DECORATED", "conditional", "method", "later", "guarded", "inside"]
    assert (status, out.splitlines()[1:], error) == (0, wanted, "")


def test_pools_of_a_daemonic_process_may_be_made_by_many_threads() -> None:
    with multiprocessing.get_context("fork").Pool(1) as outer:
        assert outer.apply(nested_in_threads) == [49] * 4


def test_what_has_no_module_travels_from_a_program_without_file() -> None:
    source = "import manyhands\nwith manyhands.Pool(1) as pool: print(*pool.map(str.upper, 'ab'))"
    assert tasks.run_program("-c", source) == (0, "A B\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_daemonic_process_may_have_a_pool(method: str) -> None:
    """The standard library refuses it children, since they might outlive it."""
    with multiprocessing.get_context("fork").Pool(1) as outer:
        assert outer.apply(nested, (method,)) == (49, True)


@pytest.mark.parametrize("method", METHODS)
def test_functions_of_the_main_module_need_not_be_known_to_workers(
    tmp_path: Path, method: str
) -> None:
    """What is there by name is not shipped by value, which takes cloudpickle."""
    program = tmp_path / "program.py"
    program.write_text(WHEREVER)
    names = "DECORATED conditional method later guarded inside"
    wanted = "top False\n" + "".join(f"{name}\n" for name in names.split())
    assert tasks.run_program(str(program), method) == (0, wanted, "")


UNGUARDED = {
    "Pool": "pool = manyhands.Pool(2, start_method={method!r})",
    "ProcessPoolExecutor": "pool = manyhands.futures.ProcessPoolExecutor(2, context)",
    "one that breaks": (
        "pool = manyhands.futures.ProcessPoolExecutor(2, context, on_worker_death='break')"
    ),
}


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("what", UNGUARDED)
def test_a_program_without_main_guard_is_told_once_what_to_do(
    tmp_path: Path, what: str, method: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, manyhands, manyhands.futures\n"
        f"context = multiprocessing.get_context({method!r})\n"
        f"{UNGUARDED[what].format(method=method)}\n"
        "print(pool.submit(abs, -3).result())\n"
    )
    status, out, error = tasks.run_program(str(program))
    assert (status, out) == (1, "")
    assert error.count("Traceback") == 1
    assert "BrokenProcessPool: " in error or "PoolBroken: the pool cannot start its work" in error
    last = error.splitlines()[-1]
    assert f"the main module ({program}) creates a pool while it is imported" in last
    assert "put what creates the pool under `if __name__ == '__main__':`" in last


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_program_may_be_prepared_for_what_it_cannot_do_in_a_worker(
    tmp_path: Path, method: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import manyhands as mh\n"
        "try:\n"
        f"    pool = mh.Pool(1, start_method={method!r})\n"
        "except RuntimeError:\n"
        "    pool = None\n"
        "if pool is not None:\n"
        "    print(pool.submit(abs, -3).result())\n"
    )
    assert tasks.run_program(str(program)) == (0, "3\n", "")


def test_a_process_of_the_programs_own_says_itself_that_the_guard_is_missing(
    tmp_path: Path,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "import manyhands as mh\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=print)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    print(process.exitcode)\n"
        "else:\n"
        "    pool = mh.Pool(1)\n"
    )
    status, out, error = tasks.run_program(str(program))
    assert (status, out) == (0, f"{UNGUARDED_STATUS}\n")
    assert error.startswith("manyhands: in the new process 'SpawnProcess-1', the main module")
    assert error.count("\n") == 1


@pytest.mark.parametrize("children", ["ignored", "reaped by a handler"])
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_program_may_have_its_children_reaped_otherwise(
    tmp_path: Path, method: str, children: str
) -> None:
    program = tmp_path / "program.py"
    handler = {"ignored": "signal.SIG_IGN", "reaped by a handler": "reap"}[children]
    program.write_text(
        "import os, signal\n"
        "import manyhands as mh\n"
        "def reap(*_):\n"
        "    try:\n"
        "        while os.waitpid(-1, os.WNOHANG) != (0, 0): pass\n"
        "    except ChildProcessError: pass\n"
        "if __name__ == '__main__':\n"
        f"    signal.signal(signal.SIGCHLD, {handler})\n"
        f"    with mh.Pool(2, start_method={method!r}) as pool:\n"
        "        print(type(pool.submit(os._exit, 3).exception()).__name__)\n"
        "        print(pool.submit(abs, -7).result())\n"
    )
    assert tasks.run_program(str(program)) == (0, "WorkerDied\n7\n", "")


def test_the_death_of_the_process_that_forks_is_told() -> None:
    pool = mh.Pool(1, start_method="fork")
    pid = pool.submit(os.getppid).result()
    os.kill(pid, signal.SIGKILL)

    def use() -> None:
        pool.submit(abs, -7).exception()
        pool.submit(os.getpid)

    with pytest.raises(mh.PoolBroken, match=f"the process {pid} that forks the workers"):
        tasks.until(use)
    pool.kill()


def test_the_process_that_forks_is_none_of_the_programs_active_children() -> None:
    with mh.Pool(1, start_method="fork") as pool:
        assert pool.submit(abs, -7).result() == 7
        assert not multiprocessing.active_children()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Nursery("test", theirs, WorkerSpec(None, (), 1, None, False, False), None)


def test_a_worker_forked_ahead_may_die_before_its_seat_comes(nursery: Nursery) -> None:
    nursery.prepare()
    assert nursery.waiting is not None
    waiting = nursery.waiting.process.pid
    os.kill(waiting, signal.SIGKILL)
    tasks.until(lambda: not tasks.alive(waiting), "that it is dead")
    with open(os.devnull) as no_seat:
        worker = nursery.start(0, no_seat.fileno())
    assert worker.process.pid != waiting
    worker.process.join()
    assert worker.process.exitcode == 1  # as for a seat of a pool that has ended meanwhile
    worker.end()
    assert not Path(f"/proc/{waiting}").exists()


def test_a_worker_forked_ahead_is_not_left_behind(nursery: Nursery) -> None:
    nursery.prepare()
    assert nursery.waiting is not None
    waiting = nursery.waiting.process.pid
    nursery.close()
    assert not Path(f"/proc/{waiting}").exists()

"""`manyhands.futures.ThreadPoolExecutor`: its threads, from the first to the interpreter's end."""

from __future__ import annotations

import gc
import logging
import os
import queue
import signal
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks
from manyhands.futures import ThreadPoolExecutor

# -- threads -----------------------------------------------------------------------------------


def test_threads_are_threads_that_python_knows() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="Special") as executor:
        thread = executor.submit(threading.current_thread).result()
        assert thread.name == "Special_0"
        assert not thread.daemon
        assert thread in threading.enumerate()
        assert executor._threads == {thread}
    assert not thread.is_alive()
    with ThreadPoolExecutor(1) as executor:
        name = executor.submit(lambda: threading.current_thread().name).result()
        assert name.startswith("ThreadPoolExecutor-")
        assert name.endswith("_0")


def test_trace_hooks_see_what_runs_in_its_threads() -> None:
    seen: list[str] = []

    def hook(frame: Any, event: str, argument: object) -> None:
        seen.append(frame.f_code.co_name)

    def traced() -> None: ...

    threading.setprofile(hook)
    try:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(traced).result()
    finally:
        threading.setprofile(None)
    assert "traced" in seen


def test_an_idle_thread_is_used_again() -> None:
    with ThreadPoolExecutor(8) as executor:
        for number in range(200):
            assert executor.submit(abs, -number).result() == number
        assert len(executor._threads) == 1


def test_there_are_as_many_threads_as_tasks_that_wait_and_no_more_than_allowed() -> None:
    with ThreadPoolExecutor(4) as executor:
        gate = threading.Semaphore(0)
        for _ in range(3):
            executor.submit(gate.acquire)
        assert len(executor._threads) == 3
        for _ in range(30):
            executor.submit(gate.acquire)
        assert len(executor._threads) == 4
        gate.release(33)


def test_the_default_number_of_threads_is_the_standard_librarys() -> None:
    assert ThreadPoolExecutor()._max_workers == min(32, mh.usable_cores() + 4)


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_threads_less_than_one_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        ThreadPoolExecutor(max_workers=number)


def test_the_queue_tells_how_many_wait(executor: ThreadPoolExecutor, busy: threading.Event) -> None:
    for _ in range(3):
        executor.submit(abs, 1)
    assert executor._work_queue.qsize() == 3
    with pytest.raises(AttributeError, match="buffersize"):
        executor._work_queue = queue.Queue(3)


def test_a_thread_that_cannot_be_started_is_an_error_and_the_next_one_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadPoolExecutor(2) as executor:

        def refuse(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                executor.submit(abs, 1)
        assert executor.submit(abs, -7).result() == 7


# -- initializers ------------------------------------------------------------------------------


def test_an_initializer_runs_in_each_thread_before_its_first_task() -> None:
    local = threading.local()
    gate = threading.Barrier(2)

    def prepare(value: str) -> None:
        local.value = value

    def look() -> str:
        gate.wait()
        return local.value

    with ThreadPoolExecutor(2, initializer=prepare, initargs=("ready",)) as executor:
        futures = [executor.submit(look) for _ in range(2)]
        assert [future.result() for future in futures] == ["ready"] * 2
        assert executor._initializer is prepare
    with pytest.raises(TypeError, match="initializer must be a callable"):
        ThreadPoolExecutor(initializer="x")  # type: ignore[arg-type]


def test_an_initializer_that_fails_breaks_the_executor_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go = threading.Event()

    def fail() -> None:
        go.wait()
        raise ValueError("error in initializer")

    with ThreadPoolExecutor(1, initializer=fail) as executor:
        futures = [executor.submit(abs, n) for n in range(10)]
        with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
            go.set()
            for future in futures:
                with pytest.raises(BrokenThreadPool, match="initializer failed"):
                    future.result()
        assert executor._broken
        with pytest.raises(BrokenThreadPool, match="not usable anymore"):
            executor.submit(abs, 1)
    assert "ValueError: error in initializer" in caplog.text
    assert caplog.records[0].levelname == "CRITICAL"


# -- the end -----------------------------------------------------------------------------------


def test_what_was_submitted_before_shutdown_is_run_and_nothing_after_it() -> None:
    executor = ThreadPoolExecutor(2)
    assert not executor._shutdown
    futures = [executor.submit(time.sleep, 0.001) for _ in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert executor._shutdown
    assert not any(thread.is_alive() for thread in executor._threads)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)
    executor.shutdown()


def test_shutdown_can_withdraw_what_has_not_begun_and_need_not_wait(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    futures = [executor.submit(abs, n) for n in range(10)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    busy.set()


def test_an_executor_that_is_dropped_runs_what_was_submitted_and_ends_its_threads() -> None:
    go = threading.Event()
    executor = ThreadPoolExecutor(2)
    executor.submit(go.wait)
    results = executor.map(abs, range(-5, 5))
    threads = executor._threads
    weak = weakref.ref(executor)
    del executor
    assert weak() is None
    go.set()
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    for thread in list(threads):
        thread.join(30)
        assert not thread.is_alive()


def test_a_thread_does_not_wait_for_its_own_end(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(RuntimeError, match="cannot join current thread"):
        executor.submit(executor.shutdown).result()


PROGRAMS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "finishes what was submitted": (
        """
        import os, time
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(2)
        for word in b"apple\\n", b"pear\\n":
            executor.submit(lambda w=word: (time.sleep(0.2), os.write(1, w)))
        """,
        lambda out: sorted(out.split()) == ["apple", "pear"],
    ),
    "finishes it although nobody waits, and nobody has the executor": (
        """
        import time
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        executor.submit(lambda: (time.sleep(0.2), print("apple")))
        executor.submit(print, "pear")
        executor.shutdown(wait=False)
        del executor
        """,
        lambda out: out.split() == ["apple", "pear"],
    ),
    "takes nothing more": (
        """
        import atexit
        @atexit.register
        def last():
            try:
                executor.submit(id, None)
            except RuntimeError as error:
                print(error)
            try:
                ThreadPoolExecutor(1).submit(id, None)
            except RuntimeError as error:
                print(error)
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        executor.submit(id, 1).result()
        """,
        lambda out: (
            out.splitlines() == ["cannot schedule new futures after interpreter shutdown"] * 2
        ),
    ),
    "waits for tasks that are submitted by a daemon's thread": (
        """
        import threading, time
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        def daemon():
            executor.submit(lambda: (time.sleep(0.2), print("apple")))
        thread = threading.Thread(target=daemon, daemon=True)
        thread.start()
        thread.join()
        """,
        lambda out: out.split() == ["apple"],
    ),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_at_its_end_the_interpreter(what: str) -> None:
    program, expected = PROGRAMS[what]
    out = tasks.run(program)
    assert expected(out), out


def test_ctrl_c_ends_a_wait_for_a_result() -> None:
    program = """
        import os, signal, threading
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        there, go = threading.Event(), threading.Event()
        def interrupt():
            there.wait()
            # Another thread may take it just when the main thread falls asleep.
            while not go.wait(0.05):
                os.kill(os.getpid(), signal.SIGINT)
        armed = True
        def handler(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, handler)
        future = executor.submit(interrupt)
        try:
            there.set()
            future.result()
        except KeyboardInterrupt:
            print("interrupted")
        go.set()
        future.result()
        armed = True
        try:
            executor.submit(os.kill, os.getpid(), signal.SIGINT)
            executor.shutdown()
        except KeyboardInterrupt:
            print("again")
    """
    assert tasks.run(program).split() == ["interrupted", "again"]


def test_a_signal_handler_may_wait_within_a_wait() -> None:
    with ThreadPoolExecutor(2) as executor:
        go = threading.Event()
        results: list[int] = []

        def handler(*_: object) -> None:
            results.append(executor.submit(abs, -7).result())
            go.set()

        def signal_often() -> bool:
            # Another thread may take it just when the main thread falls asleep.
            while not go.wait(0.05):
                os.kill(os.getpid(), signal.SIGUSR1)
            return True

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            assert executor.submit(signal_often).result(tasks.PATIENCE)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert set(results) == {7}


def test_a_forked_child_gets_an_error_and_does_not_wait_for_ever(
    executor: ThreadPoolExecutor, busy: threading.Event
) -> None:
    future = executor.submit(abs, -7)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        texts = []
        for call in (lambda: executor.submit(abs, 1), future.result):
            try:
                call()
            except RuntimeError as error:
                texts.append(str(error))
        executor.shutdown()
        with ThreadPoolExecutor(1) as own:
            texts.append(str(own.submit(abs, -7).result()))
        os.write(write, "\n".join(texts).encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read().splitlines()
    os.waitpid(child, 0)
    assert len(text) == 3
    assert "make a pool in this process" in text[0]
    assert text[2] == "7"
    busy.set()
    assert future.result() == 7


def test_a_forked_child_ends_as_usual() -> None:
    program = """
        import os, threading
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(2)
        go = threading.Event()
        executor.submit(go.wait)
        child = os.fork()
        if child == 0:
            raise SystemExit(7)
        status = os.waitpid(child, 0)[1]
        go.set()
        print(os.waitstatus_to_exitcode(status))
    """
    # (Newer interpreters warn of the fork, on standard error.)
    assert tasks.run(program).split()[0] == "7"


def test_what_has_been_started_goes_on_without_descriptors() -> None:
    assert tasks.run("""
        import asyncio, os, resource, threading
        from manyhands.futures import ThreadPoolExecutor
        async def on_a_loop():
            taken = take_all()
            ended = await asyncio.get_running_loop().run_in_executor(executor, abs, -7)
            give_back(taken)
            return ended
        def take_all():
            taken = []
            while True:
                try:
                    taken.append(os.dup(0))
                except OSError:
                    return taken
        def give_back(taken):
            for descriptor in taken:
                os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        executor = ThreadPoolExecutor(1)
        print(asyncio.run(on_a_loop()))
        gate = threading.Event()
        future = executor.submit(gate.wait)
        taken = take_all()
        threading.Timer(0.2, gate.set).start()
        print(future.result())
        executor.shutdown()
        give_back(taken)
    """).splitlines() == ["7", "True"]


@pytest.mark.parametrize("used", [False, True], ids=["unused", "shut-down"])
def test_an_executor_goes_that_only_its_own_initializer_refers_to(used: bool) -> None:
    class Owner:
        def __init__(self) -> None:
            self.executor = ThreadPoolExecutor(1, initializer=self.prepare)

        def prepare(self) -> None: ...

    owner = Owner()
    if used:
        assert owner.executor.submit(abs, -7).result() == 7
        owner.executor.shutdown()
    known = weakref.ref(owner)
    del owner
    gc.collect()
    assert known() is None


def test_the_collector_leaves_an_initializer_that_threads_may_still_call() -> None:
    calls: list[str] = []

    class Owner:
        def __init__(self) -> None:
            self.executor = ThreadPoolExecutor(2, initializer=self.prepare)

        def prepare(self) -> None:
            calls.append(threading.current_thread().name)

    gate = threading.Event()
    owner = Owner()
    futures = [owner.executor.submit(gate.wait)]
    gc.collect()
    futures.append(owner.executor.submit(gate.wait))
    gate.set()
    assert [future.result() for future in futures] == [True, True]
    owner.executor.shutdown()
    assert len(calls) == 2


def test_an_interrupt_while_a_thread_is_started_is_told_to_its_submitter_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    done = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                executor.submit(done.set)
        # The thread is there, and does what was submitted.
        assert done.wait(60)
        assert executor.submit(abs, -7).result() == 7


def test_errors_of_the_system_have_their_number() -> None:
    assert tasks.run("""
        import errno, os, resource
        from manyhands._engine import ThreadDoor
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError as error:
            of_the_system = error
        try:
            ThreadDoor()
        except OSError as error:
            print(error.errno == errno.EMFILE, str(error) == str(of_the_system))
    """).split() == ["True", "True"]


def test_a_child_forked_just_after_the_first_task_has_pools_that_work() -> None:
    # The idle thread may be in the middle of finding out something once and for all.
    program = """
        import os, signal, time
        from manyhands.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        executor.submit(abs, -1).result()
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            own = ThreadPoolExecutor(1)
            for _ in range(10):
                own.submit(abs, -1).result()
                time.sleep(0.001)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    for _ in range(5):
        assert tasks.run(program).split()[0] == "0"


def test_many_tasks_do_not_keep_the_main_modules_globals() -> None:
    code = """
from manyhands.futures import ThreadPoolExecutor

class Last:
    def __del__(self, print=print):
        print("gone")

last = Last()
with ThreadPoolExecutor(1) as executor:
    print(len([future.result() for future in [executor.submit(abs, 1) for _ in range(200)]]))
"""
    assert tasks.run_program("-c", code) == (0, "200\ngone\n", "")

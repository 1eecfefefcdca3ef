"""While the main thread waits, a signal's handler runs at once, whichever thread was given it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks
from manyhands.futures import ThreadPoolExecutor

NUMBER = signal.SIGUSR1


class Elsewhere:
    """Sends signals that only another thread than the main one takes, and says when they came."""

    def __init__(self) -> None:
        self.handled = threading.Event()
        self.before = signal.signal(NUMBER, lambda *_: self.act())
        self.act: Callable[[], object] = self.handled.set
        self._due = threading.Event()
        # It does not block the signal.
        self._thread = threading.Thread(target=self._send)
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_BLOCK, {NUMBER})

    def _send(self) -> None:
        self._due.wait()
        # The main thread goes to sleep meanwhile. Should it not, the test still holds.
        time.sleep(0.2)
        os.kill(os.getpid(), NUMBER)
        # The system gives it to this thread, if that is still there.
        self.handled.wait(tasks.PATIENCE)

    def soon(self, act: Callable[[], object]) -> None:
        """The main thread is about to wait; what the handler does ends that."""

        def handle() -> None:
            act()
            self.handled.set()

        self.act = handle
        self._due.set()

    def close(self) -> None:
        self.handled.set()
        self._due.set()
        self._thread.join()
        signal.signal(NUMBER, self.before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {NUMBER})


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    elsewhere = Elsewhere()
    yield elsewhere
    elsewhere.close()


@pytest.fixture(scope="module", params=["process", "thread"])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with mh.Pool(1, kind=request.param) as pool:
        pool.submit(abs, -1).result()
        yield pool


def test_a_signal_is_handled_while_the_main_thread_waits_for_a_result(
    elsewhere: Elsewhere, pool: Any, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    future = pool.submit(tasks.announce_and_wait, str(begun), str(go), 7)
    tasks.until(begun.exists)
    elsewhere.soon(go.touch)
    assert future.result(tasks.PATIENCE) == 7


def test_what_a_handler_raises_ends_the_wait(
    elsewhere: Elsewhere, pool: Any, tmp_path: Path
) -> None:
    def stop() -> None:
        elsewhere.handled.set()
        raise TimeoutError("by the handler")

    begun, go = tmp_path / "begun", tmp_path / "go"
    future = pool.submit(tasks.announce_and_wait, str(begun), str(go), 7)
    tasks.until(begun.exists)
    elsewhere.soon(stop)
    with pytest.raises(TimeoutError, match="by the handler"):
        future.result(tasks.PATIENCE)
    go.touch()
    assert future.result(tasks.PATIENCE) == 7


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_signal_is_handled_while_the_main_thread_waits_for_callbacks_or_threads(
    elsewhere: Elsewhere, kind: str
) -> None:
    go = threading.Event()
    if kind == "process":
        with mh.Pool(1) as pool:
            pool.submit(abs, -7).add_done_callback(lambda _: go.wait(tasks.PATIENCE))
            elsewhere.soon(go.set)
    else:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(go.wait, tasks.PATIENCE)
            elsewhere.soon(go.set)
    assert go.is_set()
    assert elsewhere.handled.is_set()


def test_the_programs_own_descriptor_for_signals_is_told_and_stays(
    elsewhere: Elsewhere, pool: Any, tmp_path: Path
) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer)
    try:
        begun, go = tmp_path / "begun", tmp_path / "go"
        future = pool.submit(tasks.announce_and_wait, str(begun), str(go), 7)
        tasks.until(begun.exists)
        elsewhere.soon(go.touch)
        assert future.result(tasks.PATIENCE) == 7
        assert os.read(reader, 16) == bytes([NUMBER])
    finally:
        assert signal.set_wakeup_fd(before) == writer
        os.close(reader)
        os.close(writer)


def test_a_wait_within_a_handler_within_a_wait_keeps_no_signal_from_the_outer_one(
    elsewhere: Elsewhere, pool: Any, tmp_path: Path
) -> None:
    def wait_for_another() -> None:
        elsewhere.act = go.touch
        # This one is taken while the handler waits, or just after.
        signal.pthread_kill(elsewhere._thread.ident or 0, NUMBER)
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(abs, -7).result(tasks.PATIENCE) == 7

    begun, go = tmp_path / "begun", tmp_path / "go"
    future = pool.submit(tasks.announce_and_wait, str(begun), str(go), 7)
    tasks.until(begun.exists)
    elsewhere.soon(lambda: None)
    elsewhere.act = wait_for_another
    assert future.result(tasks.PATIENCE) == 7

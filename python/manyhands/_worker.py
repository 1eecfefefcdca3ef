"""A worker process, from its start to its end. It imports only what its tasks need."""

from __future__ import annotations

import os
import signal
import sys
import threading

from manyhands._engine import WorkerSeat

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from manyhands._spec import Handover, MainFile, WorkerSpec

__all__ = ["ignore_interrupts", "main", "main_elsewhere"]


def ignore_interrupts() -> None:
    """Ctrl-C is the parent's affair.

    A handler that does nothing, since SIG_IGN would pass to the programs that a task starts.
    """
    signal.signal(signal.SIGINT, _do_nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _do_nothing(signum: int, frame: Any) -> None:
    """Handles SIGINT."""


def _let_go_of_forkserver() -> None:
    """The fork server ends when nobody holds its pipe: with the parent, not with this process.

    And with the server the kernel ends this process, also where it is stopped.
    """
    module = sys.modules.get("multiprocessing.forkserver")
    server = getattr(module, "_forkserver", None)
    if server is None or server._forkserver_alive_fd is None or server._forkserver_pid is not None:
        return
    os.close(server._forkserver_alive_fd)
    server._forkserver_alive_fd = None


def main_elsewhere(_program: MainFile, control: Handover, spec: WorkerSpec) -> None:
    """`main` in a process that is not forked from the pool's. It has the main module by now."""
    main(control, spec)


def main(control: Handover, spec: WorkerSpec) -> None:
    """Takes the seat offered through `control` and works until the pool has no more to do."""
    ignore_interrupts()
    _let_go_of_forkserver()
    try:
        seat = WorkerSeat(control.fd, spec.max_tasks, spec.breaks)
    except EOFError:
        # The parent is gone, or does without this process: nobody is left to work for, or to tell.
        # Any other error is multiprocessing's to report.
        sys.exit(1)
    try:
        spec.initialize()
    except BaseException as error:
        if spec.standard:
            import logging

            logger = logging.getLogger("concurrent.futures")
            logger.critical("Exception in initializer:", exc_info=True)
        seat.initializer_failed(error)
        sys.exit(1)
    coroutines = CoroutineThread(seat, spec.concurrency)
    seat.guard(coroutines.start)
    seat.ready()
    seat.run_functions()
    coroutines.join()


class CoroutineThread:
    """The event loop of a worker, in a thread of its own, started with the first coroutine."""

    def __init__(self, seat: WorkerSeat, concurrency: int) -> None:
        self._seat = seat
        self._concurrency = concurrency
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """There is a coroutine to run. Called once, by the guard's thread."""
        with self._lock:
            if self._closed:
                return
            self._thread = threading.Thread(target=self._run, name="coroutines", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._run_loop()
        except BaseException:
            # Coroutines that nobody runs would be waited for without end: the worker dies of it,
            # and its tasks end as `WorkerDied`.
            import traceback

            traceback.print_exc()
            os._exit(70)

    def _run_loop(self) -> None:
        import asyncio

        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            asyncio.set_event_loop(loop)
            lane = self._seat.coroutine_lane(loop, self._concurrency)
            loop.add_reader(lane.fileno(), lane.on_ready)
            loop.call_soon(lane.on_ready)
            # Until the lane stops it: the pool closes, and nothing is under way. What a task
            # does to the loop (it may stop it, or a callback of its may raise SystemExit) must
            # not end the others.
            while not lane.finished():
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    loop.call_exception_handler(
                        {"message": "a callback of a task raised", "exception": error}
                    )
            loop.remove_reader(lane.fileno())

    def join(self) -> None:
        """Waits until the coroutines under way have ended."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.join()

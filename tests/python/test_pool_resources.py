"""What a pool costs when it does nothing, and that it gives everything back."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

import manyhands as mh
import pool_tasks as tasks


def wake_ups(pids: Iterable[int]) -> dict[tuple[int, int], int]:
    """Voluntary context switches of each thread: how often it went to sleep."""
    found = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if pid == os.getpid() and int(task.name) == threading.get_native_id():
                continue
            try:
                lines = (task / "status").read_text().splitlines()
            except OSError:  # a thread that has ended meanwhile
                continue
            for line in lines:
                if line.startswith("voluntary_ctxt_switches"):
                    found[pid, int(task.name)] = int(line.split()[1])
    return found


def assert_quiet(pids: list[int], seconds: float) -> None:
    """No thread wakes up for so long. What woke up once, late on a busy machine, is not asked."""
    for patience in (3, 2, 1, 0):
        time.sleep(0.5)
        before = wake_ups(pids)
        time.sleep(seconds)
        after = wake_ups(pids)
        if after == before:
            return
        assert patience, {key: (after.get(key), before.get(key)) for key in after | before}


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_an_idle_pool_never_wakes_up(method: str) -> None:
    """After functions, coroutines, maps, callbacks, a death, and with an unfinished map open."""
    with mh.Pool(2, start_method=method) as pool:  # type: ignore[arg-type]
        list(pool.map(tasks.square, range(1000)))
        list(pool.map(tasks.async_square, range(1000)))
        called = threading.Event()
        pool.submit(tasks.square, 1).add_done_callback(lambda _: called.set())
        assert called.wait(tasks.PATIENCE)
        pool.submit(tasks.leave, 1).exception()
        open_map = pool.map(tasks.square, range(1_000_000))
        next(open_map)
        pids = [os.getpid(), *tasks.workers_of(pool)]
        assert_quiet(pids, 2)
        open_map.close()


def test_waiting_costs_no_wake_ups(tmp_path: Path) -> None:
    """Nobody polls: neither for a long task, nor in `result()`, nor in a loop."""
    with mh.Pool(2) as pool:

        def wait_for_signal(path: str) -> None:
            os.mkfifo(path)
            os.close(os.open(path, os.O_RDONLY))

        async def wait(future: mh.Future[None]) -> None:
            await future

        fifos = [str(tmp_path / name) for name in "ab"]
        futures = [pool.submit(wait_for_signal, path) for path in fifos]
        threads = [
            threading.Thread(target=futures[0].result),
            threading.Thread(target=lambda: asyncio.run(wait(futures[1]))),
        ]
        for thread in threads:
            thread.start()
        tasks.until(lambda: all(os.path.exists(path) for path in fifos))
        pids = [os.getpid(), *tasks.workers_of(pool)]
        try:
            assert_quiet(pids, 1)
        finally:
            for path in fifos:
                os.close(os.open(path, os.O_WRONLY))
            for thread in threads:
                thread.join()


def count_everything() -> tuple[int, int, int]:
    """Descriptors, threads, memory mappings."""
    gc.collect()
    return (
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        len(Path("/proc/self/maps").read_text().splitlines()),
    )


def nothing_more_than(before: tuple[int, int, int], mappings: int = 1000) -> None:
    """Threads of what has ended may still be on their way out."""
    most = (before[0], before[1], before[2] + mappings)
    tasks.until(
        lambda: all(now <= most for now, most in zip(count_everything(), most, strict=True)),
        "that nothing is left",
    )


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_thirty_pools_leave_nothing_behind(method: str) -> None:
    def use(method: str) -> None:
        async def main() -> None:
            async with mh.Pool(1, start_method=method) as pool:  # type: ignore[arg-type]
                assert await pool.submit(tasks.square, 3) == 9
                assert await pool.map(tasks.async_square, range(10))

        with mh.Pool(1, start_method=method) as pool:  # type: ignore[arg-type]
            pool.submit(tasks.square, 1).add_done_callback(lambda future: future.result())
            assert list(pool.map(tasks.square, range(10), ordered=False))
            assert len(pool.submit(bytes, 1 << 20).result()) == 1 << 20
        asyncio.run(main())

    for _ in range(3):
        use(method)
    before = count_everything()
    for _ in range(13):
        use(method)
    nothing_more_than(before, mappings=12)


def test_loops_that_come_and_go_leave_nothing_behind(pool: mh.Pool) -> None:
    async def main() -> None:
        assert await pool.submit(tasks.square, 3) == 9
        async for _ in pool.map(tasks.square, range(10)):
            pass

    for _ in range(3):
        asyncio.run(main())
    before = count_everything()
    for _ in range(30):
        asyncio.run(main())
    nothing_more_than(before)


def test_maps_that_come_and_go_leave_nothing_behind(pool: mh.Pool) -> None:
    def use() -> None:
        for ordered in (True, False):
            next(pool.map(tasks.square, range(1000), ordered=ordered))
            assert list(pool.map(tasks.square, [2], ordered=ordered)) == [4]

    use()
    before = count_everything()
    for _ in range(50):
        use()
    nothing_more_than(before)


def test_deaths_leave_nothing_behind() -> None:
    with mh.Pool(1) as pool:
        for _ in range(3):
            pool.submit(tasks.leave, 1).exception()
        tasks.workers_of(pool)
        before = count_everything()
        for _ in range(20):
            assert isinstance(pool.submit(tasks.leave, 1).exception(), mh.WorkerDied)
        tasks.workers_of(pool)
        nothing_more_than(before)


def test_functions_that_come_and_go_leave_nothing_behind(pool: mh.Pool) -> None:
    """Each lambda is shipped; what was shipped goes with it."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def use(count: int) -> None:
        padding = b"x" * 100_000
        for number in range(count):
            assert pool.submit(lambda n=number: len(padding) + n).result() == 100_000 + number

    use(200)
    before = resident()
    use(600)
    assert resident() - before < 30 << 20


def test_nothing_is_left_to_the_garbage_collector(pool: mh.Pool) -> None:
    """It may come late, and what was submitted may be large."""

    class Payload:
        """Only cloudpickle can ship it."""

    def use(payload: Payload) -> None:
        assert isinstance(pool.submit(tasks.identity, payload).result(), Payload)
        assert pool.submit(lambda: payload is not None).result()
        assert list(pool.map(lambda each: each is None, [payload])) == [False]
        payload.lock = threading.Lock()  # type: ignore[attr-defined]
        for refused in (lambda: pool.submit(id, payload), lambda: pool.submit(lambda: payload)):
            with suppress(TypeError):
                refused()
        assert isinstance(pool.submit(abs, "x").exception(), TypeError)

    gc.collect()
    gc.disable()
    try:
        payload = Payload()
        alive = weakref.ref(payload)
        use(payload)
        del payload
        assert alive() is None
    finally:
        gc.enable()


SHORT = """
import os, resource, sys, time
import manyhands as mh

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
    for left in (2, 4, 6, 8, 10, 12):
        with mh.Pool(1, start_method=sys.argv[1]) as pool:
            pool.submit(abs, -1).result()
            hoard = []
            while True:
                try:
                    hoard.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            for _ in range(left):
                os.close(hoard.pop())
            died, future = pool.submit(os._exit, 3), pool.submit(abs, -7)
            assert isinstance(died.exception(), mh.WorkerDied)
            time.sleep(0.02)  # in which a worker cannot be started
            for descriptor in hoard:
                os.close(descriptor)
            assert future.result() == 7
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_moment_without_descriptors_does_not_break_a_pool(tmp_path: Path, method: str) -> None:
    """However far the start of another worker comes: one takes its place later."""
    path = tmp_path / "short.py"
    path.write_text(SHORT)
    status, _, error = tasks.run_program(str(path), method)
    assert status == 0, error

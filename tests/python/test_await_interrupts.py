"""Ctrl-C while an event loop learns what has ended: every awaiter still gets its answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks


class Interruption:
    """A profiler that raises KeyboardInterrupt at the given step of the loop's hub."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if code.co_filename.endswith("manyhands/_future.py") and event != "return":
            self.left -= 1
            if self.left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


@pytest.fixture(scope="module", params=["process", "thread"])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with mh.Pool(2, kind=request.param) as pool:
        pool.submit(abs, -7).result()
        # Else the first test would be taken for who left the second one behind.
        tasks.until(lambda: all(phase == "ready" for _, phase in pool._status()[0]))
        yield pool


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def value_of(future: Any) -> Any:
    return await future


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """What is due is done."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def held(pool: Any, directory: Path, count: int) -> tuple[list[Any], Path]:
    """Tasks that end when a file is there."""
    directory.mkdir()
    begun, go = directory / "begun", directory / "go"
    wait = tasks.announce_and_wait
    return [pool.submit(wait, str(begun), str(go), n) for n in range(count)], go


def test_ctrl_c_at_any_step_of_a_wake_up_leaves_no_awaiter_without_an_answer(
    pool: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    for after in range(100):
        futures, go = held(pool, tmp_path / str(after), 3)
        awaiters = [loop.create_task(value_of(future)) for future in futures]
        turn(loop)
        go.touch()
        tasks.until(lambda these=futures: all(future.done() for future in these))
        sys.setprofile(Interruption(after))
        interrupted = False
        try:
            loop.run_until_complete(asyncio.wait(awaiters, timeout=tasks.PATIENCE))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setprofile(None)
        done, left = loop.run_until_complete(asyncio.wait(awaiters, timeout=tasks.PATIENCE))
        assert not left
        errors = [task.exception() for task in done]
        # An interrupt that reached an awaiter itself is its own.
        assert all(error is None or isinstance(error, KeyboardInterrupt) for error in errors)
        hub = futures[0]._hubs.get(loop)
        assert (hub._waits, hub._keys, [*hub._ended]) == ({}, {}, [])
        if not interrupted:
            break
    assert 5 < after < 99


def test_nobody_counts_as_waiting_after_an_interrupt(
    pool: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """Else whoever is told otherwise, as by a callback, would wait for that loop to read."""
    for after in range(12):
        (future,), go = held(pool, tmp_path / str(after), 1)
        awaiter = loop.create_task(value_of(future))
        turn(loop)
        go.touch()
        tasks.until(future.done)
        sys.setprofile(Interruption(after))
        try:
            loop.run_until_complete(awaiter)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        turn(loop)
        told: list[Any] = []
        later = pool.submit(abs, -8)
        later.add_done_callback(told.append)
        # The loop does not run.
        tasks.until(lambda said=told: said)

"""Runs coroutines on fresh event loops of asyncio and uvloop, and sees that nobody keeps these."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop

import pool_tasks as tasks

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# The first loop opens libuv's own pipe for signals, which stays open for ever.
uvloop.new_event_loop().close()


def runs(which: str) -> Iterator[Run]:
    """For a fixture: what runs a coroutine on a loop of that sort; none of them outlives it."""
    factory = uvloop.new_event_loop if which == "uvloop" else None
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        debug = which == "asyncio in debug mode"
        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            loops.append(weakref.ref(runner.get_loop()))
            return runner.run(main)

    yield run

    def are_gone() -> bool:
        gc.collect()
        return all(loop() is None for loop in loops)

    # (A thread that has just woken one may still hold it.)
    tasks.until(are_gone, "that the pool keeps no loop alive")

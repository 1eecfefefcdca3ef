"""What a task raises reaches its caller: its own type where that can be, the traceback always."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import manyhands as mh
import pool_tasks as tasks

TASKS = [tasks.fail, tasks.async_fail]
"""Each holds for functions and for coroutines."""


class Custom(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class RefusesToLoad(Exception):
    def __init__(self, host: str, port: int) -> None:  # pickle calls it with one argument
        super().__init__(f"{host}:{port}")


class RefusesToDump(Exception):
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


class RefusesText(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")

    def __reduce__(self) -> Any:
        raise TypeError


def raise_refuses_to_dump() -> None:
    raise RefusesToDump("text")


async def async_raise_refuses_to_dump() -> None:
    raise RefusesToDump("text")


def raise_refuses_text() -> None:
    raise RefusesText


def raise_holding_a_lock() -> None:
    raise ValueError(threading.Lock())


def raise_chained() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def recurse() -> int:
    return recurse() + 1


def exhaust_memory() -> bytes:
    return bytes(1 << 62)


def raise_local() -> None:
    class Local(Exception):
        pass

    raise Local("mine")


@pytest.mark.parametrize("fail", TASKS)
def test_an_exception_comes_with_its_type_arguments_and_attributes(
    pool: mh.Pool, fail: Callable[..., Any]
) -> None:
    with pytest.raises(Custom) as caught:
        pool.submit(fail, Custom(5)).result()
    assert (caught.value.args, caught.value.code) == ((5,), 5)


@pytest.mark.parametrize("fail", TASKS)
def test_its_cause_is_the_remote_traceback(pool: mh.Pool, fail: Callable[..., Any]) -> None:
    error = pool.submit(fail, ValueError("here")).exception()
    assert error is not None
    assert isinstance(error.__cause__, mh.RemoteTraceback)
    assert f"in {fail.__name__}" in error.__cause__.tb
    assert "raise error" in "".join(traceback.format_exception(error))


def test_the_remote_traceback_shows_the_whole_chain(pool: mh.Pool) -> None:
    error = pool.submit(raise_chained).exception()
    assert error is not None
    text = str(error.__cause__)
    assert text.index("KeyError: 'first'") < text.index("direct cause") < text.index("second")


@pytest.mark.parametrize("fail", TASKS)
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("x")], ids=repr
)
def test_base_exceptions_are_outcomes_like_any_other(
    pool: mh.Pool, fail: Callable[..., Any], error: BaseException
) -> None:
    workers = tasks.workers_of(pool)
    caught = pool.submit(fail, error).exception()
    assert (type(caught), caught.args if caught else None) == (type(error), error.args)
    assert tasks.workers_of(pool) == workers, "no worker has ended by it"


@pytest.mark.parametrize("fail", TASKS)
def test_cancelled_errors_of_a_task_are_its_outcome(
    pool: mh.Pool, fail: Callable[..., Any]
) -> None:
    own = pool.submit(fail, asyncio.CancelledError("mine"))
    assert isinstance(own.exception(), asyncio.CancelledError)
    assert not own.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        pool.submit(fail, concurrent.futures.CancelledError()).result()


def test_an_exception_that_cannot_be_unpickled_is_a_remote_error(pool: mh.Pool) -> None:
    error = pool.submit(lambda: tasks.fail(RefusesToLoad("localhost", 80))).exception()
    assert isinstance(error, mh.RemoteError)
    assert error.type_name == "test_pool_exceptions.RefusesToLoad"
    assert error.message == "localhost:80"
    assert "raise error" in error.traceback
    assert str(error) == "test_pool_exceptions.RefusesToLoad: localhost:80"


@pytest.mark.parametrize("task", [raise_refuses_to_dump, async_raise_refuses_to_dump])
def test_an_exception_that_cannot_be_pickled_is_a_remote_error(
    pool: mh.Pool, task: Callable[..., Any]
) -> None:
    error = pool.submit(task).exception()
    assert isinstance(error, mh.RemoteError)
    assert error.type_name == "test_pool_exceptions.RefusesToDump"
    assert error.message == "text"
    assert "raise_refuses_to_dump" in error.traceback


def test_an_exception_with_unpicklable_arguments_is_a_remote_error(pool: mh.Pool) -> None:
    error = pool.submit(raise_holding_a_lock).exception()
    assert isinstance(error, mh.RemoteError)
    assert error.type_name == "ValueError"


def test_an_exception_without_even_a_text_is_a_remote_error(pool: mh.Pool) -> None:
    error = pool.submit(raise_refuses_text).exception()
    assert isinstance(error, mh.RemoteError)
    assert "text cannot be made" in error.message


def test_exceptions_of_local_classes_arrive(pool: mh.Pool) -> None:
    error = pool.submit(raise_local).exception()
    assert error is not None
    assert type(error).__name__ == "Local"
    assert error.args == ("mine",)


def test_endless_recursion_and_exhausted_memory_are_outcomes(pool: mh.Pool) -> None:
    assert isinstance(pool.submit(recurse).exception(), RecursionError)
    assert isinstance(pool.submit(exhaust_memory).exception(), (MemoryError, OverflowError))
    assert pool.submit(tasks.square, 3).result() == 9


def test_exception_groups_and_notes_arrive(pool: mh.Pool) -> None:
    group = ExceptionGroup("several", [ValueError("a"), KeyError("b")])
    group.add_note("a note")
    error = pool.submit(tasks.fail, group).exception()
    assert isinstance(error, ExceptionGroup)
    assert [type(part) for part in error.exceptions] == [ValueError, KeyError]
    assert error.__notes__ == ["a note"]


def test_each_failing_task_gets_its_own_error(pool: mh.Pool) -> None:
    futures = [pool.submit(tasks.fail, ValueError(number)) for number in range(500)]
    errors = [future.exception() for future in futures]
    assert [error.args for error in errors if error] == [(number,) for number in range(500)]

"""`Pool.submit`: every sort of callable, argument and result makes its way and back."""

from __future__ import annotations

import functools
import importlib.util
import operator
import os
import sys
import threading
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

import manyhands as mh
import pool_tasks as tasks


class Account:
    def __init__(self, balance: int) -> None:
        self.balance = balance

    def add(self, amount: int) -> Account:
        return Account(self.balance + amount)

    @classmethod
    def opened(cls, balance: int) -> Account:
        return cls(balance)

    @staticmethod
    def double(amount: int) -> int:
        return 2 * amount

    def __call__(self, factor: int) -> int:
        return self.balance * factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account) and self.balance == other.balance

    __hash__ = None  # type: ignore[assignment]


class AsyncCallable:
    async def __call__(self, value: int) -> int:
        return value + 1


def describe(*args: object, **kwargs: object) -> str:
    return f"{args} {kwargs}"


class Unpicklable:
    def __reduce__(self) -> str:
        raise TypeError("this stays here")


class FailsToLoad:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


def make_fails_to_load() -> FailsToLoad:
    return FailsToLoad()


def test_runs_a_function_in_another_process(pool: mh.Pool) -> None:
    assert pool.submit(tasks.process_number).result() != os.getpid()


def test_passes_positional_and_keyword_arguments(pool: mh.Pool) -> None:
    assert pool.submit(describe, 1, "a", x=2, y=None).result() == describe(1, "a", x=2, y=None)


@pytest.mark.parametrize("name", ["self", "fn", "func", "args", "kwargs", "timeout", "pool"])
def test_no_keyword_of_the_function_is_taken_by_submit(pool: mh.Pool, name: str) -> None:
    assert pool.submit(describe, **{name: 1}).result() == describe(**{name: 1})


def test_runs_builtins_operators_and_types(pool: mh.Pool) -> None:
    assert pool.submit(len, "abc").result() == 3
    assert pool.submit(operator.itemgetter(1), "abc").result() == "b"
    assert pool.submit(str.upper, "abc").result() == "ABC"
    assert pool.submit(complex, 1, 2).result() == 1 + 2j


def test_runs_classes_methods_and_callable_objects(pool: mh.Pool) -> None:
    account = Account(5)
    assert pool.submit(Account, 5).result() == account
    assert pool.submit(account.add, 2).result() == Account(7)
    assert pool.submit(Account.opened, 3).result() == Account(3)
    assert pool.submit(Account.double, 3).result() == 6
    assert pool.submit(account, 3).result() == 15


def test_a_bound_method_travels_with_the_state_of_the_moment(pool: mh.Pool) -> None:
    account = Account(1)
    before = pool.submit(account.add, 1)
    account.balance = 10
    assert (before.result(), pool.submit(account.add, 1).result()) == (Account(2), Account(11))


def test_runs_partials_of_functions_and_coroutine_functions(pool: mh.Pool) -> None:
    assert pool.submit(functools.partial(describe, 1, x=2), 3).result() == describe(1, 3, x=2)
    assert pool.submit(functools.partial(tasks.async_square, 4)).result() == 16


def test_runs_lambdas_closures_and_local_classes(pool: mh.Pool) -> None:
    offset = 10

    class Local:
        def __init__(self, value: int) -> None:
            self.value = value

    assert pool.submit(lambda x: x + offset, 5).result() == 15
    assert pool.submit(lambda local: local.value, Local(3)).result() == 3


def test_a_closure_travels_with_its_variables_of_the_moment(pool: mh.Pool) -> None:
    seen: list[int] = []

    def count() -> int:
        return len(seen)

    results = []
    for _ in range(3):
        results.append(pool.submit(count).result())
        seen.append(0)
    assert results == [0, 1, 2]


def test_a_function_is_shipped_to_a_worker_once(pool: mh.Pool) -> None:
    """So what it keeps in its module, or in its own attributes, stays in the worker."""

    def count() -> tuple[int, int]:
        count.calls = getattr(count, "calls", 0) + 1
        return os.getpid(), count.calls

    calls = [pool.submit(count).result() for _ in range(20)]
    assert max(number for _, number in calls) > 1


def test_runs_coroutine_functions_and_async_callables(pool: mh.Pool) -> None:
    assert pool.submit(tasks.async_square, 3).result() == 9
    assert pool.submit(AsyncCallable(), 3).result() == 4


def test_what_is_not_callable_is_a_type_error_at_once(pool: mh.Pool) -> None:
    with pytest.raises(TypeError, match="must be callable, not int"):
        pool.submit(5)  # type: ignore[call-overload]


@pytest.mark.parametrize("value", [threading.Lock(), Unpicklable()], ids=["lock", "own"])
def test_an_argument_that_cannot_be_pickled_raises_at_once_and_is_named(
    pool: mh.Pool, value: object
) -> None:
    with pytest.raises(TypeError) as caught:
        pool.submit(describe, 1, value)
    assert "Argument 2 of test_pool_submit.describe" in caught.value.__notes__[-1]
    with pytest.raises(TypeError) as caught:
        pool.submit(describe, 1, x=value)
    assert "Argument 'x' of test_pool_submit.describe" in caught.value.__notes__[-1]
    assert pool.submit(describe).result() == describe()


def test_a_function_that_cannot_be_pickled_raises_at_once_and_is_named(pool: mh.Pool) -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError) as caught:
        pool.submit(lambda: lock)
    assert "lambda" in caught.value.__notes__[-1]


def test_a_result_that_cannot_be_pickled_is_the_tasks_error(pool: mh.Pool) -> None:
    error = pool.submit(threading.Lock).exception()
    assert isinstance(error, TypeError)
    assert "result, of type lock" in error.__notes__[-1]
    assert isinstance(pool.submit(Unpicklable).exception(), TypeError)


def test_an_argument_that_cannot_be_unpickled_is_the_tasks_error(pool: mh.Pool) -> None:
    assert isinstance(pool.submit(tasks.identity, FailsToLoad()).exception(), ValueError)


def test_a_module_that_workers_cannot_import_is_named_and_may_travel_by_value(
    pool: mh.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "loaded_from_a_path.py"
    path.write_text("UNIT = 2\ndef double(n): return 2 * n\ndef times(n): return UNIT * n\n")
    spec = importlib.util.spec_from_file_location("loaded_from_a_path", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for failed in (pool.submit(module.double, 2), pool.submit(tasks.identity, module.double)):
        error = failed.exception()
        assert isinstance(error, ModuleNotFoundError)
        assert error.name == module.__name__
        assert "cloudpickle.register_pickle_by_value(module)" in error.__notes__[-1]
    with pytest.raises(ModuleNotFoundError):
        list(pool.map(module.double, [1]))
    cloudpickle.register_pickle_by_value(module)
    try:
        assert pool.submit(module.times, 2).result() == 4
        module.UNIT = 3  # type: ignore[attr-defined]
        assert list(pool.map(module.times, [1, 2])) == [3, 6]
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize("name", ["cloudpickle", "inspect"])
def test_a_module_that_another_thread_is_importing_is_not_asked(
    pool: mh.Pool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert pool.submit(functools.partial(divmod, 7), 2).result() == (3, 1)


def test_a_result_that_cannot_be_unpickled_is_the_futures_error(pool: mh.Pool) -> None:
    future = pool.submit(make_fails_to_load)
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="no number"):
        future.result()


def test_the_same_result_object_comes_each_time(pool: mh.Pool) -> None:
    future = pool.submit(list, "ab")
    assert future.result() is future.result()


def test_plain_values_come_back_as_they_were(pool: mh.Pool) -> None:
    values = [None, True, 0, -1, 2**70, 1.5, "", "äö\udc80", b"", b"x" * 300, (), [], {}, {1: {2}}]
    assert [pool.submit(tasks.identity, value).result() for value in values] == values


def test_thousands_of_tasks_beyond_the_slots_all_end(pool: mh.Pool) -> None:
    futures = [pool.submit(tasks.square, number) for number in range(10_000)]
    assert [future.result() for future in futures] == [number**2 for number in range(10_000)]


def test_many_threads_may_submit_at_once(pool: mh.Pool) -> None:
    results: dict[int, list[int]] = {}

    def submit(first: int) -> None:
        futures = [pool.submit(tasks.identity, number) for number in range(first, first + 500)]
        results[first] = [future.result() for future in futures]

    threads = [threading.Thread(target=submit, args=(first,)) for first in range(0, 4000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {first: list(range(first, first + 500)) for first in range(0, 4000, 500)}

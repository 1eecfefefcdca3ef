"""`import manyhands` costs a program next to nothing until it uses the package."""

from __future__ import annotations

import pool_tasks as tasks

IMPORTS = "import multiprocessing as mp, os"


def test_the_package_imports_nothing_until_it_is_used() -> None:
    code = """
import sys
before = set(sys.modules)
import manyhands
print(*sorted(set(sys.modules) - before))
"""
    assert tasks.run_program("-c", code) == (0, "__future__ manyhands\n", "")


def test_the_drop_in_becomes_the_standard_class_when_that_is_imported() -> None:
    """To import it takes as long as all that an executor needs. A subclass is changed with it."""
    code = """
import sys
from concurrent.futures import BrokenExecutor, Executor
import manyhands as mh
from manyhands.futures import ProcessPoolExecutor

class Mine(ProcessPoolExecutor):
    pass

with Mine(1, mp_context=mp.get_context("fork")) as executor:
    error = executor.submit(os._exit, 3).exception()
    cause = executor.submit(int, "x").exception().__cause__
    assert isinstance(error, mh.WorkerDied) and isinstance(error, BrokenExecutor)
    assert isinstance(executor, Executor)
    assert "concurrent.futures.process" not in sys.modules
    finders = len(sys.meta_path)
    from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
    import concurrent.futures

    assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)
    assert issubclass(Mine, concurrent.futures.ProcessPoolExecutor)
    assert isinstance(error, BrokenProcessPool) and isinstance(cause, _RemoteTraceback)
    assert len(sys.meta_path) == finders - 2
    assert executor.submit(abs, -1).result() == 1
    try:
        executor.submit(os._exit, 3).result()
    except BrokenProcessPool as error:
        print(type(error).__name__)
"""
    assert tasks.run_program("-c", IMPORTS + code) == (0, "WorkerDied\n", "")


def test_errors_need_no_import_when_the_interpreter_ends() -> None:
    """The standard library's module cannot be imported any more."""
    code = """
import atexit
from manyhands.futures import ProcessPoolExecutor

def last():
    print(repr(future.exception()), repr(death.exception())[:10])

if __name__ == "__main__":
    atexit.register(last)
    executor = ProcessPoolExecutor(1, mp_context=mp.get_context("fork"))
    future, death = executor.submit(int, "x"), executor.submit(os._exit, 3)
"""
    text = "ValueError(\"invalid literal for int() with base 10: 'x'\") WorkerDied\n"
    assert tasks.run_program("-c", IMPORTS + code) == (0, text, "")

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


def test_what_there_is_becomes_the_standard_librarys_when_that_is_imported() -> None:
    """To import it takes as long as all that an executor needs. A subclass is changed with it."""
    code = """
import sys
import manyhands as mh
from manyhands.futures import ProcessPoolExecutor

class Mine(ProcessPoolExecutor):
    pass

with Mine(1, mp_context=mp.get_context("fork")) as executor, mh.Pool(1) as pool:
    error = executor.submit(os._exit, 3).exception()
    failed = executor.submit(int, "x")
    cause = failed.exception().__cause__
    assert mh.Future[int] and executor.submit(abs, -1).result(timeout=60) == 1
    assert pool.submit(abs, -1).result(timeout=60) == 1
    assert "concurrent.futures" not in sys.modules
    finders = len(sys.meta_path)
    from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
    assert isinstance(error, mh.WorkerDied) and isinstance(error, BrokenExecutor)
    assert isinstance(executor, Executor) and isinstance(pool, Executor)
    assert isinstance(failed, Future) and issubclass(mh.Future, Future)
    assert [*as_completed([failed, pool.submit(abs, -1)])]
    assert "concurrent.futures.process" not in sys.modules
    assert len(sys.meta_path) == finders - 1
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


def test_a_module_that_another_thread_had_begun_to_look_for_is_told_of() -> None:
    """Once a finder has been asked, those that are put before it are not."""
    code = """
import importlib.machinery, sys, threading
from manyhands._watch import look_again, when_imported

asked, answer = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "slow":
            asked.set()
            answer.wait()
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        pass
    def exec_module(self, module):
        module.done = True

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=__import__, args=["slow"])
thread.start()
asked.wait()
told = []
when_imported("slow", told.append)
answer.set()
thread.join()
assert not told
look_again()
assert told == [sys.modules["slow"]] and told[0].done
look_again()
print(len(told), len([f for f in sys.meta_path if "_Once" in repr(f)]))
"""
    assert tasks.run_program("-c", code) == (0, "1 0\n", "")


def test_who_puts_back_the_finders_does_not_hide_the_standard_classes() -> None:
    code = """
import sys
before = list(sys.meta_path)
from manyhands.futures import ProcessPoolExecutor
executor = ProcessPoolExecutor(1, mp_context=mp.get_context("fork"))
sys.meta_path[:] = before
import concurrent.futures
with executor:
    future = executor.submit(abs, -1)
print(isinstance(executor, concurrent.futures.Executor), *concurrent.futures.as_completed([future]))
"""
    status, out, error = tasks.run_program("-c", IMPORTS + code)
    assert (status, out[:5], error) == (0, "True ", "")


def test_a_pool_may_be_made_while_the_same_thread_imports_the_standard_library() -> None:
    """By a finder, for instance, or in a signal's handler."""
    code = """
import sys, threading
from manyhands.futures import ProcessPoolExecutor

class Early:
    def find_spec(self, name, path=None, target=None):
        if name == "concurrent.futures._base":
            with ProcessPoolExecutor(1, mp_context=mp.get_context("fork")) as executor:
                results.add(executor.submit(abs, -1).result())

results = set()
sys.meta_path.insert(0, Early())
import concurrent.futures
print(*results, issubclass(ProcessPoolExecutor, concurrent.futures.Executor))
"""
    assert tasks.run_program("-c", IMPORTS + code) == (0, "1 True\n", "")


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


def test_a_cancellation_needs_no_import_when_globals_are_finalized() -> None:
    code = """
import concurrent.futures
from manyhands.futures import ProcessPoolExecutor

class Last:
    def __del__(self, cancelled=concurrent.futures.CancelledError, print=print):
        try:
            future.result()
        except cancelled as error:
            print(type(error).__name__)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=mp.get_context("fork")) as executor:
        read, write = os.pipe()
        executor.submit(os.read, read, 1)
        future = executor.submit(abs, -1)
        assert future.cancel()
        os.write(write, b"x")
    last = Last()
"""
    assert tasks.run_program("-c", IMPORTS + code) == (0, "CancelledError\n", "")

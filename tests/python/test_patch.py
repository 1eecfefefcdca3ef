"""`manyhands.patch()`: what is replaced, for whom, and that `unpatch()` puts it back.

Each test is a program of its own: nothing of this must leak into the test run.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TIMEOUT = 100  # seconds; only waited for when something hangs
METHODS = ["spawn", "forkserver", "fork"]


def run(program: str, folder: Path, *arguments: str) -> str:
    """Run a program, which says what is wrong by itself; what it printed."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(program))
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    return ended.stdout


def test_executors_are_ours_by_each_of_their_names(tmp_path: Path) -> None:
    program = """
        import manyhands
        manyhands.patch()
        import concurrent.futures
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        from concurrent.futures.process import ProcessPoolExecutor as OfProcess
        from concurrent.futures.thread import ThreadPoolExecutor as OfThread
        from manyhands import futures

        assert ThreadPoolExecutor is OfThread is futures.ThreadPoolExecutor
        assert ProcessPoolExecutor is OfProcess
        assert issubclass(ProcessPoolExecutor, futures.ProcessPoolExecutor)
        assert concurrent.futures.ThreadPoolExecutor is ThreadPoolExecutor
        with ThreadPoolExecutor(1) as executor:
            assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
            assert executor.submit(abs, -3).result() == 3
        if __name__ == "__main__":
            with ProcessPoolExecutor(1) as executor:
                assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)
                assert executor.submit(abs, -3).result() == 3
    """
    run(program, tmp_path)


def test_modules_imported_before_are_patched_too(tmp_path: Path) -> None:
    program = """
        import concurrent.futures.process, concurrent.futures.thread
        import manyhands
        taken = concurrent.futures.ThreadPoolExecutor  # is now cached in the package
        manyhands.patch()
        from manyhands import futures

        assert concurrent.futures.ThreadPoolExecutor is futures.ThreadPoolExecutor is not taken
        assert concurrent.futures.thread.ThreadPoolExecutor is futures.ThreadPoolExecutor
        ours = futures.ProcessPoolExecutor
        assert issubclass(concurrent.futures.process.ProcessPoolExecutor, ours)
    """
    run(program, tmp_path)


def test_nothing_is_imported_until_it_is_asked_for(tmp_path: Path) -> None:
    program = """
        import sys
        before = set(sys.modules)
        import manyhands
        manyhands.patch()
        extra = set(sys.modules) - before
        costly = {"asyncio", "concurrent", "logging", "manyhands._engine", "manyhands.futures",
                  "multiprocessing", "typing"}
        assert not extra & costly, extra & costly
        import concurrent.futures.thread
        assert "manyhands.futures" not in sys.modules
        concurrent.futures.ThreadPoolExecutor
        assert "manyhands.futures._thread" in sys.modules
        assert "manyhands.futures._process" not in sys.modules
    """
    run(program, tmp_path)


def test_a_module_that_is_not_imported_for_its_class_is_there_all_the_same(tmp_path: Path) -> None:
    program = """
        import sys
        import manyhands
        manyhands.patch()
        import concurrent.futures
        concurrent.futures.ProcessPoolExecutor
        assert "concurrent.futures.process" not in sys.modules
        error = concurrent.futures.process.BrokenProcessPool
        assert error.__module__ == "concurrent.futures.process"
        assert issubclass(manyhands.WorkerDied, error)
        theirs = sys.modules["concurrent.futures.process"]
        assert concurrent.futures.process is theirs
        manyhands.unpatch()
        assert concurrent.futures.ProcessPoolExecutor is theirs.ProcessPoolExecutor
    """
    run(program, tmp_path)


@pytest.mark.parametrize("earlier", [True, False])
def test_unpatch_restores_exactly(tmp_path: Path, earlier: bool) -> None:
    program = f"""
        import sys
        if {earlier}:
            import asyncio, concurrent.futures.process, concurrent.futures.thread
            import multiprocessing.spawn
            concurrent.futures.ThreadPoolExecutor

        def state():
            import asyncio.base_events, concurrent.futures.process, concurrent.futures.thread
            import multiprocessing.spawn
            modules = (concurrent.futures, concurrent.futures.process, concurrent.futures.thread,
                       asyncio.base_events, multiprocessing.spawn)
            loop = asyncio.base_events.BaseEventLoop
            return [*({{**vars(module)}} for module in modules),
                    [(module.__loader__, module.__spec__.loader) for module in modules],
                    {{**vars(loop)}}, list(sys.meta_path)]

        import manyhands
        finders = list(sys.meta_path)
        if {earlier}:
            before = state()
        manyhands.patch()
        state()
        manyhands.unpatch()
        if {earlier}:
            assert state() == before
        assert sys.meta_path == finders
        assert not any("manyhands" in repr(part) for part in state())
        import concurrent.futures
        assert concurrent.futures.ThreadPoolExecutor.__module__ == "concurrent.futures.thread"
        manyhands.unpatch()  # does nothing
    """
    run(program, tmp_path)


def test_what_somebody_else_put_there_meanwhile_stays(tmp_path: Path) -> None:
    program = """
        import concurrent.futures.thread, manyhands
        manyhands.patch()
        concurrent.futures.ThreadPoolExecutor = "theirs"
        manyhands.unpatch()
        assert concurrent.futures.ThreadPoolExecutor == "theirs"
        assert concurrent.futures.thread.ThreadPoolExecutor.__module__.startswith("concurrent.")
    """
    run(program, tmp_path)


@pytest.mark.parametrize("option", ["replace", "break"])
def test_a_death_has_the_consequences_that_were_asked_for(tmp_path: Path, option: str) -> None:
    program = """
        import os, sys
        import manyhands
        manyhands.patch(on_worker_death="break")
        if __name__ == "__main__":
            finders = list(sys.meta_path)
            manyhands.patch(on_worker_death=sys.argv[1])  # the last call counts
            assert sys.meta_path == finders
            from concurrent.futures import ProcessPoolExecutor
            from concurrent.futures.process import BrokenProcessPool
            with ProcessPoolExecutor(1) as executor:
                assert executor.submit(abs, -3).result() == 3
                error = executor.submit(os._exit, 7).exception()
                assert isinstance(error, BrokenProcessPool), repr(error)
                assert isinstance(error, manyhands.WorkerDied) == (sys.argv[1] == "replace")
                try:
                    print(executor.submit(abs, -4).result())
                except BrokenProcessPool:
                    print("broken")
            # One executor may say otherwise.
            with ProcessPoolExecutor(1, on_worker_death="replace") as executor:
                assert isinstance(executor.submit(os._exit, 7).exception(), manyhands.WorkerDied)
                assert executor.submit(abs, -4).result() == 4
    """
    assert run(program, tmp_path, option) == {"replace": "4\n", "break": "broken\n"}[option]


@pytest.mark.parametrize("method", METHODS)
def test_processes_start_as_multiprocessing_is_told(tmp_path: Path, method: str) -> None:
    program = """
        import multiprocessing, sys
        import manyhands
        manyhands.patch()
        from concurrent.futures import ProcessPoolExecutor

        shared = None

        def initialize(lock, value):
            global shared
            shared = lock, value

        def add(number):
            lock, value = shared
            with lock:
                value.value += number
            return inherited

        inherited = "as imported"
        if __name__ == "__main__":
            multiprocessing.set_start_method(sys.argv[1])
            inherited = "as set"
            # These can only be passed on when processes start, in their own context.
            values = multiprocessing.Lock(), multiprocessing.Value("i", 0)
            with ProcessPoolExecutor(2, initializer=initialize, initargs=values) as executor:
                seen = set(executor.map(add, range(10)))
            assert values[1].value == 45
            print(*seen)
    """
    assert run(program, tmp_path, method) == ("as set\n" if method == "fork" else "as imported\n")


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    program = """
        import manyhands
        try:
            manyhands.patch(on_worker_death="explode")
        except ValueError as error:
            print(error)
        from concurrent.futures import ThreadPoolExecutor
        assert ThreadPoolExecutor.__module__ == "concurrent.futures.thread"
    """
    assert "on_worker_death must be 'replace' or 'break'" in run(program, tmp_path)


def test_threads_that_patch_and_import_at_once_agree(tmp_path: Path) -> None:
    program = """
        import importlib, sys, threading, manyhands

        names = ["concurrent.futures.thread", "concurrent.futures.process", "asyncio",
                 "multiprocessing.spawn"]
        start = threading.Barrier(3 + len(names))
        errors = []

        def do(call, *arguments):
            start.wait()
            try:
                call(*arguments)
            except BaseException as error:
                errors.append(error)

        calls = [(manyhands.patch,)] * 3 + [(importlib.import_module, name) for name in names]
        threads = [threading.Thread(target=do, args=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        from manyhands import futures
        assert ThreadPoolExecutor is futures.ThreadPoolExecutor
        assert issubclass(ProcessPoolExecutor, futures.ProcessPoolExecutor)
        manyhands.unpatch()
        assert not vars(sys.modules["concurrent.futures.thread"]).get("__getattr__")
    """
    run(program, tmp_path)


def test_asyncio_uses_ours_and_takes_the_originals_too(tmp_path: Path) -> None:
    program = """
        import asyncio, threading
        from concurrent.futures import ThreadPoolExecutor as Original
        import manyhands
        manyhands.patch()
        from concurrent.futures import ThreadPoolExecutor

        async def main():
            loop = asyncio.get_running_loop()
            assert await asyncio.to_thread(abs, -3) == 3
            assert type(loop._default_executor) is ThreadPoolExecutor is not Original
            name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
            assert name.startswith("asyncio"), name
            await loop.shutdown_default_executor()
            loop._executor_shutdown_called = False

            class Derived(Original):
                pass

            for kind in (Original, Derived, ThreadPoolExecutor):
                with kind(1) as executor:
                    loop.set_default_executor(executor)
                    assert await loop.run_in_executor(None, abs, -3) == 3
            try:
                loop.set_default_executor(None)
            except TypeError as error:
                print(error)

        asyncio.run(main())
    """
    assert run(program, tmp_path) == "executor must be ThreadPoolExecutor instance\n"


def test_uvloop_imported_afterwards_uses_ours(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    program = """
        import warnings
        warnings.simplefilter("ignore")
        import manyhands
        manyhands.patch()
        import uvloop
        from concurrent.futures import ThreadPoolExecutor
        made = []

        class Noting(ThreadPoolExecutor):
            pass

        before = ThreadPoolExecutor.submit
        def submit(self, *arguments, **options):
            made.append(type(self))
            return before(self, *arguments, **options)
        ThreadPoolExecutor.submit = submit

        async def main():
            import asyncio
            return await asyncio.get_running_loop().run_in_executor(None, abs, -3)

        loop = uvloop.new_event_loop()
        assert loop.run_until_complete(main()) == 3
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        assert made == [ThreadPoolExecutor], made
    """
    run(program, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_processes_are_patched_before_they_import_main(tmp_path: Path, method: str) -> None:
    program = """
        import multiprocessing, sys
        from concurrent.futures import ThreadPoolExecutor  # in this process: taken too early

        def report(connection):
            import manyhands._patch
            connection.send((ThreadPoolExecutor.__module__, manyhands._patch.patched()))

        if __name__ == "__main__":
            import manyhands
            manyhands.patch(on_worker_death="break")
            assert not ThreadPoolExecutor.__module__.startswith("manyhands.")
            context = multiprocessing.get_context(sys.argv[1])
            ours, theirs = context.Pipe()
            # (By this name multiprocessing itself asks for what its fork server is told.)
            process = context.Process(target=report, args=(theirs,), name="ignore")
            process.start()
            theirs.close()
            module, options = ours.recv()
            process.join()
            assert options == "break", options
            # A forked process has the module as it was.
            assert module.startswith("manyhands.") == (sys.argv[1] != "fork"), module
            manyhands.unpatch()
            ours, theirs = context.Pipe()
            process = context.Process(target=report, args=(theirs,))
            process.start()
            theirs.close()
            module, options = ours.recv()
            process.join()
            assert options is None and module == "concurrent.futures.thread", (module, options)
    """
    run(program, tmp_path, method)


def test_processes_find_the_package_where_only_the_program_did(tmp_path: Path) -> None:
    program = """
        import multiprocessing, os, sys

        def report(queue):
            from concurrent.futures import ThreadPoolExecutor
            queue.put(ThreadPoolExecutor.__module__)

        if __name__ == "__main__":
            import manyhands
            manyhands.patch()
            # Neither by the environment nor, any more, on the path.
            place = os.path.dirname(os.path.dirname(manyhands.__file__))
            sys.path[:] = [path for path in sys.path if os.path.abspath(path) != place]
            os.environ.pop("PYTHONPATH", None)
            context = multiprocessing.get_context("spawn")
            queue = context.SimpleQueue()
            process = context.Process(target=report, args=(queue,))
            process.start()
            process.join()
            assert process.exitcode == 0
            assert queue.get().startswith("manyhands.")
    """
    run(program, tmp_path)


def test_modules_that_derive_from_the_originals_still_do(tmp_path: Path) -> None:
    (tmp_path / "deriving.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor as A\n"
        "from concurrent.futures.thread import ThreadPoolExecutor as B\n"
        "import concurrent.futures.thread as thread\n"
        "class Executor(thread.ThreadPoolExecutor): pass\n"
    )
    program = """
        import manyhands, manyhands._patch
        manyhands._patch.DERIVING += ("deriving",)  # as `concurrent.futures.interpreter` does
        manyhands.patch()
        from concurrent.futures import ThreadPoolExecutor
        import deriving
        original = deriving.Executor.__base__
        assert original.__module__ == "concurrent.futures.thread"
        assert deriving.A is deriving.B is original is not ThreadPoolExecutor
    """
    run(program, tmp_path)


def test_a_reloaded_module_is_patched_again(tmp_path: Path) -> None:
    program = """
        import importlib, manyhands
        import concurrent.futures.thread as thread
        manyhands.patch()
        importlib.reload(thread)
        from manyhands import futures
        assert thread.ThreadPoolExecutor is futures.ThreadPoolExecutor
        manyhands.unpatch()
        assert thread.ThreadPoolExecutor.__module__ == "concurrent.futures.thread"
        assert "__getattr__" not in vars(thread)
    """
    run(program, tmp_path)


def test_other_pools_of_ours_work_while_patched(tmp_path: Path) -> None:
    program = """
        import asyncio, manyhands
        manyhands.patch()
        from concurrent.futures import ThreadPoolExecutor

        async def main(pool):
            loop = asyncio.get_running_loop()
            loop.set_default_executor(pool)
            assert await loop.run_in_executor(None, abs, -3) == 3
            assert await manyhands.to_thread(abs, -3) == 3

        if __name__ == "__main__":
            with manyhands.Pool(1) as pool:
                assert pool.submit(abs, -3).result() == 3
            with manyhands.Pool(1, kind="thread") as pool:
                assert pool.submit(abs, -3).result() == 3
                asyncio.run(main(pool))
    """
    run(program, tmp_path)

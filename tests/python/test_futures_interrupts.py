"""Ctrl-C, signals, and the interpreter's end, where native code would have swallowed them."""

from __future__ import annotations

import pool_tasks as tasks

# -- callbacks -----------------------------------------------------------------------------------


def test_an_interrupt_in_a_callback_of_a_future_that_has_ended_is_raised() -> None:
    output = tasks.run("""
        import signal
        from manyhands.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(abs, -7)
            future.result()
            try:
                future.add_done_callback(lambda future: signal.raise_signal(signal.SIGINT))
            except KeyboardInterrupt:
                print("interrupted")
    """)
    assert output == "interrupted\n"


def test_an_interrupt_in_a_callback_of_a_withdrawn_task_is_raised_after_the_others() -> None:
    output = tasks.run("""
        import signal, threading
        from manyhands.futures import ThreadPoolExecutor
        for how in ("cancel", "shutdown"):
            gate = threading.Event()
            executor = ThreadPoolExecutor(1)
            blocker = executor.submit(gate.wait)
            while not blocker.running():
                pass
            futures = [executor.submit(abs, -7) for _ in range(2)]
            futures[0].add_done_callback(lambda future: signal.raise_signal(signal.SIGINT))
            futures[0].add_done_callback(lambda future: print("the next callback"))
            try:
                if how == "cancel":
                    futures[0].cancel()
                else:
                    executor.shutdown(wait=False, cancel_futures=True)
            except KeyboardInterrupt:
                print(how, [future.cancelled() for future in futures])
            gate.set()
            executor.shutdown()
    """)
    assert output.splitlines() == [
        "the next callback",
        "cancel [True, False]",
        "the next callback",
        "shutdown [True, True]",
    ]


def test_what_is_no_exception_in_a_thread_of_the_pool_is_reported_and_the_thread_goes_on() -> None:
    output = tasks.run("""
        import sys, threading
        from manyhands.futures import ThreadPoolExecutor
        sys.unraisablehook = lambda args: print("unraisable", args.exc_type.__name__)
        def interrupted(future):
            raise KeyboardInterrupt
        gate = threading.Event()
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(gate.wait)
            future.add_done_callback(interrupted)
            future.add_done_callback(lambda future: print("the next callback"))
            gate.set()
            print(executor.submit(abs, -7).result())
    """)
    assert output.splitlines() == ["the next callback", "unraisable KeyboardInterrupt", "7"]


def test_an_interrupt_while_a_loop_is_told_of_ends_is_raised_and_no_end_is_lost() -> None:
    output = tasks.run("""
        import asyncio, signal, threading
        from manyhands.futures import ThreadPoolExecutor
        armed = False

        class Loop(asyncio.SelectorEventLoop):
            def call_soon(self, callback, *args, **options):
                # As the first of the loop's own futures ends.
                global armed
                if armed and "Task" in str(type(getattr(callback, "__self__", callback))):
                    armed = False
                    handle = super().call_soon(callback, *args, **options)
                    signal.raise_signal(signal.SIGINT)
                    return handle
                return super().call_soon(callback, *args, **options)

        async def one():
            return await asyncio.get_running_loop().run_in_executor(executor, abs, -7)

        executor = ThreadPoolExecutor(1)
        loop = Loop()
        gate = threading.Event()
        executor.submit(gate.wait)
        tasks = [loop.create_task(one()) for _ in range(3)]
        loop.run_until_complete(asyncio.sleep(0))
        gate.set()
        executor.shutdown()
        # All have ended, and the loop has not looked yet.
        armed = True
        try:
            loop.run_until_complete(asyncio.gather(*tasks))
        except KeyboardInterrupt:
            print("interrupted")
        print([loop.run_until_complete(task) for task in tasks])
        loop.close()
    """)
    assert output.splitlines() == ["interrupted", "[7, 7, 7]"]


# -- the interpreter's end -------------------------------------------------------------------------

LAST = """
    class Last:
        # Destroyed when the interpreter finalizes: threads ask for its lock meanwhile.
        def __del__(self, sleep=time.sleep):
            for _ in range(50):
                sleep(0.005)
    sys.modules["last"] = Last()
"""

INTERRUPT_THE_END = """
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    def interrupt_the_end(*_):
        while not threading._SHUTTING_DOWN:
            time.sleep(0.001)
        # The main thread has ended, and waits for this one, or soon will.
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        while True:
            time.sleep(0.001)
"""


def test_an_interrupt_while_the_end_waits_for_threads_ends_the_program_and_not_by_a_crash() -> None:
    output = tasks.run(f"""
    import signal, sys, threading, time
    from manyhands.futures import ThreadPoolExecutor
    {LAST}
    {INTERRUPT_THE_END}
    executor = ThreadPoolExecutor(2)
    running = [executor.submit(interrupt_the_end) for _ in range(2)]
    running[0].add_done_callback(print)
    """)
    assert "KeyboardInterrupt" in output
    assert "Fatal" not in output


def test_an_interrupt_while_a_callback_is_waited_for_ends_the_program_and_not_by_a_crash() -> None:
    output = tasks.run(f"""
    import signal, sys, threading, time
    from manyhands.futures import ProcessPoolExecutor
    {LAST}
    {INTERRUPT_THE_END}
    executor = ProcessPoolExecutor(1)
    future = executor.submit(abs, -7)
    future.add_done_callback(interrupt_the_end)
    future.result()
    """)
    assert "KeyboardInterrupt" in output
    assert "Fatal" not in output


def test_the_end_waits_for_callbacks_of_executors_that_nobody_has_any_more() -> None:
    output = tasks.run("""
        import time
        from manyhands.futures import ProcessPoolExecutor
        from manyhands._ends import LAST_CALLBACKS
        def callback(future):
            time.sleep(2 * LAST_CALLBACKS)
            print("called back", future.result())
        executor = ProcessPoolExecutor(1)
        future = executor.submit(abs, -7)
        future.add_done_callback(callback)
        future.result()
        executor.shutdown(wait=False)
        del executor, future
    """)
    assert output == "called back 7\n"


def test_a_forked_child_does_not_wait_for_an_executor_that_its_parent_has_let_go_of() -> None:
    output = tasks.run("""
        import multiprocessing, time
        from manyhands.futures import ProcessPoolExecutor
        executor = ProcessPoolExecutor(1)
        executor.submit(abs, -7).result()
        executor.submit(time.sleep, 1)
        del executor
        child = multiprocessing.get_context("fork").Process(target=print, args=("child",))
        child.start()
        child.join()
        print(child.exitcode)
    """)
    # (Newer interpreters warn of the fork, on standard error.)
    assert output.splitlines()[:2] == ["child", "0"]


# -- handlers --------------------------------------------------------------------------------------


def test_a_handler_that_runs_while_the_main_thread_waits_has_no_signals_blocked() -> None:
    output = tasks.run("""
        import signal, threading
        from manyhands.futures import ThreadPoolExecutor
        gate = threading.Event()
        def handler(*args):
            print([*signal.pthread_sigmask(signal.SIG_BLOCK, [])])
            gate.set()
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(gate.wait)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            print(future.result())
    """)
    assert output.splitlines() == ["[]", "True"]

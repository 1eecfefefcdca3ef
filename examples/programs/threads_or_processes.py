"""When to use threads, and when processes: the same calls, CPU-bound and waiting, on both.

Times go to standard error; they depend on the machine.
"""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

CALLS = 4


def compute(_):
    assert sum(i * i for i in range(200_000)) == 2_666_646_666_700_000
    return os.getpid()


def wait(_):
    time.sleep(0.1)
    return os.getpid()


def measure(executor_type, work):
    """How many interpreters had a part in the work."""
    with executor_type(CALLS) as executor:
        executor.submit(os.getpid).result()  # the first worker has started
        start = time.perf_counter()
        where = set(executor.map(work, range(CALLS)))
        seconds = time.perf_counter() - start
    print(f"{work.__name__} on {executor_type.__name__}: {seconds:.2f} s", file=sys.stderr)
    assert len(where) <= CALLS
    return "this interpreter" if where == {os.getpid()} else "other interpreters"


def main():
    advice = {
        ("compute", "threads"): "one at a time, by the interpreter lock",
        ("compute", "processes"): "on as many cores as there are: use this",
        ("wait", "threads"): "all at once, and cheap: use this",
        ("wait", "processes"): "all at once, at the price of processes",
    }
    print(f"{'work':8} {'on':10} {'runs in':19} {'that is':40}".rstrip())
    for work in (compute, wait):
        for name, kind in (("threads", ThreadPoolExecutor), ("processes", ProcessPoolExecutor)):
            where = measure(kind, work)
            print(f"{work.__name__:8} {name:10} {where:19} {advice[work.__name__, name]}")
            assert (where == "this interpreter") == (name == "threads")


if __name__ == "__main__":
    main()

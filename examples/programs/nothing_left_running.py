"""`with` closes an executor, and so does `shutdown(wait=True)`: nothing is left running."""

import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor


def slow(n):
    time.sleep(0.02)
    return n


def check(executor, futures):
    assert all(future.done() for future in futures)
    try:
        executor.submit(slow, 0)
    except RuntimeError as error:
        print(f"{type(executor).__name__}: {len(futures)} calls done; then: {error}")
    else:
        raise AssertionError("it takes work after its end")


def main():
    threads_before = threading.active_count()

    with ThreadPoolExecutor(2) as executor:
        futures = [executor.submit(slow, n) for n in range(6)]
    check(executor, futures)

    executor = ThreadPoolExecutor(2)
    futures = [executor.submit(slow, n) for n in range(6)]
    executor.shutdown(wait=True)
    check(executor, futures)

    with ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(slow, n) for n in range(6)]
    check(executor, futures)

    assert threading.active_count() == threads_before
    assert multiprocessing.active_children() == []
    print("no thread and no process is left")


if __name__ == "__main__":
    main()

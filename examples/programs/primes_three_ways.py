"""The same prime tested again and again: in one thread, by threads, by processes.

Times go to standard error; they depend on the machine.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

PRIME, TIMES = 99_999_999_977, 10


def is_prime(n):
    if n < 2 or n % 2 == 0:
        return n == 2
    divisor = 3
    while divisor * divisor <= n:
        if n % divisor == 0:
            return False
        divisor += 2
    return True


def report(how, start, answers):
    print(f"{how}: {time.perf_counter() - start:.2f} s", file=sys.stderr)
    print(f"{how}: {answers.count(True)} of {len(answers)} times prime")
    assert answers == [True] * TIMES


def main():
    numbers = [PRIME] * TIMES
    start = time.perf_counter()
    report("one thread", start, list(map(is_prime, numbers)))
    for how, kind in (("threads", ThreadPoolExecutor), ("processes", ProcessPoolExecutor)):
        start = time.perf_counter()
        with kind() as executor:
            answers = list(executor.map(is_prime, numbers))
        report(how, start, answers)
    assert not is_prime(PRIME * 3)


if __name__ == "__main__":
    main()

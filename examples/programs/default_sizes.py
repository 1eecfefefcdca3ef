"""How many workers an executor has by default: more for waiting than there are cores.

The figures go to standard error; they depend on the machine.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor


def main():
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor() as threads, ProcessPoolExecutor() as processes:
        for_waiting, for_computing = threads._max_workers, processes._max_workers
        print(
            f"threads: {for_waiting}, processes: {for_computing}, cores: {cores}", file=sys.stderr
        )
        assert threads.submit(abs, -1).result() == processes.submit(abs, -1).result() == 1
    assert 1 <= for_computing <= cores
    assert for_computing < for_waiting <= min(32, cores + 4) or for_waiting == 32
    print("processes: no more than cores; threads: more, for calls that wait")


if __name__ == "__main__":
    main()

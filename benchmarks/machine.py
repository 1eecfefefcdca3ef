"""Where the figures were measured: processor, kernel, and the versions of everything."""

from __future__ import annotations

import os
import platform
import resource
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from systems import System


def describe_machine() -> list[str]:
    """Lines about this machine; nothing that would identify it."""
    return [
        f"{processor()}; {os.cpu_count()} cores, {len(os.sched_getaffinity(0))} of them usable",
        f"{memory_gb():.0f} GB of memory; {platform.system()} {platform.release()}",
        f"{platform.python_implementation()} {platform.python_version()}",
    ]


def processor() -> str:
    """The processor's own name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gb() -> float:
    """Physical memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def describe_versions(systems: list[System]) -> str:
    """The installed packages that were measured."""
    names = dict.fromkeys(system.distribution for system in systems)
    found = []
    for name in names:
        if name:
            try:
                found.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                continue
    return ", ".join(found)


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds since the machine started: of everybody, and of this run alone."""

    everybody: float
    stolen: float
    passed: float
    this_run: float

    @classmethod
    def now(cls) -> CpuTime:
        """Read it. As the subreaper, this process has waited for all that the run started."""
        line = Path("/proc/stat").read_text().splitlines()[0]
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in line.split()[1:9]]
        user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = ticks
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return cls(
            everybody=user + nice + system + interrupts + soft_interrupts,
            stolen=stolen,
            passed=sum(ticks),
            this_run=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        )

    def disturbance(self, end: CpuTime) -> str:
        """How much others had of the machine between this moment and `end`."""
        passed = end.passed - self.passed
        others = end.everybody - self.everybody - (end.this_run - self.this_run)
        stolen = end.stolen - self.stolen
        return (
            f"during the run, other programs took {max(others, 0) / passed:.0%} of the cores' time "
            f"and the hypervisor {stolen / passed:.0%}"
        )

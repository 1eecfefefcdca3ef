"""`manyhands.futures.ProcessPoolExecutor`, in the place of the standard library's."""

from __future__ import annotations

from systems import System
from systems_stdlib import ProcessPoolFork

METHODS = ("fork", "spawn", "forkserver")


def drop_in(method: str) -> str:
    """The name of ours with a start method."""
    return f"manyhands.futures ({method})"


class DropInFork(ProcessPoolFork):
    """By fork."""

    name = drop_in("fork")
    module = "manyhands.futures.process"
    distribution = "manyhands"
    start_method = "fork"


class DropInSpawn(DropInFork):
    """With fresh interpreters."""

    name = drop_in("spawn")
    start_method = "spawn"


class DropInForkserver(DropInFork):
    """Our default."""

    name = drop_in("forkserver")
    start_method = "forkserver"


SYSTEMS: list[type[System]] = [DropInFork, DropInSpawn, DropInForkserver]

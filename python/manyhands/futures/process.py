"""Drop-in for `concurrent.futures.process`."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from manyhands.futures._process import ProcessPoolExecutor

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]

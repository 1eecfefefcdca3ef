"""Drop-in for `concurrent.futures.thread`."""

from __future__ import annotations

from concurrent.futures.thread import BrokenThreadPool

from manyhands.futures._thread import ThreadPoolExecutor

__all__ = ["BrokenThreadPool", "ThreadPoolExecutor"]

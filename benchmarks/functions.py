"""The tasks that the benchmark runs: as little work as possible, in both forms.

They live in a module of their own because every start method can import them by name.
"""

from __future__ import annotations


def nothing(number: int) -> int:
    """Give back the number, so that lost and mixed-up results are noticed."""
    return number


async def nothing_async(number: int) -> int:
    """`nothing`, as a coroutine."""
    return number


def echo(payload: bytes) -> bytes:
    """Give back the payload, however large."""
    return payload


async def echo_async(payload: bytes) -> bytes:
    """`echo`, as a coroutine."""
    return payload

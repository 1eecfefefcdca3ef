"""What a worker does for `manyhands map`: inputs as bytes in, finished lines of JSON out.

Parsing and encoding happen here, beside the call, so that they too run on every core, and the
parent only passes bytes on. Whatever goes wrong with one input becomes its line: nothing raises.
"""

from __future__ import annotations

import functools
import itertools
import json
import pickle
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from manyhands._cli_target import Target


class Job(NamedTuple):
    """What to do with each input."""

    target: Target
    jsonl: bool  # inputs are JSON, not text
    with_input: bool  # results carry the input that they belong to

    def pack(self) -> bytes:
        """What travels with the inputs: bytes cost next to nothing there."""
        return pickle.dumps(self)


# Whether an input succeeded, and its line of output, without the end. A plain tuple travels fast.
Outcome = tuple[bool, bytes]


def call(packed: bytes, index: int, text: bytes) -> Outcome:
    """Do a job for one input, the `index`-th."""
    job = _unpack(packed)
    try:
        result = _function(job.target)(_argument(job, text))
    except BaseException as error:
        return failure(job, index, text, error)
    return _success(job, index, text, result)


async def call_coroutine(packed: bytes, index: int, text: bytes) -> Outcome:
    """As `call`, for an `async def`."""
    import asyncio

    job = _unpack(packed)
    try:
        result = await _function(job.target)(_argument(job, text))
    except BaseException as error:
        # The pool's cancellation is to be obeyed; the function's own is an error like others.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return failure(job, index, text, error)
    return _success(job, index, text, result)


def failure(job: Job, index: int, text: bytes, error: BaseException) -> Outcome:
    """The line for an input that has no result."""
    described = {"type": _type_name(error), "message": _message(error)}
    # The first frame is this module's own; what is wrong with the input or the result needs none.
    frames = error.__traceback__ and error.__traceback__.tb_next
    if frames and not isinstance(error, NotJSON):
        lines = traceback.format_exception(type(error), error, frames)
        described["traceback"] = "".join(lines)
    try:
        argument = _argument(job, text)
    except NotJSON:
        argument = _decode(text)
    return False, _encode({"error": described, "input": argument, "index": index})


def _success(job: Job, index: int, text: bytes, result: object) -> Outcome:
    shown = {"input": _argument(job, text), "result": result} if job.with_input else result
    try:
        return True, _encode(shown)
    except Exception as error:
        problem = NotJSON(
            f"the result, of type {type(result).__name__}, cannot be written as JSON: "
            f"{_message(error)}; return dicts, lists, text, finite numbers, booleans or None"
        )
        return failure(job, index, text, problem)


class NotJSON(ValueError):
    """An input or a result that is not, or has no form as, JSON."""


@functools.cache
def _unpack(packed: bytes) -> Job:
    job: Job = pickle.loads(packed)
    return job


@functools.cache
def _function(target: Target) -> Callable[[Any], Any]:
    return target.load()


def _argument(job: Job, text: bytes) -> Any:
    if not job.jsonl:
        return _decode(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJSON(f"the input is not JSON: {error}") from None


def _decode(text: bytes) -> str:
    # As for file names and arguments: bytes that are not UTF-8 survive as lone surrogates.
    return text.decode("utf-8", "surrogateescape")


def _encode(value: object) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # lone surrogates exist in JSON only as \udc80 escapes
        return json.dumps(value, allow_nan=False).encode()


def _type_name(error: BaseException) -> str:
    """As one would write it: builtins bare, others without private modules."""
    kind = type(error)
    if kind.__module__ in ("builtins", __name__):
        return kind.__qualname__
    public = itertools.takewhile(lambda part: part[0] != "_", kind.__module__.split("."))
    return ".".join([*public, kind.__qualname__])


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"(its text cannot be had: {type(broken).__name__})"

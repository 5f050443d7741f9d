"""Waiting for something that another process or thread does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.05


def eventually(predicate: Callable[[], T], seconds: float = 60, *, until: str = "") -> T:
    """Calls `predicate` until its value is true, and returns that value.

    `seconds` is a generous limit, not a delay. If the value is not true by then, this raises AssertionError with the
    text of `until` and the last value seen.
    """
    deadline = time.monotonic() + seconds
    while not (value := predicate()):
        if time.monotonic() > deadline:
            what = until or getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {value!r})")
        time.sleep(PAUSE)
    return value

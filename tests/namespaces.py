"""Network namespaces of Linux without names: each lasts as long as a process or an open file refers to it.

So nothing has to be removed, however a test ends. A thread is in one namespace, and what it starts inherits that.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_HERE: Final = "/proc/thread-self/ns/net"


def made() -> int:
    """Makes a namespace, and returns an open file that keeps it. Raises OSError, for example without root."""
    with _kept():
        _call("unshare", _CLONE_NEWNET)
        return os.open(_HERE, os.O_RDONLY)


def path_of(namespace: int) -> str:
    """Returns a path by which other processes find a namespace while this one keeps it open."""
    return f"/proc/{os.getpid()}/fd/{namespace}"


def path_of_mine() -> str:
    """Returns a path by which other processes find this thread's namespace while the thread is in it."""
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Moves this thread to another namespace, and back. Does nothing if it is there already, or not on Linux."""
    if not Path(path).exists() or Path(path).samefile(_HERE):
        yield
        return
    with _kept():
        namespace = os.open(path, os.O_RDONLY)
        try:
            _call("setns", namespace, _CLONE_NEWNET)
        finally:
            os.close(namespace)
        yield


@contextmanager
def _kept() -> Iterator[None]:
    """Moves this thread back in the end to where it was."""
    before = os.open(_HERE, os.O_RDONLY)
    try:
        yield
    finally:
        _call("setns", before, _CLONE_NEWNET)
        os.close(before)


def _call(name: str, *arguments: int) -> None:
    # `os` has both only since Python 3.12.
    if ctypes.CDLL(None, use_errno=True)[name](*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

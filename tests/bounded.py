"""A bound on what hostile input may cost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

CPU_SECONDS = 10
"""For what takes milliseconds. On input that is large enough only what grows faster than its input takes so long."""


@contextmanager
def bounded() -> Iterator[None]:
    """What is done here takes no longer. It is CPU time, so that it does not matter what else the machine does."""
    started = time.process_time()
    yield
    assert time.process_time() - started < CPU_SECONDS

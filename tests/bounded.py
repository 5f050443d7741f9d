"""A bound on what hostile input may cost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

CPU_SECONDS = 10
"""The limit for work of milliseconds. On large input, only work that grows faster than its input takes longer."""


@contextmanager
def bounded() -> Iterator[None]:
    """Fails if the code in this context takes longer. CPU time is measured, so other load does not matter."""
    started = time.process_time()
    yield
    assert time.process_time() - started < CPU_SECONDS

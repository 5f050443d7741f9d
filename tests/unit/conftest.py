"""For tests that configure logging."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def log_restored() -> Iterator[None]:
    """What `configure` changes belongs to the process, so it is put back."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, logging.raiseExceptions = handlers, raising
    root.setLevel(level)

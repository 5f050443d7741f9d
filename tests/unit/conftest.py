"""Fixtures of the unit tests."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def log_restored() -> Iterator[None]:
    """Logging that is as before after the test: `configure` changes the state of the whole process."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, logging.raiseExceptions = handlers, raising
    root.setLevel(level)

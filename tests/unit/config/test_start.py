"""How a signal ends a command while it starts."""

import signal
from collections.abc import Iterator

import pytest

from config import start

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("arguments", ["listen", "work -c 2", "schedule", "bounces --imap --follow"])
def test_a_process_exits_with_0(arguments: str) -> None:
    start.answer_signals(arguments.split())
    assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is start._exit_at_once


def test_a_message_on_standard_input_is_handed_over_again() -> None:
    start.answer_signals(["bounces", "-"])
    assert {signal.getsignal(number) for number in NUMBERS} == {start._exit_temporarily}


@pytest.mark.parametrize("arguments", ["status", "bounces --imap", "requests list --follow"])
def test_a_command_is_interrupted(arguments: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    start.answer_signals(arguments.split())
    assert signal.getsignal(signal.SIGINT) is start._interrupt
    assert signal.getsignal(signal.SIGTERM) is before

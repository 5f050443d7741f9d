"""Following a mailbox: what is away is waited for, and said once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.domain.errors import DatabaseAway, MailboxAway, MailboxRefused
from worker.processes import bounces
from worker.processes.bounces import Follower

AWAY = MailboxAway("imaps://imap.shop.example:993/INBOX: no answer in time")
REFUSED = MailboxRefused("imaps://imap.shop.example:993/INBOX: the server refuses user or password")


class Stopwatch:
    """A `Stop` that ends the process after so many waits, and notes how long each was to be."""

    def __init__(self, waits: int) -> None:
        self.pauses: list[float] = []
        self._waits = waits

    def is_set(self) -> bool:
        return len(self.pauses) >= self._waits

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self.is_set()


class Mailbox:
    """A mailbox that waits for 0 seconds."""

    def close(self) -> None:
        pass

    def wait(self, pause: Callable[[float], bool]) -> None:
        pause(0)


class Intake:
    """An intake to which these things happen, one after the other. None: all is well."""

    def __init__(self, *happens: Exception | None) -> None:
        self._happens: Iterator[Exception | None] = iter(happens)

    def take_all(self, *, is_stopped: Callable[[], bool]) -> None:
        assert not is_stopped()
        if error := next(self._happens):
            raise error


def followed(*happens: Exception | None) -> tuple[Sequence[float], list[str]]:
    """Returns the pauses, and what was logged."""
    stop: Any = Stopwatch(len(happens))
    intake: Any = Intake(*happens)
    mailbox: Any = Mailbox()
    with capture_logs() as logs:
        Follower(intake, mailbox).run(stop)
    return stop.pauses, [each["event"] for each in logs]


@pytest.mark.parametrize(
    ("error", "words"),
    [(AWAY, ["mailbox.away", "mailbox.back"]), (DatabaseAway("gone"), ["database.away", "database.back"])],
)
def test_what_is_away_is_said_once_and_waited_for_longer_and_longer(error: Exception, words: list[str]) -> None:
    pauses, logged = followed(error, error, error, None)
    assert logged == words
    assert pauses[0] < pauses[1] < pauses[2] <= bounces.LONGEST_PAUSE


def test_a_refused_password_is_said_once_and_tried_again_after_minutes() -> None:
    pauses, logged = followed(*[REFUSED] * 6)
    assert logged == ["mailbox.refused"]
    assert pauses == [300, 600, 1200, 2400, 3600, 3600]


def test_a_password_that_is_refused_anew_is_said_again() -> None:
    pauses, logged = followed(REFUSED, None, REFUSED)
    assert logged == ["mailbox.refused", "mailbox.refused"]
    assert pauses == [300, 0, 300]


def test_while_all_is_well_the_mailbox_waits() -> None:
    assert followed(None, None) == ([0, 0], [])


def test_what_nobody_thought_of_ends_nothing() -> None:
    pauses, logged = followed(KeyError("surprise"), None)
    assert (pauses, logged) == ([bounces.FAULT_PAUSE, 0], ["bounces.failed"])

"""`stockbell bounces --follow`: takes what comes back as it comes in, until SIGTERM or SIGINT."""

from typing import Final

import structlog

from worker.domain.errors import DatabaseAway, MailboxAway, MailboxRefused
from worker.feedback.mailbox import Mailbox
from worker.processes.backoff import Backoff
from worker.processes.bootstrap import Parts
from worker.processes.startup import wait_for_database
from worker.processes.stop import Stop
from worker.services.bounce_intake import BounceIntake

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds between tries while the mailbox is locked, gone or does not answer."""
FAULT_PAUSE = 60.0
"""Seconds after a fault of the program."""
REFUSED_PAUSE, LONGEST_REFUSED_PAUSE = 300.0, 3600.0
"""Seconds between logins while the password is refused. Servers lock an account after some of them."""

log: Final = structlog.get_logger()


def run(parts: Parts, mailbox: Mailbox) -> None:
    """Follows a mailbox. Several processes may follow the same one."""
    stop = Stop().listen()
    stop.end_in_time()  # what was not taken, or taken and not marked, is read again
    if not wait_for_database(parts.database, stop):
        return
    log.info("bounces.started", mailbox=mailbox.where)
    Follower(BounceIntake(parts.database, parts.intake, mailbox), mailbox).run(stop)
    mailbox.close()
    log.info("bounces.stopped")


class Follower:
    """Takes what is in a mailbox, waits for more, and waits out what is away."""

    def __init__(self, intake: BounceIntake, mailbox: Mailbox) -> None:
        self._intake = intake
        self._mailbox = mailbox

    def run(self, stop: Stop) -> None:
        """Follows until stopped. A mailbox or a database that is away is logged once."""
        database = Backoff(stop, away="database.away", back="database.back")
        mailbox = Backoff(stop, away="mailbox.away", back="mailbox.back", first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        login = Login(stop)
        while not stop.is_set():
            try:
                self._intake.take_all(is_stopped=stop.is_set)
                for each in (database, mailbox, login):
                    each.is_over()
                if not stop.is_set():
                    self._mailbox.wait(stop.wait)
            except DatabaseAway as away:
                database.wait(str(away))
            except MailboxRefused as refused:
                login.wait(str(refused))
            except MailboxAway as away:
                mailbox.wait(str(away))
            except Exception:  # it goes on: in a Procfile, its end would be that of the other lines
                log.exception("bounces.failed")
                self._mailbox.close()
                stop.wait(FAULT_PAUSE)


class Login:
    """Waits for a password to be mended, minutes rather than seconds."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._pause = REFUSED_PAUSE

    def wait(self, reason: str) -> None:
        """Says it once, and waits before the next login."""
        if self._pause == REFUSED_PAUSE:
            log.error("mailbox.refused", reason=reason)
        self._stop.wait(self._pause)
        self._pause = min(2 * self._pause, LONGEST_REFUSED_PAUSE)

    def is_over(self) -> None:
        """A login worked."""
        self._pause = REFUSED_PAUSE

"""What customers do behind the link in their mails: look, leave, take that back, have their data erased.

Whoever has the link is the customer: only their mails have it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec
from uuid import UUID

import structlog

from worker.domain.outcomes import FailureCode
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.services.returning import log_failed
from worker.store import erasure, leaving, suppression
from worker.store.database import Connection, Database
from worker.store.leaving import Standing

P = ParamSpec("P")

BY: Final = "link"
"""What told us that a customer left."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Leaving:
    """The customers of a database, each named by the id in their token. All methods raise DatabaseAway.

    They return how it stands with the customer then, or None if nothing is held about them.
    """

    database: Database
    tokens: Tokens

    def look(self, contact_id: UUID) -> Standing | None:
        """Changes nothing."""
        return self.database.read(leaving.standing, contact_id)

    def leave(self, contact_id: UUID) -> Standing | None:
        """Sends this customer no more mail. Again is the same as once."""
        standing, done = self.database.write(_leave, contact_id)
        for each in done.contacts:
            log.info("contact.suppressed", contact_id=str(each), cause=Cause.UNSUBSCRIBED.value, source=BY)
        log_failed(set(done.requests), FailureCode.SUPPRESSED)
        return standing

    def leave_item(self, contact_id: UUID, list_id: UUID) -> Standing | None:
        """Sends no more mail about what one list is for. A mail that is being sent at that moment still arrives."""
        return self._then_look(suppression.leave_item, contact_id, list_id)

    def take_back(self, contact_id: UUID) -> Standing | None:
        """Undoes `leave`. What has ended by it waits again; the next sweep sends what is due."""
        return self._then_look(leaving.take_back, contact_id, self.tokens)

    def take_back_item(self, contact_id: UUID, list_id: UUID) -> Standing | None:
        """Undoes `leave_item`."""
        return self._then_look(leaving.take_back_item, contact_id, list_id)

    def erase(self, contact_id: UUID) -> None:
        """Erases the customer, who gets no more mail: a keyed hash of the address stays, by which it is recognised."""
        if self.database.write(_erase, contact_id, self.tokens):
            log.info("contact.erased", contact_id=str(contact_id), source=BY)

    def _then_look(
        self,
        work: Callable[Concatenate[Connection, UUID, P], object],
        contact_id: UUID,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Standing | None:
        def both(c: Connection) -> Standing | None:
            work(c, contact_id, *args, **kwargs)
            return leaving.standing(c, contact_id)

        return self.database.write(both)


def _leave(c: Connection, contact_id: UUID) -> tuple[Standing | None, suppression.Suppressed]:
    done = suppression.suppress(c, [contact_id], Cause.UNSUBSCRIBED, BY)
    return leaving.standing(c, contact_id), done


def _erase(c: Connection, contact_id: UUID, tokens: Tokens) -> bool:
    suppression.suppress(c, [contact_id], Cause.UNSUBSCRIBED, BY)
    return erasure.erase(c, contact_id, tokens) is not None

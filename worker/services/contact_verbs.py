"""What admins do with customers: each verb is done, and noted in the audit trail, in one transaction.

The trail names them by their contact's id, never by an address.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.store import actions, contacts, erasure, suppression
from worker.store.database import Connection
from worker.store.erasure import Erased
from worker.store.suppression import Suppressed

EACH: Final = 10
"""Of so many customers at once each has a row in the trail. More share one, with their number."""


def suppress(c: Connection, who: str, contact_ids: Sequence[UUID], cause: Cause, by: str) -> Suppressed:
    """Sends these contacts no more mail. `by` is what the contact's row says."""
    done = suppression.suppress(c, contact_ids, cause, by)
    about: dict[str, object] = {"cause": cause.value}
    if len(contact_ids) > EACH:
        result = {"contacts": len(done.contacts), "requests": len(done.requests)}
        actions.note(c, who, "contacts suppress", about, result=result, changed=len(done.contacts))
        return done
    for id_ in contact_ids:
        actions.note(c, who, "contacts suppress", about, changed=int(id_ in done.contacts), contact_id=id_)
    return done


def lift(c: Connection, who: str, addresses: Sequence[str], tokens: Tokens | None) -> set[str]:
    """Lets these normalised addresses get mail again. Returns those that got none. Raises BadSetting without a key."""
    lifted = suppression.lift(c, addresses, tokens)
    known = contacts.find(c, lifted)
    for address in sorted(lifted):
        of = known.get(address)  # none: it was erased, and only recognised
        actions.note(c, who, "contacts unsuppress", {}, changed=1, contact_id=of.id if of else None)
    return lifted


def note_export(c: Connection, who: str, contact_id: UUID) -> None:
    """Notes that what is held of a contact was handed out."""
    actions.note(c, who, "contacts export", {}, contact_id=contact_id)


def erase(c: Connection, who: str, contact_id: UUID, tokens: Tokens | None) -> Erased | None:
    """Erases a contact; None if there is none. Raises BadSetting if it needs a key that is not set."""
    done = erasure.erase(c, contact_id, tokens)
    if done is not None:
        result = {"requests": done.requests, "ended": done.ended}
        actions.note(c, who, "contacts erase", {}, result=result, changed=1, contact_id=contact_id)
    return done

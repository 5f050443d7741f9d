"""Brevo: the events of its transactional webhook, one in a call or a list of them.

By "Transactional webhooks" and "Secured webhooks" (developers.brevo.com/docs). Brevo signs nothing: it sends a token
in a header if it is told to, and it knows our URL, which may have a secret part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worker.domain.returned import Kind, Report, Returned
from worker.feedback.webhook_calls import Call, Decoded, check_secret, decoded, parsed_events, text
from worker.feedback.webhook_verdicts import Meaning, arrival, clues, failed, noted

_FORM: Final = "webhook of brevo"
_TYPE: Final = "event"
_CUSTOM: Final = "X-Mailin-custom"
_KINDS: Final = {
    "deferred": Kind.DELAYED,
    "spam": Kind.COMPLAINT,
    "unsubscribe": Kind.UNSUBSCRIBE,
    "unsubscribed": Kind.UNSUBSCRIBE,
}
_MEANINGS: Final = {
    "invalid_email": Meaning.DEAD,
    "hard_bounce": Meaning.UNSURE,
    "soft_bounce": Meaning.SOFT,
    "blocked": Meaning.OTHER,
    "error": Meaning.OTHER,
}
"""`blocked` was not tried: the address is on a list of Brevo, for whatever reason."""


@dataclass(frozen=True, slots=True)
class Brevo:
    """A secret of ours, that Brevo sends as `Authorization: Bearer SECRET`, or that stands in our URL."""

    secret: str = field(repr=False)

    def verify(self, call: Call, now: datetime) -> None:
        """See `Webhook`. Nothing in the call tells its age in a way that can be trusted."""
        scheme, _, token = call.header("Authorization").partition(" ")
        check_secret(token.strip() if scheme.lower() == "bearer" else call.url_secret, self.secret)

    def decode(self, call: Call) -> Decoded:
        """See `Webhook`."""
        return decoded(parsed_events(call), _report, _TYPE)


def _report(event: Mapping[str, object]) -> Report | None:
    returned = _returned(event)
    if returned is None:
        return None
    # `id` is that of the webhook. A mail has one event of a type in a second.
    names = (text(event, name) for name in (_TYPE, "message-id", "ts_event"))
    found = clues([text(event, _CUSTOM)], [text(event, "message-id")])
    return Report([returned], found, arrival("brevo", *names), _FORM)


def _returned(event: Mapping[str, object]) -> Returned | None:
    name, recipient, words = (text(event, each) for each in (_TYPE, "email", "reason"))
    if name in _KINDS:
        return noted(_KINDS[name], recipient, name, words)
    meaning = _MEANINGS.get(name)
    return failed(recipient, meaning, name, words) if meaning else None

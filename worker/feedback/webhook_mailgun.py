"""Mailgun: failed, rejected, complained and unsubscribed.

By "Webhooks", "Securing webhooks", "Automatic retries" and "Event structure" (documentation.mailgun.com). Mailgun signs
a time and a random token, but not the event: only HTTPS keeps anybody from using a signature again, within hours, for
an event of his own.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worker.domain.errors import Forged
from worker.domain.providers import KEY
from worker.domain.returned import Kind, Report, Returned
from worker.feedback.webhook_calls import Call, Decoded, at, check_age, decoded, parsed_object, text
from worker.feedback.webhook_verdicts import Meaning, arrival, clues, failed, noted

MAX_AGE: Final = 9 * 3600.0
"""Seconds. Mailgun tries for 8 hours, first after 5 minutes, and may send the signature that it made at first."""

_FORM: Final = "webhook of mailgun"
_TYPE: Final = "event"
_KINDS: Final = {"complained": Kind.COMPLAINT, "unsubscribed": Kind.UNSUBSCRIBE}
_MEANINGS: Final = {"bounce": Meaning.UNSURE, "generic": Meaning.UNSURE, "": Meaning.UNSURE}
"""All other reasons name a cause: `old` was tried for too long, `suppress-bounce` was not tried."""
_SUPPRESSED: Final = {"suppress-complaint": Kind.COMPLAINT, "suppress-unsubscribe": Kind.UNSUBSCRIBE}
"""Why Mailgun did not even try, where that is the customer's will."""


@dataclass(frozen=True, slots=True)
class Mailgun:
    """The "HTTP webhook signing key"."""

    key: str = field(repr=False)

    def verify(self, call: Call, now: datetime) -> None:
        """See `Webhook`."""
        signed = at(parsed_object(call), "signature")
        timestamp, token, signature = (text(signed, name) for name in ("timestamp", "token", "signature"))
        check_age(timestamp, now, MAX_AGE)
        ours = hmac.new(self.key.encode(), f"{timestamp}{token}".encode(), "sha256").hexdigest()
        if not self.key or not hmac.compare_digest(ours.encode(), signature.lower().encode()):
            raise Forged("the signature is missing or wrong")

    def decode(self, call: Call) -> Decoded:
        """See `Webhook`."""
        return decoded([at(parsed_object(call), "event-data")], _report, _TYPE)


def _report(event: Mapping[str, object]) -> Report | None:
    returned = _returned(event)
    if returned is None:
        return None
    found = clues([text(event, "user-variables", KEY)], [text(event, "message", "headers", "message-id")])
    # The id alone is unique for a day only.
    return Report([returned], found, arrival("mailgun", text(event, "id"), text(event, "timestamp")), _FORM)


def _returned(event: Mapping[str, object]) -> Returned | None:
    name, recipient, reason = (text(event, each) for each in (_TYPE, "recipient", "reason"))
    if name in _KINDS:
        return noted(_KINDS[name], recipient, name)
    if name == "rejected":
        return failed(recipient, Meaning.OTHER, name, text(event, "reject", "reason"))
    if name != "failed":
        return None
    if reason in _SUPPRESSED:
        return noted(_SUPPRESSED[reason], recipient, reason)
    severity, (words, status) = text(event, "severity"), _words(event)
    type_ = "/".join(filter(None, (severity, reason)))
    if severity == "temporary":
        return noted(Kind.DELAYED, recipient, type_, words, status)
    return failed(recipient, _MEANINGS.get(reason, Meaning.OTHER), type_, words, status)


def _words(event: Mapping[str, object]) -> tuple[str, str]:
    """Returns what the server said, with its code, and the enhanced code. Codes above 599 are Mailgun's own."""
    said = at(event, "delivery-status")
    code, words = text(said, "code"), text(said, "message") or text(said, "description")
    is_of_smtp = len(code) == len("550") and code[:1] in {"4", "5"} and not words.startswith(code)
    return f"{code} {words}" if is_of_smtp else words, text(said, "enhanced-code")

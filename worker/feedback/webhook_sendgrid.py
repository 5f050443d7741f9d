"""SendGrid: the signed event webhook.

By "Event Webhook Reference" and "Getting started with the Event Webhook security features" (twilio.com/docs/sendgrid).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from worker.domain.errors import BadSetting, Forged
from worker.domain.providers import KEY
from worker.domain.returned import Kind, Report, Returned
from worker.feedback.webhook_calls import Call, Decoded, check_age, decoded, parsed_events, text
from worker.feedback.webhook_verdicts import Meaning, arrival, clues, failed, noted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

MAX_AGE: Final = 25 * 3600.0
"""Seconds. SendGrid tries for 24 hours, and does not say whether it signs anew."""

_FORM: Final = "webhook of sendgrid"
_TYPE: Final = "event"
_SIGNATURE: Final = "X-Twilio-Email-Event-Webhook-Signature"
_TIMESTAMP: Final = "X-Twilio-Email-Event-Webhook-Timestamp"

_KINDS: Final = {
    "deferred": Kind.DELAYED,
    "spamreport": Kind.COMPLAINT,
    "unsubscribe": Kind.UNSUBSCRIBE,
    "group_unsubscribe": Kind.UNSUBSCRIBE,
}
_MEANINGS: Final = {
    "Invalid Address": Meaning.DEAD,
    "Mailbox Unavailable": Meaning.UNSURE,
    "Unclassified": Meaning.UNSURE,
    "": Meaning.UNSURE,
}
"""By SendGrid's classification of a bounce. All others are about content, reputation, pace or technique."""
_DROPPED: Final = {
    "unsubscribed address": Kind.UNSUBSCRIBE,
    "spam reporting address": Kind.COMPLAINT,
}
"""Why SendGrid did not even try, where that is the customer's will."""


@dataclass(frozen=True, slots=True)
class SendGrid:
    """The "verification key" of the settings: base64 of an EC public key."""

    key: str

    def verify(self, call: Call, now: datetime) -> None:
        """See `Webhook`. Raises BadSetting if our key is none."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        timestamp = call.header(_TIMESTAMP)
        check_age(timestamp, now, MAX_AGE)
        try:
            signature = base64.b64decode(call.header(_SIGNATURE), validate=True)
            self._public_key().verify(signature, timestamp.encode() + call.body, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):  # ValueError: neither base64 nor ASCII
            raise Forged("the signature is missing or wrong") from None

    def check(self) -> None:
        """Raises BadSetting if our key is none."""
        self._public_key()

    def _public_key(self) -> "EllipticCurvePublicKey":
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            found = load_der_public_key(base64.b64decode(self.key, validate=True))
        except (ValueError, UnsupportedAlgorithm):
            found = None
        if not isinstance(found, EllipticCurvePublicKey):
            raise BadSetting("the verification key of SendGrid is not the base64 text that its settings show")
        return found

    def decode(self, call: Call) -> Decoded:
        """See `Webhook`."""
        return decoded(parsed_events(call), _report, _TYPE)


def _report(event: Mapping[str, object]) -> Report | None:
    returned = _returned(event)
    if returned is None:
        return None
    # SendGrid writes the metadata into the event itself.
    found = clues([text(event, KEY)], [text(event, "smtp-id")])
    return Report([returned], found, arrival("sendgrid", text(event, "sg_event_id")), _FORM)


def _returned(event: Mapping[str, object]) -> Returned | None:
    name, recipient, words, status = (text(event, each) for each in (_TYPE, "email", "reason", "status"))
    if name in _KINDS:
        return noted(_KINDS[name], recipient, name, words or text(event, "response"), status)
    if name == "dropped":
        return _dropped(recipient, words)
    if name != "bounce":
        return None
    type_, class_ = text(event, "type"), text(event, "bounce_classification")
    meaning = Meaning.OTHER if type_ == "blocked" else _MEANINGS.get(class_, Meaning.OTHER)
    return failed(recipient, meaning, "/".join(filter(None, (type_ or name, class_))), words, status)


def _dropped(recipient: str, reason: str) -> Returned:
    """SendGrid's own reason, not a server's words: only "Invalid" says something of the address."""
    kind = _DROPPED.get(reason.lower())
    type_ = f"dropped/{reason}"
    if kind is not None:
        return noted(kind, recipient, type_)
    return failed(recipient, Meaning.DEAD if reason.lower() == "invalid" else Meaning.OTHER, type_, "")

"""Postmark: Bounce, SpamComplaint and SubscriptionChange.

By "Bounce webhook", "Spam complaint webhook", "Subscription change webhook" and "Bounce types" (postmarkapp.com/
developer). Postmark signs nothing. It knows a user and a password, which stand in the URL that it is given.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worker.domain.errors import Forged
from worker.domain.providers import KEY
from worker.domain.returned import Kind, Report, Returned
from worker.feedback.webhook_calls import Call, Decoded, at, check_secret, decoded, parsed_events, text
from worker.feedback.webhook_verdicts import Meaning, arrival, clues, failed, noted

_FORM: Final = "webhook of postmark"
_TYPE: Final = "RecordType"
_MEANINGS: Final = {
    "BadEmailAddress": Meaning.DEAD,
    "HardBounce": Meaning.UNSURE,
    "Unknown": Meaning.UNSURE,
    "SoftBounce": Meaning.SOFT,
}
"""All others are about the content, a policy, or ourselves."""
_KINDS: Final = {
    "Transient": Kind.DELAYED,
    "AutoResponder": Kind.AUTO_REPLY,
    "AddressChange": Kind.AUTO_REPLY,
    "ChallengeVerification": Kind.AUTO_REPLY,
    "SpamComplaint": Kind.COMPLAINT,
    "Unsubscribe": Kind.UNSUBSCRIBE,
}
"""What Postmark reports as a bounce, and is no failure."""
_IGNORED: Final = frozenset({"Subscribe", "OpenRelayTest"})


@dataclass(frozen=True, slots=True)
class Postmark:
    """The user and the password of our URL."""

    user: str
    password: str = field(repr=False)

    def verify(self, call: Call, now: datetime) -> None:
        """See `Webhook`. Nothing in the call tells its age."""
        scheme, _, given = call.header("Authorization").partition(" ")
        if scheme.lower() != "basic":
            raise Forged("it has no user and password")
        ours = base64.b64encode(f"{self.user}:{self.password}".encode()).decode() if self.password else ""
        check_secret(given.strip(), ours)

    def decode(self, call: Call) -> Decoded:
        """See `Webhook`."""
        return decoded(parsed_events(call), _report, _TYPE)


def _report(event: Mapping[str, object]) -> Report | None:
    match text(event, _TYPE):
        case "Bounce" | "SpamComplaint":
            returned = _bounce(event)
        case "SubscriptionChange":
            returned = _change(event)
        case _:
            return None
    if returned is None:
        return None
    # Only bounces and complaints have an id of their own.
    names = (text(event, name) for name in ("ID", "MessageID", "ChangedAt"))
    return Report([returned], clues([text(event, "Metadata", KEY)]), arrival("postmark", *names), _FORM)


def _bounce(event: Mapping[str, object]) -> Returned | None:
    """`Details` is what the server said, `Description` what Postmark thinks of it."""
    type_, recipient, words = (text(event, name) for name in ("Type", "Email", "Details"))
    if type_ in _IGNORED:
        return None
    if type_ in _KINDS:
        return noted(_KINDS[type_], recipient, type_, words)
    return failed(recipient, _MEANINGS.get(type_, Meaning.OTHER), type_, words)


def _change(event: Mapping[str, object]) -> Returned | None:
    """Postmark stops or begins to send to an address. A bounce that was the reason has come as a bounce too."""
    reason, origin, recipient = (text(event, name) for name in ("SuppressionReason", "Origin", "Recipient"))
    if at(event, "SuppressSending") is not True:
        return None
    if reason == "SpamComplaint":
        return noted(Kind.COMPLAINT, recipient, reason)
    if reason == "ManualSuppression" and origin == "Recipient":
        return noted(Kind.UNSUBSCRIBE, recipient, reason)
    return None

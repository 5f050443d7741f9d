"""The envelope of Amazon SNS, and its signature.

By "Verifying the signatures of Amazon SNS messages" and "HTTP/HTTPS subscription confirmation JSON format" in the
developer guide of SNS (docs.aws.amazon.com/sns/latest/dg). Anybody can have a topic of their own, whose messages SNS
signs as well: only the allowed topics tell ours from theirs.
"""

import base64
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from worker.domain.errors import BadWebhook, Forged
from worker.feedback.webhook_calls import Call, check_seconds, parsed_object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

MAX_AGE: Final = 3_600.0
"""Seconds. SNS tries for about an hour, and a message keeps the time at which it was published."""

# The whole URL: no other scheme or port, no user, no host that only begins or ends like one of Amazon's, no query.
_HOST: Final = r"https://sns\.[a-z]{2}[a-z0-9-]{1,30}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE_URL: Final = re.compile(rf"{_HOST}/[A-Za-z0-9_-]{{1,100}}\.pem")
_CONFIRM_URL: Final = re.compile(rf"{_HOST}/\?Action=ConfirmSubscription&[A-Za-z0-9%&=_.:+-]{{1,1500}}")
_MAX_CERTIFICATE: Final = 64 * 1024

NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
_SIGNED: Final = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_OPTIONAL: Final = "Subject"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message of SNS. Nothing is known of who wrote it until `verify` has returned."""

    fields: Mapping[str, str]

    @property
    def type(self) -> str:
        """Notification, SubscriptionConfirmation or UnsubscribeConfirmation."""
        return self.fields["Type"]

    @property
    def message(self) -> str:
        """What was published."""
        return self.fields["Message"]

    @property
    def id(self) -> str:
        """The same when SNS tries again."""
        return self.fields["MessageId"]

    @property
    def confirm_url(self) -> str | None:
        """The URL that confirms the subscription; None if this is no confirmation, or the URL is not one of SNS."""
        url = self.fields.get("SubscribeURL", "")
        return url if self.type == CONFIRMATION and _CONFIRM_URL.fullmatch(url) else None


def opened(call: Call) -> Envelope:
    """Reads the envelope. Raises BadWebhook."""
    found = parsed_object(call)
    fields = {name: value for name, value in found.items() if isinstance(value, str)}
    names = _SIGNED.get(fields.get("Type", ""))
    if names is None or any(name not in fields for name in names if name != _OPTIONAL):
        raise BadWebhook("is no message of SNS (raw message delivery has to be off)")
    return Envelope(fields)


def verify(envelope: Envelope, topics: Set[str], certificate: Callable[[str], bytes], now: datetime) -> None:
    """Raises Forged if SNS did not sign this for one of our topics, or over an hour ago.

    `certificate` fetches a URL: over HTTPS with a verified certificate, without following redirects. It is only called
    with URLs of SNS, for messages of our topics.
    """
    if envelope.fields["TopicArn"] not in topics:
        raise Forged("the topic is not one of ours")
    check_seconds(_seconds(envelope.fields["Timestamp"]), now, MAX_AGE)
    url = envelope.fields.get("SigningCertURL", "")
    if not _CERTIFICATE_URL.fullmatch(url):
        raise Forged("the certificate's URL is not one of SNS")
    _check_signature(envelope, certificate(url), now)


def _seconds(timestamp: str) -> float:
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return float("nan")
    return at.timestamp() if at.tzinfo else float("nan")


def _to_sign(envelope: Envelope) -> bytes:
    fields = envelope.fields
    names = (name for name in _SIGNED[envelope.type] if name in fields)
    return "".join(f"{name}\n{fields[name]}\n" for name in names).encode("utf-8", "replace")


def _check_signature(envelope: Envelope, pem: bytes, now: datetime) -> None:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        found = x509.load_pem_x509_certificate(pem[:_MAX_CERTIFICATE])
        key = found.public_key()
    except ValueError:
        raise Forged("the certificate can't be read") from None
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise Forged("the certificate is not valid now")
    if not isinstance(key, RSAPublicKey):
        raise Forged("the certificate has no RSA key")
    try:
        key.verify(_signature(envelope), _to_sign(envelope), PKCS1v15(), _algorithm(envelope))
    except InvalidSignature:
        raise Forged("the signature is wrong") from None


def _signature(envelope: Envelope) -> bytes:
    try:
        return base64.b64decode(envelope.fields.get("Signature", ""), validate=True)
    except ValueError:
        raise Forged("the signature is not base64") from None


def _algorithm(envelope: Envelope) -> "HashAlgorithm":
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256

    match envelope.fields.get("SignatureVersion"):
        case "1":
            return SHA1()  # noqa: S303  # still the default of SNS; a forger would need a second preimage
        case "2":
            return SHA256()
        case _:
            raise Forged("the signature has a version that is not known")

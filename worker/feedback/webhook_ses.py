"""Amazon SES by way of SNS, both as "notifications" of an identity and as "event publishing" of a configuration set.

By "Amazon SNS notification contents for Amazon SES" and "Contents of event data that Amazon SES publishes to Amazon
SNS" in the developer guide of SES (docs.aws.amazon.com/ses/latest/dg).
"""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worker.domain.errors import BadWebhook
from worker.domain.providers import KEY
from worker.domain.returned import Clues, Kind, Report, Returned
from worker.feedback import webhook_sns as sns
from worker.feedback.webhook_calls import Call, Decoded, at, decoded, json_of, rows, text
from worker.feedback.webhook_verdicts import Meaning, arrival, clues, failed, noted

_FORM: Final = "webhook of ses"
_MEANINGS: Final = {
    "Permanent/NoEmail": Meaning.DEAD,
    "Permanent/General": Meaning.UNSURE,
    "Undetermined/Undetermined": Meaning.UNSURE,
    "Transient/General": Meaning.SOFT,
}
"""All others name a cause: a full mailbox, the content, or a list of addresses that SES does not send to
(Suppressed, OnAccountSuppressionList). Who is on such a list is not told, and did not get the mail; but why they are
on it is not known here: SES also puts those there whom a spam filter refused."""
_AUTOMATIC: Final = "Transient/General"
_NO_COMPLAINT: Final = frozenset({"not-spam", "auth-failure"})


@dataclass(frozen=True, slots=True)
class Ses:
    """The topics that are ours, and a function that fetches a certificate by its URL (see `webhook_sns.verify`)."""

    topics: Set[str]
    certificate: Callable[[str], bytes] = field(repr=False)

    def verify(self, call: Call, now: datetime) -> None:
        """See `Webhook`."""
        sns.verify(sns.opened(call), self.topics, self.certificate, now)

    def decode(self, call: Call) -> Decoded:
        """See `Webhook`. `confirm_url` is set if SNS asks whether we want its messages."""
        envelope = sns.opened(call)
        if envelope.type != sns.NOTIFICATION:
            return Decoded(ignored={envelope.type: 1}, confirm_url=envelope.confirm_url)
        event = _published(envelope.message)
        # Without event publishing the field is named notificationType.
        type_field = "eventType" if at(event, "eventType") else "notificationType"
        return decoded([event], lambda each: _report(each, text(each, type_field), envelope.id), type_field)


def _published(message: str) -> object:
    """Returns the event, or None for the plain text that SES publishes to try the topic."""
    try:
        return json_of(message)
    except BadWebhook:
        return None


def _report(event: Mapping[str, object], type_: str, message_id: str) -> Report | None:
    reader = _READERS.get(type_)
    returned = list(reader(event)) if reader else []
    if not returned:
        return None
    feedback_id = text(event, type_.lower(), "feedbackId")
    return Report(returned, _clues(event), arrival("ses", feedback_id or message_id), _FORM)


def _bounce(event: Mapping[str, object]) -> Iterator[Returned]:
    bounce = at(event, "bounce")
    type_ = f"{text(bounce, 'bounceType')}/{text(bounce, 'bounceSubType')}"
    for each in rows(bounce, "bouncedRecipients"):
        recipient, status, words = (text(each, name) for name in ("emailAddress", "status", "diagnosticCode"))
        if type_ == _AUTOMATIC and not (status or words):  # a vacation notice: SES takes it for a bounce
            yield noted(Kind.AUTO_REPLY, recipient, type_)
        else:
            yield failed(recipient, _MEANINGS.get(type_, Meaning.OTHER), type_, words, status)


def _complaint(event: Mapping[str, object]) -> Iterator[Returned]:
    complaint = at(event, "complaint")
    feedback, sub_type = text(complaint, "complaintFeedbackType"), text(complaint, "complaintSubType")
    kind = Kind.FEEDBACK if feedback in _NO_COMPLAINT else Kind.COMPLAINT
    for each in rows(complaint, "complainedRecipients"):
        yield noted(kind, text(each, "emailAddress"), "/".join(filter(None, ("Complaint", feedback, sub_type))))


def _delay(event: Mapping[str, object]) -> Iterator[Returned]:
    delay = at(event, "deliveryDelay")
    for each in rows(delay, "delayedRecipients"):
        recipient, status, words = (text(each, name) for name in ("emailAddress", "status", "diagnosticCode"))
        yield noted(Kind.DELAYED, recipient, text(delay, "delayType"), words, status)


def _reject(event: Mapping[str, object]) -> Iterator[Returned]:
    destination = at(event, "mail", "destination")
    for each in destination if isinstance(destination, list) else ():
        yield failed(text(each), Meaning.OTHER, "Reject", text(event, "reject", "reason"))


def _subscription(event: Mapping[str, object]) -> Iterator[Returned]:
    if at(event, "subscription", "newTopicPreferences", "unsubscribeAll") is True:
        destination = at(event, "mail", "destination")
        for each in destination if isinstance(destination, list) else ():
            yield noted(Kind.UNSUBSCRIBE, text(each), "Subscription")


_READERS: Final[Mapping[str, Callable[[Mapping[str, object]], Iterator[Returned]]]] = {
    "Bounce": _bounce,
    "Complaint": _complaint,
    "DeliveryDelay": _delay,
    "Reject": _reject,
    "Subscription": _subscription,
}


def _clues(event: Mapping[str, object]) -> Clues:
    """`source` is the return path; the headers are there if the topic is set up with "include original headers"."""
    mail = at(event, "mail")
    headers = [(text(each, "name").lower(), text(each, "value")) for each in rows(mail, "headers")]
    tags = at(mail, "tags", KEY)
    tokens = [text(each) for each in tags] if isinstance(tags, list) else []
    message_ids = [value for name, value in headers if name == "message-id"]
    return clues(
        [*tokens, text(mail, "source"), *(value for _, value in headers)],
        [*message_ids, text(mail, "commonHeaders", "messageId")],
    )

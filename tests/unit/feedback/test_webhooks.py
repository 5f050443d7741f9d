"""Webhooks: a call that the provider did not make is refused, and one that it made is read as what it says."""

import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.feedback import webhook_samples as samples
from tests.unit.feedback.webhook_samples import (
    BREVO,
    JANE,
    MAILGUN,
    MESSAGE_ID,
    NOW,
    POSTMARK,
    TOKEN,
    brevo_call,
    brevo_event,
    mailgun_call,
    mailgun_data,
    postmark_bounce,
    postmark_call,
    postmark_change,
    sendgrid_call,
    sendgrid_event,
    ses_bounce,
    ses_complaint,
    ses_mail,
    sns_call,
)
from worker.domain.errors import BadSetting, BadWebhook, Forged
from worker.domain.returned import Clues, Kind, Report
from worker.feedback.webhook_calls import MAX_OBJECT
from worker.feedback.webhooks import MAX_BODY, Brevo, Call, Mailgun, Postmark, SendGrid, Ses, Webhook, receive


def ses_call(event: object) -> Call:
    return sns_call(json.dumps(event))


def one(webhook: Webhook, call: Call) -> Report:
    [report] = receive(webhook, call, NOW).reports
    return report


def kind_of(webhook: Webhook, call: Call) -> Kind | None:
    """What a call of one event says of Jane; None: nothing."""
    decoded = receive(webhook, call, NOW)
    for report in decoded.reports:
        [returned] = report.returned
        assert returned.recipient == JANE
        assert JANE not in returned.words
        assert report.arrival.partition(":")[2].strip()
        assert TOKEN in report.clues.tokens
        return returned.kind
    assert sum(decoded.ignored.values()) == 1
    return None


USER_UNKNOWN = "smtp; 550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown"
SPAM = "smtp; 550 5.7.1 Message rejected as spam by Content Filtering."

SAID: list[tuple[Callable[[], tuple[Webhook, Call]], Kind | None]] = [
    # SES: the server's words count more than Permanent.
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "General", USER_UNKNOWN, "5.1.1"))), Kind.DEAD),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "General", SPAM, "5.7.1"))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "General", None))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "NoEmail", SPAM, "5.7.1"))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "NoEmail", None))), Kind.DEAD),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "NoEmail", "smtp; 421 4.0.0 later"))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "NoEmail", "smtp; 550 Mailbox is full"))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "NoEmail", "smtp; 550 5.9.9 qqq zzz"))), Kind.FAILED),
    (
        lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "OnAccountSuppressionList", USER_UNKNOWN, "5.1.1"))),
        Kind.FAILED,
    ),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "Suppressed", USER_UNKNOWN, "5.1.1"))), Kind.FAILED),
    (
        lambda: (
            samples.ses(),
            ses_call(ses_bounce("Transient", "General", "smtp; 550 5.4.4 Invalid domain", "5.4.4")),
        ),
        Kind.DEAD,
    ),
    (lambda: (samples.ses(), ses_call(ses_bounce("Transient", "MailboxFull", USER_UNKNOWN, "5.1.1"))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Transient", "General", None))), Kind.AUTO_REPLY),
    (lambda: (samples.ses(), ses_call(ses_bounce("Undetermined", "Undetermined", None))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_bounce("Permanent", "NewSubType", USER_UNKNOWN, "5.1.1"))), Kind.FAILED),
    (lambda: (samples.ses(), ses_call(ses_complaint(complaintFeedbackType="abuse"))), Kind.COMPLAINT),
    (
        lambda: (samples.ses(), ses_call(ses_complaint(complaintSubType="OnAccountSuppressionList"))),
        Kind.COMPLAINT,
    ),
    (lambda: (samples.ses(), ses_call(ses_complaint(complaintFeedbackType="not-spam"))), Kind.FEEDBACK),
    (
        lambda: (
            samples.ses(),
            ses_call(
                {
                    "eventType": "DeliveryDelay",
                    "mail": ses_mail(),
                    "deliveryDelay": {
                        "delayType": "MailboxFull",
                        "delayedRecipients": [{"emailAddress": JANE, "status": "4.2.2", "diagnosticCode": "452 full"}],
                    },
                }
            ),
        ),
        Kind.DELAYED,
    ),
    (
        lambda: (
            samples.ses(),
            ses_call({"eventType": "Reject", "mail": ses_mail(), "reject": {"reason": "Bad content"}}),
        ),
        Kind.FAILED,
    ),
    (
        lambda: (
            samples.ses(),
            ses_call(
                {
                    "eventType": "Subscription",
                    "mail": ses_mail(),
                    "subscription": {"newTopicPreferences": {"unsubscribeAll": True}},
                }
            ),
        ),
        Kind.UNSUBSCRIBE,
    ),
    (lambda: (samples.ses(), ses_call({"eventType": "Delivery", "mail": ses_mail(), "delivery": {}})), None),
    (lambda: (samples.ses(), ses_call({"eventType": "Somersault", "mail": ses_mail()})), None),
    (lambda: (samples.ses(), sns_call("Successfully validated SNS topic for Amazon SES event publishing.")), None),
    # Postmark
    (lambda: (POSTMARK, postmark_call(postmark_bounce("HardBounce", USER_UNKNOWN))), Kind.DEAD),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("HardBounce", SPAM))), Kind.FAILED),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("HardBounce", ""))), Kind.FAILED),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("BadEmailAddress", ""))), Kind.DEAD),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("SoftBounce", "smtp; 450 4.2.1 try again"))), Kind.FAILED),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("DMARCPolicy", USER_UNKNOWN))), Kind.FAILED),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("Transient", ""))), Kind.DELAYED),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("AutoResponder", ""))), Kind.AUTO_REPLY),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("Unsubscribe", ""))), Kind.UNSUBSCRIBE),
    (lambda: (POSTMARK, postmark_call(postmark_bounce("Subscribe", ""))), None),
    (
        lambda: (POSTMARK, postmark_call(postmark_bounce("SpamComplaint", "") | {"RecordType": "SpamComplaint"})),
        Kind.COMPLAINT,
    ),
    (lambda: (POSTMARK, postmark_call(postmark_change("SpamComplaint", "Recipient"))), Kind.COMPLAINT),
    (lambda: (POSTMARK, postmark_call(postmark_change("ManualSuppression", "Recipient"))), Kind.UNSUBSCRIBE),
    (lambda: (POSTMARK, postmark_call(postmark_change("ManualSuppression", "Customer"))), None),
    (lambda: (POSTMARK, postmark_call(postmark_change("HardBounce", "Recipient"))), None),
    (lambda: (POSTMARK, postmark_call(postmark_change(None, "Recipient", stops=False))), None),
    (lambda: (POSTMARK, postmark_call({"RecordType": "Open", "Recipient": JANE})), None),
    # SendGrid
    (
        lambda: (
            samples.sendgrid(),
            sendgrid_call([sendgrid_event("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 user unknown")]),
        ),
        Kind.DEAD,
    ),
    (
        lambda: (
            samples.sendgrid(),
            sendgrid_call([sendgrid_event("bounce", type="bounce", status="5.7.1", reason="550 5.7.1 spam")]),
        ),
        Kind.FAILED,
    ),
    (
        lambda: (
            samples.sendgrid(),
            sendgrid_call([sendgrid_event("bounce", type="blocked", reason="550 5.1.1 user unknown")]),
        ),
        Kind.FAILED,
    ),
    (
        lambda: (
            samples.sendgrid(),
            sendgrid_call([sendgrid_event("bounce", type="bounce", bounce_classification="Invalid Address")]),
        ),
        Kind.DEAD,
    ),
    (
        lambda: (
            samples.sendgrid(),
            sendgrid_call([sendgrid_event("bounce", bounce_classification="Reputation", reason="550 5.1.1 unknown")]),
        ),
        Kind.FAILED,
    ),
    (
        lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("dropped", reason="Bounced Address")])),
        Kind.FAILED,
    ),
    (lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("dropped", reason="Invalid")])), Kind.DEAD),
    (
        lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("dropped", reason="Unsubscribed Address")])),
        Kind.UNSUBSCRIBE,
    ),
    (
        lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("dropped", reason="Spam Reporting Address")])),
        Kind.COMPLAINT,
    ),
    (lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("deferred", response="450 busy")])), Kind.DELAYED),
    (lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("spamreport")])), Kind.COMPLAINT),
    (lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("group_unsubscribe")])), Kind.UNSUBSCRIBE),
    (lambda: (samples.sendgrid(), sendgrid_call([sendgrid_event("delivered")])), None),
    # Mailgun
    (
        lambda: (
            MAILGUN,
            mailgun_call(
                mailgun_data(
                    "failed",
                    severity="permanent",
                    reason="bounce",
                    **{"delivery-status": {"code": 550, "message": "5.1.1 no such user", "enhanced-code": "5.1.1"}},
                )
            ),
        ),
        Kind.DEAD,
    ),
    (
        lambda: (
            MAILGUN,
            mailgun_call(
                mailgun_data(
                    "failed",
                    severity="permanent",
                    reason="suppress-bounce",
                    **{"delivery-status": {"code": 605, "message": "", "description": "Not delivering to previously"}},
                )
            ),
        ),
        Kind.FAILED,
    ),
    (lambda: (MAILGUN, mailgun_call(mailgun_data("failed", severity="permanent", reason="old"))), Kind.FAILED),
    (
        lambda: (MAILGUN, mailgun_call(mailgun_data("failed", severity="permanent", reason="suppress-complaint"))),
        Kind.COMPLAINT,
    ),
    (lambda: (MAILGUN, mailgun_call(mailgun_data("failed", severity="temporary", reason="generic"))), Kind.DELAYED),
    (lambda: (MAILGUN, mailgun_call(mailgun_data("rejected", reject={"reason": "Sandbox"}))), Kind.FAILED),
    (lambda: (MAILGUN, mailgun_call(mailgun_data("complained"))), Kind.COMPLAINT),
    (lambda: (MAILGUN, mailgun_call(mailgun_data("unsubscribed"))), Kind.UNSUBSCRIBE),
    (lambda: (MAILGUN, mailgun_call(mailgun_data("opened"))), None),
    # Brevo
    (lambda: (BREVO, brevo_call(brevo_event("hard_bounce", reason="550 5.1.1 User unknown"))), Kind.DEAD),
    (lambda: (BREVO, brevo_call(brevo_event("hard_bounce", reason="550 5.7.1 spam"))), Kind.FAILED),
    (lambda: (BREVO, brevo_call(brevo_event("soft_bounce", reason="450 4.2.1 User unknown for now"))), Kind.FAILED),
    (lambda: (BREVO, brevo_call(brevo_event("invalid_email"))), Kind.DEAD),
    (lambda: (BREVO, brevo_call(brevo_event("blocked", reason="550 5.1.1 User unknown"))), Kind.FAILED),
    (lambda: (BREVO, brevo_call(brevo_event("deferred"))), Kind.DELAYED),
    (lambda: (BREVO, brevo_call([brevo_event("spam")])), Kind.COMPLAINT),
    (lambda: (BREVO, brevo_call(brevo_event("unsubscribed"))), Kind.UNSUBSCRIBE),
    (lambda: (BREVO, brevo_call(brevo_event("unique_opened"))), None),
]


@pytest.mark.parametrize("number", range(len(SAID)))
def test_an_event_is_what_its_words_say_and_its_type_does_not_deny(number: int) -> None:
    make, kind = SAID[number]
    webhook, call = make()
    assert kind_of(webhook, call) is kind, call.body


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_signatures_of_sns_are_taken_with_and_without_a_subject(version: str) -> None:
    event = json.dumps(ses_bounce("Permanent", "General", USER_UNKNOWN, "5.1.1"))
    first = one(samples.ses(), sns_call(event, version=version))
    assert first == one(samples.ses(), sns_call(event, version=version, Subject="Ä subject"))
    [returned] = first.returned
    assert (returned.status, returned.code) == ("5.1.1", 550)
    assert first.clues == Clues((TOKEN,), (MESSAGE_ID,))
    assert first.form == "webhook of ses"
    assert "feedback" in first.arrival


def test_both_forms_of_ses_say_the_same() -> None:
    event = ses_bounce("Permanent", "General", USER_UNKNOWN, "5.1.1")
    old = {"notificationType": event.pop("eventType"), **event}
    assert one(samples.ses(), ses_call(old)) == one(samples.ses(), ses_call({"eventType": "Bounce", **event}))


def test_several_recipients_are_told_apart() -> None:
    event = ses_bounce("Permanent", "General", USER_UNKNOWN, "5.1.1")
    event["bounce"]["bouncedRecipients"] += [{"emailAddress": "<Joe@Example.com>", "status": "5.7.1"}, "nonsense"]
    assert [(each.recipient, each.kind) for each in one(samples.ses(), ses_call(event)).returned] == [
        (JANE, Kind.DEAD),
        ("joe@example.com", Kind.FAILED),
    ]


def test_a_subscription_is_confirmed_by_a_url_of_sns_only() -> None:
    def asked(**fields: str) -> str | None:
        call = sns_call("You have chosen to subscribe", type_="SubscriptionConfirmation", **fields)
        return receive(samples.ses(), call, NOW).confirm_url

    assert asked() == samples.CONFIRM_URL
    evil = samples.CONFIRM_URL.replace("amazonaws.com", "amazonaws.com.evil.example")
    assert asked(SubscribeURL=evil) is None
    assert asked(SubscribeURL=samples.CONFIRM_URL.replace("Confirm", "Delete")) is None
    goodbye = sns_call("You have chosen to deactivate", type_="UnsubscribeConfirmation")
    decoded = receive(samples.ses(), goodbye, NOW)
    assert (decoded.confirm_url, decoded.ignored) == (None, {"UnsubscribeConfirmation": 1})


@pytest.mark.parametrize(
    "url",
    [
        samples.CERTIFICATE_URL.replace("https:", "http:"),
        samples.CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com.evil.example"),
        samples.CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com:8443"),
        samples.CERTIFICATE_URL.replace("//", "//evil.example/?"),
        samples.CERTIFICATE_URL.replace("//", "//evil@"),
        "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
        "https://evil.example/https://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/x.pem",
        "https://s3.amazonaws.com/sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.evil.s3.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com/../evil/x.pem",
        f"{samples.CERTIFICATE_URL}?x=.pem",
        f"{samples.CERTIFICATE_URL}\n",
        "file:///etc/x.pem",
        "",
    ],
)
def test_a_certificate_is_never_fetched_from_elsewhere(url: str) -> None:
    ses = Ses({samples.TOPIC}, lambda _: pytest.fail("it was fetched"))
    with pytest.raises(Forged, match="certificate's URL"):
        receive(ses, sns_call("{}", SigningCertURL=url), NOW)


def test_a_certificate_comes_from_china_too() -> None:
    url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0123456789abcdef.pem"
    assert receive(samples.ses(), sns_call("{}", SigningCertURL=url), NOW).ignored == {"unknown": 1}


def test_a_message_of_another_topic_is_refused_before_anything_is_fetched() -> None:
    ses = Ses(frozenset(), lambda _: pytest.fail("it was fetched"))
    with pytest.raises(Forged, match="topic"):
        receive(ses, sns_call("{}"), NOW)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "can't be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "can't be read"),
        (samples.certificate(days=1), "not valid now"),
    ],
)
def test_a_bad_certificate_is_refused(pem: bytes, why: str) -> None:
    with pytest.raises(Forged, match=why):
        receive(Ses({samples.TOPIC}, lambda _: pem), sns_call("{}"), NOW)


def changed(call: Call, **fields: object) -> Call:
    return replace(call, body=json.dumps(json.loads(call.body) | fields).encode())


FORGED: list[Callable[[], tuple[Webhook, Call]]] = [
    lambda: (samples.ses(), changed(sns_call("{}"), Message='{"eventType": "Bounce"}')),
    lambda: (samples.ses(), changed(sns_call("{}"), Subject="added")),
    lambda: (samples.ses(), changed(sns_call("{}"), Signature="!")),
    lambda: (samples.ses(), changed(sns_call("{}"), Signature=None)),
    lambda: (samples.ses(), changed(sns_call("{}"), SignatureVersion="3")),
    lambda: (samples.ses(), changed(sns_call("{}"), SignatureVersion="1")),
    lambda: (samples.ses(), changed(sns_call("{}"), Timestamp="now")),
    lambda: (samples.ses(), changed(sns_call("{}"), Timestamp="2026-11-28T11:59:00")),
    lambda: (POSTMARK, Call({}, b"{}")),
    lambda: (POSTMARK, postmark_call({}, password="wrong")),
    lambda: (POSTMARK, postmark_call({}, user="")),
    lambda: (POSTMARK, Call({"Authorization": "Bearer x"}, b"{}")),
    lambda: (POSTMARK, Call({"Authorization": "Basic \ud800"}, b"{}")),
    lambda: (Postmark("stockbell", ""), postmark_call({}, password="")),
    lambda: (samples.sendgrid(), replace(sendgrid_call([]), body=b"[{}]")),
    lambda: (samples.sendgrid(), Call({}, b"[]")),
    lambda: (SendGrid(samples.public_text(ec.generate_private_key(ec.SECP256R1()))), sendgrid_call([])),
    lambda: (samples.sendgrid(), replace(sendgrid_call([]), headers=sendgrid_call([1]).headers)),
    lambda: (MAILGUN, mailgun_call({}, key="another")),
    lambda: (MAILGUN, Call({}, b"{}")),
    lambda: (MAILGUN, Call({}, b'{"signature": [1]}')),
    lambda: (MAILGUN, Call({}, b'{"signature": {"timestamp": 1e999, "token": {}, "signature": "\xc3\xa4"}}')),
    lambda: (Mailgun(""), mailgun_call({}, key="")),
    lambda: (BREVO, Call({}, b"{}")),
    lambda: (BREVO, brevo_call({}, {"Authorization": "Bearer wrong"})),
    lambda: (BREVO, brevo_call({}, {"Authorization": "Bearer "}, BREVO.secret)),
    lambda: (BREVO, brevo_call({}, {"X": "y"}, "wrong")),
    lambda: (Brevo(""), brevo_call({}, {"Authorization": "Bearer "})),
    lambda: (Brevo(""), Call({}, b"{}")),
]


@pytest.mark.parametrize("number", range(len(FORGED)))
def test_a_call_that_the_provider_did_not_make_is_refused(number: int) -> None:
    webhook, call = FORGED[number]()
    with pytest.raises(Forged):
        receive(webhook, call, NOW)


def test_the_secret_may_stand_in_the_url() -> None:
    assert receive(BREVO, brevo_call(brevo_event("click"), {"X": "y"}, BREVO.secret), NOW).ignored == {"click": 1}


@pytest.mark.parametrize("seconds", [-3_700, 3_700])
def test_an_old_call_and_one_of_the_future_are_refused(seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    stamp = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    calls: list[tuple[Webhook, Call]] = [
        (samples.ses(), sns_call("{}", Timestamp=stamp)),
        (samples.sendgrid(), sendgrid_call([], NOW + timedelta(seconds=seconds * 25))),
        (MAILGUN, mailgun_call({}, NOW + timedelta(seconds=seconds * 9))),
    ]
    for webhook, call in calls:
        with pytest.raises(Forged, match="too old"):
            receive(webhook, call, NOW)


def test_a_call_is_taken_as_long_as_its_provider_repeats_it() -> None:
    """What we could not take while we were away comes again, perhaps with the time of the first call."""
    assert receive(samples.sendgrid(), sendgrid_call([]), NOW + timedelta(hours=24)).reports == []
    assert receive(MAILGUN, mailgun_call({}), NOW + timedelta(hours=8)).reports == []
    assert receive(samples.ses(), sns_call("{}"), NOW + timedelta(minutes=58)).reports == []


def test_a_replay_has_the_arrival_of_the_first_and_another_event_has_its_own() -> None:
    webhook, event = samples.sendgrid(), sendgrid_event("bounce")
    later = NOW + timedelta(minutes=2)
    first, second = one(webhook, sendgrid_call([event])), one(webhook, sendgrid_call([event], later))
    assert first == second
    assert one(webhook, sendgrid_call([event | {"sg_event_id": "other"}])).arrival != first.arrival
    brevo = brevo_event("hard_bounce")
    assert one(BREVO, brevo_call(brevo)).arrival == one(BREVO, brevo_call(brevo)).arrival
    assert one(BREVO, brevo_call(brevo | {"event": "spam"})).arrival != one(BREVO, brevo_call(brevo)).arrival


def test_ten_thousand_events_are_read_and_no_more() -> None:
    events: list[object] = [sendgrid_event("bounce", sg_event_id=str(number)) for number in range(9_000)]
    events += [sendgrid_event("somersault"), 7, None, []] * 250
    decoded = receive(samples.sendgrid(), sendgrid_call(events), NOW)
    assert len({report.arrival for report in decoded.reports}) == 9_000
    assert decoded.ignored == {"somersault": 250, "unknown": 750}
    with pytest.raises(BadWebhook, match="10,000"):
        receive(samples.sendgrid(), sendgrid_call([*events, 1]), NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"1",
        b'"x"',
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5_000,
        b" " * (MAX_BODY + 1),
    ],
)
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(BadWebhook):
        receive(BREVO, Call({"Authorization": f"Bearer {BREVO.secret}"}, body), NOW)
    with pytest.raises(BadWebhook):
        receive(samples.ses(), Call({}, body), NOW)
    with pytest.raises((BadWebhook, Forged)):
        receive(MAILGUN, Call({}, body), NOW)


def test_a_large_body_is_not_parsed_before_it_is_known_who_sent_it() -> None:
    body = b'{"Type": "Notification", "x": [' + b"{}," * (MAX_OBJECT // 3) + b"{}]}"
    for webhook in (samples.ses(), MAILGUN):
        with pytest.raises(BadWebhook, match="is longer than 2 MiB"):
            receive(webhook, Call({}, body), NOW)


def test_a_message_that_is_not_of_sns_is_refused() -> None:
    for body in (b"[]", b"{}", b'{"Type": "Notification"}', b'{"Type": ["Notification"]}'):
        with pytest.raises(BadWebhook):
            receive(samples.ses(), Call({}, body), NOW)


def test_a_key_that_is_none_is_a_wrong_setting() -> None:
    for key in ("", "!", base64.b64encode(b"key").decode(), samples.public_text(samples.rsa_key())):
        with pytest.raises(BadSetting, match="verification key"):
            receive(SendGrid(key), sendgrid_call([]), NOW)


def test_a_type_with_a_strange_name_is_counted_without_it() -> None:
    names = ["x" * 41, "jane@example.com", "a\nb", "\ud800"]
    decoded = receive(BREVO, brevo_call([brevo_event(name) for name in names]), NOW)
    assert decoded.ignored == {"unknown": len(names)}


def test_what_a_server_writes_can_be_stored() -> None:
    report = one(
        BREVO, brevo_call(brevo_event("hard_bounce", reason="550 5.1.1 <jane@example.com>\x00\ud800\r\nBcc: x"))
    )
    assert report.returned[0].words == "hard_bounce: 550 5.1.1 <***@***> ? Bcc: x"


def test_no_secret_is_shown() -> None:
    for webhook in (POSTMARK, MAILGUN, BREVO):
        assert "x" * 20 not in repr(webhook)
        assert "s" * 20 not in repr(webhook)
        assert "key-0" not in repr(webhook)
    assert JANE not in repr(brevo_call(brevo_event("spam")))


EVENTS: list[tuple[Webhook, dict[str, Any]]] = [
    (samples.ses(), ses_bounce("Permanent", "General", USER_UNKNOWN, "5.1.1")),
    (samples.ses(), ses_complaint(complaintFeedbackType="abuse")),
    (POSTMARK, postmark_bounce("HardBounce", USER_UNKNOWN)),
    (POSTMARK, postmark_change("SpamComplaint", "Recipient")),
    (samples.sendgrid(), sendgrid_event("bounce", type="bounce", status="5.1.1", reason=USER_UNKNOWN)),
    (MAILGUN, mailgun_data("failed", severity="permanent", **{"delivery-status": {"code": 550, "message": "no"}})),
    (BREVO, brevo_event("hard_bounce", reason=USER_UNKNOWN)),
]
ODD: list[object] = [None, True, -1, 10**400, 1e308, "", "\ud800", "\x00" * 50, "x" * 5_000, [], [[[]]], {}, {"a": {}}]


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path to each value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(event: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(event))
    for _ in range(rng.randint(1, 4)):
        *path, last = rng.choice(list(places(found)) or [("x",)])
        inner: Any = found
        for key in path:
            inner = inner[key]
        inner[last] = deepcopy(rng.choice(ODD))
    return found


def decoded_alone(webhook: Webhook, event: object) -> list[Report]:
    """Reads an event without its signature."""
    body = json.dumps({"event-data": event} if isinstance(webhook, Mailgun) else event).encode()
    return list(webhook.decode(ses_call(event) if isinstance(webhook, Ses) else Call({}, body)).reports)


@settings(max_examples=60, deadline=None)
@given(number=st.integers(0, len(EVENTS) - 1), seed=st.integers(0, 2**32))
def test_wrong_types_anywhere_are_no_trouble(number: int, seed: int) -> None:
    webhook, event = EVENTS[number]
    for report in decoded_alone(webhook, mutated(event, random.Random(seed))):
        assert report.returned
        for text in (report.arrival, *report.clues.tokens, *report.clues.message_ids, *report.returned[0].words):
            text.encode()


def test_only_who_verifies_a_signature_loads_what_it_needs() -> None:
    code = "import sys, worker.feedback.webhooks; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

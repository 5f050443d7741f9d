"""What came back, form by form: RFC 3464, 5965, 8098, 3834, mails to leave, SNS; and the clues in them."""

import base64
import json
from typing import Final
from uuid import UUID

import pytest

from worker.domain.returned import Kind, Report
from worker.domain.tokens import Tokens
from worker.feedback import delivery_status
from worker.feedback.messages import read

TOKENS: Final = Tokens([b"k" * 32])
MAIL: Final = TOKENS.for_return(UUID(int=7), 3)
CONTACT: Final = TOKENS.for_mail(UUID(int=9))
LINK: Final = TOKENS.for_link(UUID(int=9))

RETURNED: Final = f"""\
Return-Path: <bounces+{MAIL}@shop.example>
Message-ID: <00000000-0000-0000-0000-000000000007@shop.example>
List-Unsubscribe: <https://shop.example/u/{LINK}>, <mailto:bounces+{CONTACT}@shop.example?subject=unsubscribe>
From: Shop <shop@shop.example>
To: jane@example.com
Subject: Back in stock

Hello
"""
STATUS: Final = """\
Reporting-MTA: dns; mx.example.net
Arrival-Date: Thu, 1 Oct 2026 10:00:00 +0000

Final-Recipient: rfc822; jane@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 <jane@example.com>: Recipient address rejected:
    User unknown
"""
FIRST: Final = "Final-Recipient: rfc822; a@example.com"
SECOND: Final = "Final-Recipient: rfc822; b@example.com"
HEAD: Final = """\
Return-Path: <>
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
To: bounces@shop.example
Subject: Undelivered Mail Returned to Sender
Message-ID: <report-1@mx.example.net>
"""


def report(*parts: tuple[str, str], kind: str = "delivery-status", head: str = HEAD) -> str:
    body = "".join(f"--b\nContent-Type: {name}\n\n{text}\n" for name, text in parts)
    return f'{head}MIME-Version: 1.0\nContent-Type: multipart/report; report-type={kind}; boundary="b"\n\n{body}--b--\n'


def bounced(status: str = STATUS, text: str = "It did not arrive.\n", returned: str = RETURNED) -> Report:
    parts = (("text/plain", text), ("message/delivery-status", status), ("message/rfc822", returned))
    return read(report(*parts).encode())


# RFC 3464


def test_a_delivery_report_is_read() -> None:
    found = bounced()
    [about] = found.returned
    assert found.form == "RFC 3464"
    assert found.arrival == "report-1@mx.example.net"
    assert found.trouble is None
    assert (about.status, about.code, about.recipient) == ("5.1.1", 550, "jane@example.com")
    assert about.words == "550 5.1.1 <***@***>: Recipient address rejected: User unknown"


def test_the_mail_that_came_back_is_a_clue_and_the_report_is_none() -> None:
    clues = bounced().clues
    assert clues.message_ids == ("00000000-0000-0000-0000-000000000007@shop.example",)
    assert set(clues.tokens) == {MAIL, CONTACT, LINK}


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("delayed", Kind.DELAYED),
        ("delivered", Kind.DELIVERED),
        ("relayed", Kind.DELIVERED),
        ("Delayed (again)", Kind.DELAYED),
    ],
)
def test_what_is_no_failure_is_judged_by_its_action(action: str, kind: Kind) -> None:
    [about] = bounced(STATUS.replace("failed", action)).returned
    assert about.kind == kind


def said(status: str) -> list[tuple[str | None, str | None, int | None, str]]:
    found = delivery_status.findings(status)
    return [(each.recipient, each.said.status, each.said.code, each.said.words) for each in found]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("Status: 5.0.0\nDiagnostic-Code: smtp; 550 5.2.2 full", ("5.2.2", 550, "5.2.2 full")),
        ("Status: 5.2.2\nDiagnostic-Code: smtp; 550 full", ("5.2.2", 550, "full")),
        ("Status: 4.4.7\nDiagnostic-Code: smtp; 450 4.7.1 not you", ("4.7.1", 450, "4.7.1 not you")),
        ("Status: 5.1.10 (does not accept mail)", ("5.1.10", None, "does not accept mail")),
        ("Diagnostic-Code: 550 5.1.1 unknown", ("5.1.1", 550, "5.1.1 unknown")),
        ("Status: 5.0.0\nDiagnostic-Code: smtp; 550 #5.1.0 rejected", ("5.1.0", 550, "#5.1.0 rejected")),
        ("Status: 4.3.0\nDiagnostic-Code: x-unix; quota exceeded", ("4.3.0", None, "quota exceeded")),
        ("Diagnostic-Code: X-Postfix; host mx said: 501 no: 5.7.1 not us", ("5.7.1", 501, "no: 5.7.1 not us")),
        ("Status: 5.4.4\nDiagnostic-Code: X-Outbound; name service error", ("5.4.4", None, "name service error")),
        ("Action: failed\nStatus: rubbish", (None, None, "")),
    ],
)
def test_the_server_s_own_codes_come_before_the_reporter_s(
    status: str, found: tuple[str | None, int | None, str]
) -> None:
    [(_, *about)] = said(f"Final-Recipient: rfc822; jane@example.com\n{status}\n")
    assert tuple(about) == found


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("Final-Recipient: rfc822;Jane@Example.com", "jane@example.com"),
        ("Final-Recipient: RFC822; <jane@example.com>", "jane@example.com"),
        ("final-recipient: rfc822;@smtp.example.net:jane@example.com", "jane@example.com"),
        ("Final-Recipient: jane@example.com", "jane@example.com"),
        (
            "Final-Recipient: x; a@b.example\nOriginal-Recipient: rfc822;jane+2Bmugs@example.com",
            "jane+mugs@example.com",
        ),
        ("Final-Recipient: utf-8; j\\x{E4}ne@example.com", "j\u00e4ne@example.com"),
        ("Final-Recipient: utf-8; j\\x{D800}\\x{FFFFFF}ne@example.com", "jne@example.com"),
        ("Final-Recipient: rfc822; IMCEASMTP-jane+40example+2Ecom@mx.example.net", "jane@example.com"),
        ("Original-Recipient: rfc822;jane@example.com", "jane@example.com"),
        ("Status: 5.1.1", None),
    ],
)
def test_the_recipient_is_read_behind_every_disguise(field: str, address: str | None) -> None:
    [(found, *_)] = said(f"{field}\nAction: failed\n")
    assert found == address


@pytest.mark.parametrize(
    "status",
    [
        f"{FIRST}\nStatus: 5.1.1\n\n{SECOND}\nStatus: 5.2.2\n",
        f"{FIRST}\nStatus: 5.1.1\n{SECOND}\nStatus: 5.2.2\n",
        f"{FIRST}\n\nStatus: 5.1.1\n\n{SECOND}\n\nStatus: 5.2.2\n",
        f"Reporting-MTA: dns; x\n\n\nStatus: 5.1.1\n{FIRST}\n \n\nStatus: 5.2.2\n{SECOND}",
    ],
)
def test_recipients_are_told_apart_wherever_blank_lines_are(status: str) -> None:
    assert [(address, code) for address, code, *_ in said(status)] == [
        ("a@example.com", "5.1.1"),
        ("b@example.com", "5.2.2"),
    ]


def test_what_the_fields_lack_is_taken_from_the_text() -> None:
    fields = STATUS.partition("Diagnostic-Code")[0].replace("5.1.1", "5.0.0")
    text = "<jane@example.com>: host mx.example.com said: 550 5.7.1 refused (in reply to end of DATA command)\n"
    [about] = bounced(fields, text).returned
    assert (about.status, about.code) == ("5.7.1", 550)
    assert "refused" in about.words


def test_a_reply_of_which_the_fields_have_one_line_is_completed_by_the_text() -> None:
    fields = STATUS.partition("550 5.1.1 <")[0] + "552-5.7.0 blocked because\n"
    listed = "<jane@example.com>\n    (reason: 552-5.7.0 blocked because)\n"
    text = f"{listed}<<< 552-5.7.0 blocked because\n<<< 552 5.7.0 of its content\n"
    [about] = bounced(fields, text).returned
    assert about.words == "552 5.7.0 blocked because of its content"


@pytest.mark.parametrize(
    "reply",
    [
        "smtp; 450 4.1.1 <jane@example.com>: unverified:\n host mx.example.org[192.0.2.25] said: 550 no"
        "\n rejected: at: once",
        "smtp; 450-4.1.1 <jane@example.com>: unverified: 450-4.1.1 host mx.example.org[192.0.2.25] said: 550 no"
        "\n\t450 4.1.1 rejected: at: once",
    ],
)
def test_all_lines_of_a_field_are_read(reply: str) -> None:
    [(_, status, code, words)] = said(
        f"Final-Recipient: rfc822; jane@example.com\nDiagnostic-Code: {reply}\nStatus: 4.1.1\n"
    )
    assert (status, code) == ("4.1.1", 450)
    assert words.endswith("unverified: host mx.example.org[192.0.2.25] said: 550 no rejected: at: once")


def test_the_text_changes_nothing_that_the_fields_say() -> None:
    [about] = bounced(text="<jane@example.com>: 554 5.7.1 spam\n").returned
    assert (about.status, about.code) == ("5.1.1", 550)


@pytest.mark.parametrize(
    "kind", ["message/delivery-status", "message/global-delivery-status", "Message/Delivery-Status; name=x"]
)
def test_a_part_in_base64_is_read(kind: str) -> None:
    body = base64.encodebytes(STATUS.replace("\n", "\r\n").encode()).decode()
    text = report(("text/plain", "x"), (f"{kind}\nContent-Transfer-Encoding: base64", body))
    [about] = read(text.encode()).returned
    assert about.code == 550


def test_a_report_in_plain_text_is_read_as_well() -> None:
    [about] = read(f"{HEAD}\nYour message could not be delivered.\n\n{STATUS}".encode()).returned
    assert (about.code, about.recipient) == (550, "jane@example.com")


def test_a_report_that_a_person_forwards_is_none() -> None:
    head = "From: Joe <joe@example.org>\nSubject: Fwd: Undelivered mail\nContent-Type: multipart/mixed; boundary=o\n\n"
    inner = report(("text/plain", "x"), ("message/delivery-status", STATUS))
    found = read(f"{head}--o\n\nSee below.\n--o\nContent-Type: message/rfc822\n\n{inner}\n--o--\n".encode())
    assert [each.kind for each in found.returned] == [Kind.OTHER]


def test_a_report_that_a_mailer_passes_on_is_read() -> None:
    head = f"{HEAD}Content-Type: multipart/mixed; boundary=o\n\n"
    inner = report(("text/plain", "x"), ("message/delivery-status", STATUS), ("message/rfc822", RETURNED))
    text = f"--o\n\nThe original message was received.\n--o\nContent-Type: message/rfc822\n\n{inner}\n--o--\n"
    found = read((head + text).encode())
    assert [each.code for each in found.returned] == [550]
    assert MAIL in found.clues.tokens


# RFC 5965 and its kin


@pytest.mark.parametrize(
    ("feedback", "kind"),
    [
        ("abuse", Kind.COMPLAINT),
        ("Fraud", Kind.COMPLAINT),
        ("virus", Kind.COMPLAINT),
        ("opt-out", Kind.UNSUBSCRIBE),
        ("not-spam", Kind.FEEDBACK),
        ("auth-failure", Kind.FEEDBACK),
        ("x-unheard-of", Kind.FEEDBACK),
        ("", Kind.FEEDBACK),
    ],
)
def test_a_feedback_report_is_read_by_its_type(feedback: str, kind: Kind) -> None:
    addresses = f"Original-Rcpt-To: jane@example.com\nOriginal-Mail-From: <bounces+{MAIL}@shop.example>\n"
    fields = f"Feedback-Type: {feedback}\nVersion: 1\n{addresses}"
    parts = (
        ("text/plain", "spam"),
        ("message/feedback-report", fields),
        ("message/rfc822", "Message-ID: <1@shop.example>\n"),
    )
    found = read(report(*parts, kind="feedback-report").encode())
    assert found.form == "RFC 5965"
    assert [(each.kind, each.recipient) for each in found.returned] == [(kind, "jane@example.com")]
    assert found.clues.tokens == (MAIL,)
    assert found.clues.message_ids == ("1@shop.example",)


def test_a_complaint_of_outlook_com_encloses_the_mail_alone() -> None:
    head = (
        "From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.1\n"
        "Content-Type: multipart/mixed; boundary=b\n\n"
    )
    body = f"--b\nContent-Type: message/rfc822\n\nX-HmXmrOriginalRecipient: jane@example.com\n{RETURNED}\n--b--\n"
    [about] = read((head + body).encode()).returned
    assert (about.kind, about.recipient) == (Kind.COMPLAINT, "jane@example.com")


# Mails to leave, automatic mails, and those of people


@pytest.mark.parametrize(
    "head",
    [
        f"To: bounces+{CONTACT}@shop.example\nSubject: unsubscribe",
        f"To: bounces+{CONTACT.upper()}@SHOP.EXAMPLE\nSubject:",
        f"Delivered-To: bounces+{CONTACT}@shop.example\nSubject: Re: hello\nAuto-Submitted: auto-replied",
        f"To: bounces@shop.example\nSubject: unsubscribe {CONTACT}",
        f"To: bounces@shop.example\nSubject: =?utf-8?q?unsubscribe_{CONTACT}?=",
        f"Return-Path: <>\nTo: bounces@shop.example\nSubject: unsubscribe {CONTACT}",
    ],
)
def test_a_mail_that_names_a_contact_is_a_wish_to_leave(head: str) -> None:
    found = read(f"From: Jane <jane@example.com>\n{head}\n\n\n".encode())
    assert [each.kind for each in found.returned] == [Kind.UNSUBSCRIBE]
    assert [TOKENS.contact(token) for token in found.clues.tokens] in ([UUID(int=9)], [])
    assert found.clues.tokens or "unsubscribe" in head


@pytest.mark.parametrize(
    "head",
    [
        "Subject: Automatic reply: Back in stock",
        "Subject: Re: AW: Abwesenheitsnotiz: Urlaub",
        "Subject: =?utf-8?b?6Ieq5YuV5b+c562U?=: x",
        "Subject: =?iso-8859-1?q?R=E9ponse_automatique?=",
        "Subject: Back in stock\nAuto-Submitted: auto-replied (vacation)",
        "Subject: Back in stock\nX-Autoreply: yes",
        "Subject: Back in stock\nX-Autorespond: x",
        "Subject: Unsubscribe requests are answered on Monday\nAuto-Submitted: auto-replied",
        "Subject: Back in stock\nPrecedence: auto_reply",
        "Subject: Back in stock\nPrecedence: Bulk",
    ],
)
def test_a_vacation_notice_to_the_return_path_is_no_wish_to_leave(head: str) -> None:
    who = f"Return-Path: <>\nFrom: jane@example.com\nTo: bounces+{MAIL}@shop.example"
    found = read(f"{who}\nIn-Reply-To: <1@shop.example>\n{head}\n\nI am away. My mailbox is full.\n".encode())
    assert [each.kind for each in found.returned] == [Kind.AUTO_REPLY]
    assert found.clues.tokens == (MAIL,)
    assert found.clues.message_ids == ("1@shop.example",)


def test_a_read_receipt_is_an_automatic_mail() -> None:
    fields = "Final-Recipient: rfc822;jane@example.com\nDisposition: manual-action/MDN-sent-manually; displayed\n"
    parts = (("text/plain", "read"), ("message/disposition-notification", fields))
    [about] = read(report(*parts, kind="disposition-notification").encode()).returned
    assert about.kind == Kind.AUTO_REPLY


@pytest.mark.parametrize(
    "text",
    [
        "From: jane@example.com\nSubject: Re: Back in stock\n\nMy old address is dead: 550 5.1.1 user unknown.\n",
        "Return-Path: <>\nFrom: Jane <jane@example.com>\nSubject: Hello\n\nWhere is my mug?\n",
        "From: postmaster@example.com\nSubject: Our new mail server\n\nWe move on Sunday.\n",
        "From: spam@example.com\nSubject: You won\n\nUndeliverable parcel: pay now!\n",
        "From: Jane <jane@example.com>\nSubject: Auto-Submitted: no\nAuto-Submitted: no\n\nHello\n",
    ],
)
def test_what_people_write_is_no_report(text: str) -> None:
    found = read(text.encode())
    assert [each.kind for each in found.returned] == [Kind.OTHER]
    assert found.form == ""


# Amazon SNS by mail


def notified(what: str, about: dict[str, object]) -> Report:
    headers = [
        {"name": "Message-ID", "value": "<1@shop.example>"},
        {"name": "X-SES-MESSAGE-TAGS", "value": f"stockbell={MAIL}"},
    ]
    event = {"notificationType": what, what.lower(): about, "mail": {"headers": headers}}
    text = json.dumps({"Type": "Notification", "Message": json.dumps(event)})
    head = "From: no-reply@sns.amazonaws.com\nSubject: AWS Notification Message\n\n"
    return read(f"{head}{text}\n\n--\nTo stop this ...\n".encode())


def test_a_bounce_that_sns_tells_is_read() -> None:
    recipient = {
        "emailAddress": "jane@example.com",
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": "smtp; 550 5.1.1 unknown",
    }
    found = notified("Bounce", {"bounceType": "Permanent", "bouncedRecipients": [recipient, 7]})
    [about] = found.returned
    assert (about.code, about.status, about.recipient, about.words) == (
        550,
        "5.1.1",
        "jane@example.com",
        "550 5.1.1 unknown",
    )
    assert found.clues.tokens == (MAIL,)
    assert found.clues.message_ids == ("1@shop.example",)


@pytest.mark.parametrize(
    ("about", "kind"),
    [
        ({}, Kind.COMPLAINT),
        ({"complaintFeedbackType": "abuse"}, Kind.COMPLAINT),
        ({"complaintFeedbackType": "not-spam"}, Kind.FEEDBACK),
    ],
)
def test_a_complaint_that_sns_tells_is_read_by_its_type(about: dict[str, object], kind: Kind) -> None:
    found = notified("Complaint", {"complainedRecipients": [{"emailAddress": "jane@example.com"}], **about})
    assert [each.kind for each in found.returned] == [kind]


@pytest.mark.parametrize("about", [{}, {"bouncedRecipients": 7}, {"bouncedRecipients": [None]}])
def test_a_notification_about_nobody_is_none(about: dict[str, object]) -> None:
    assert [each.kind for each in notified("Bounce", about).returned] == [Kind.OTHER]


# Clues


@pytest.mark.parametrize(
    "head",
    [
        f"Delivered-To: bounces+{MAIL}@shop.example",
        f"X-Original-To: <bounces+{MAIL}@shop.example>",
        f"Envelope-To: bounces+{MAIL.upper()}@SHOP.EXAMPLE",
        f"Apparently-To: bounces-{MAIL}@shop.example",
        f"X-Envelope-To: bounces=2B{MAIL}@shop.example",
        f"To: <bounces+{MAIL}=x@shop.example>",
        f"Received: from mx by relay for\n <bounces+{MAIL}@shop.example>; Thu, 1 Oct 2026 10:00:00 +0000",
    ],
)
def test_the_token_is_found_wherever_the_return_path_stands(head: str) -> None:
    found = read(f"{head}\n{HEAD}\nYour message could not be delivered.\n".encode())
    assert [token.lower() for token in found.clues.tokens] == [MAIL]


@pytest.mark.parametrize(
    "field",
    [
        f"Return-Path: <bounces+{MAIL}@shop.example>",
        f"X-SES-MESSAGE-TAGS: stockbell={MAIL}",
        f"X-PM-Metadata-stockbell: {MAIL}",
        f'X-SMTPAPI: {{"unique_args": {{"stockbell": "{MAIL}"}}}}',
        f'X-Mailgun-Variables: {{"stockbell": "{MAIL}"}}',
        f"X-Mailin-custom: stockbell:{MAIL}",
    ],
)
def test_the_token_is_found_in_the_fields_of_the_mail_that_came_back(field: str) -> None:
    assert bounced(returned=f"{field}\n\nHello\n").clues.tokens == (MAIL,)


def test_an_envid_has_two_tokens() -> None:
    assert bounced(f"Original-Envelope-Id: {MAIL}-{CONTACT}\n{STATUS}", returned="").clues.tokens == (MAIL, CONTACT)


@pytest.mark.parametrize("text", [MAIL[:-1], f"{MAIL}0", MAIL + CONTACT, "g" * 46])
def test_what_has_another_length_is_no_token(text: str) -> None:
    assert read(f"Delivered-To: bounces+{text}@shop.example\n{HEAD}\nx\n".encode()).clues.tokens == ()


def test_clues_are_counted() -> None:
    many = "".join(f"Delivered-To: b+{number:046x}@shop.example\n" for number in range(100))
    references = " ".join(f"<{number}@shop.example>" for number in range(100))
    clues = read(f"{many}References: {references}\n{HEAD}\nx\n".encode()).clues
    assert len(clues.tokens) == len(clues.message_ids) == 20


@pytest.mark.parametrize(
    "subject",
    [
        "Automatikus válasz",
        "Αυτόματη απάντηση",
        "Автоматична відповідь",
        "Răspuns automat",
        "Automatski odgovor",
        "תשובה אוטומטית",
        "رد تلقائي",
        "Trả lời tự động",
    ],
)
def test_a_vacation_notice_is_none_of_a_mailer_in_any_language(subject: str) -> None:
    head = f"Return-Path: <>\nFrom: jane@example.com\nSubject: {subject}: Mug\n\n"
    text = "Your message could not be delivered to me: user unknown until Monday."
    assert [each.kind for each in read(f"{head}{text}".encode()).returned] == [Kind.AUTO_REPLY]


def test_a_ticket_system_that_knows_no_such_user_is_no_mailer() -> None:
    head = "From: Help <help@example.com>\nAuto-Submitted: auto-replied\nSubject: Ticket rejected: unknown user\n\n"
    text = "Your message could not be delivered to the helpdesk: user unknown. Please register, jane@example.com."
    assert [each.kind for each in read(f"{head}{text}".encode()).returned] == [Kind.AUTO_REPLY]


def test_the_text_tells_the_step_that_the_fields_leave_out() -> None:
    text = (
        "<jane@example.com>: host mx said: 550 5.1.1 <jane@example.com>: User unknown (in reply to MAIL FROM command)\n"
    )
    [about] = bounced(STATUS.replace("Recipient address rejected:\n    User unknown", "User unknown"), text).returned
    assert about.kind is Kind.FAILED

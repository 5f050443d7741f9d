"""Reports in words alone: each system's sample, and how one recipient's reason is told from another's."""

import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from worker.domain.bounces import Said
from worker.domain.returned import Kind
from worker.feedback import mailer_texts
from worker.feedback.contents import Contents
from worker.feedback.diagnoses import Diagnosis, diagnosis
from worker.feedback.messages import read
from worker.feedback.parts import parse

Sample = dict[str, Any]

FILE: Final = Path(__file__).with_name("mailers.toml")
SAMPLES: Final[list[Sample]] = tomllib.loads(FILE.read_text("utf-8"))["sample"]
COPY: Final = "Return-Path: <shop@shop.example>\nMessage-ID: <4711@shop.example>\nFrom: shop@shop.example\n\nHello\n"


def message(sample: Sample) -> bytes:
    charset, text = sample.get("charset", "utf-8"), str(sample["text"])
    head = f"{sample['head']}To: bounces@shop.example\nContent-Type: text/plain; charset={charset}\n\n"
    return head.encode() + text.replace("COPY", COPY).encode(charset)


def said(octets: bytes) -> list[tuple[str | None, Said]]:
    contents = Contents(parse(octets))
    found = mailer_texts.findings(
        contents.told, contents.headers.words("subject"), contents.failed, contents.own_addresses
    )
    return [(each.recipient, each.said) for each in found]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_the_words_of_each_system_are_read(sample: Sample) -> None:
    found = said(message(sample))
    assert [(address, about.code, about.status) for address, about in found] == [
        (each.get("address"), each.get("code"), each.get("status")) for each in sample["found"]
    ]
    for (_, about), each in zip(found, sample["found"], strict=True):
        assert each["words"] in about.words
        assert about.action == sample.get("action", "failed")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_each_system_is_recognised_and_its_copy_is_a_clue(sample: Sample) -> None:
    report = read(message(sample))
    assert report.form
    assert len(report.returned) == len(sample["found"])
    assert report.clues.message_ids == (("4711@shop.example",) if "COPY" in sample["text"] else ())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_what_a_person_forwards_is_no_report(sample: Sample) -> None:
    head = b"From: Joe <joe@example.org>\nSubject: Fwd: Undelivered mail\n\nWhat is this?\n\n"
    body = message(sample | {"head": "From: MAILER-DAEMON\n"})
    assert read(head + body).form == ""


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_what_an_answer_quotes_is_no_report(sample: Sample) -> None:
    head = b"Return-Path: <>\nFrom: Joe <joe@example.org>\nSubject: Re: Mug\n\n> "
    assert read(head + message(sample | {"head": "From: MAILER-DAEMON\n"}).replace(b"\n", b"\n> ")).form == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("550 5.1.1 <x>: unknown", (550, "5.1.1", "5.1.1 <x>: unknown")),
        ("550-5.7.1 one\n550 5.7.1 two", (550, "5.7.1", "5.7.1 one two")),
        ("550-5.7.1 one 550-5.7.1 two 550 5.7.1 three", (550, "5.7.1", "5.7.1 one two three")),
        ("host mx[192.0.2.25] said: 451 4.7.1 later", (451, "4.7.1", "4.7.1 later")),
        ("<<< 421 busy\n<<< 550 no\n", (550, None, "no")),
        (
            "450 4.1.1 unverified address: host mx said: 550 no",
            (450, "4.1.1", "4.1.1 unverified address: host mx said: 550 no"),
        ),
        ("550 550 5.1.1 unknown (state 14)", (550, "5.1.1", "5.1.1 unknown (state 14)")),
        ("SMTP error, ERROR_CODE :550, ERROR_CODE :5.1.1 unknown", (550, "5.1.1", "ERROR_CODE :5.1.1 unknown")),
        ("550 :\n  User unknown", (550, None, "User unknown")),
        ("Remote server said: '554 5.7.1 no'", (554, "5.7.1", "5.7.1 no'")),
        ("550 unknown\n554 5.0.0 Service unavailable", (550, None, "unknown")),
        ("<<< 450 4.7.1 not you\n>>> DATA\n<<< 554 5.5.1 Error: no valid recipients", (450, "4.7.1", "4.7.1 not you")),
        ("<<< 421 4.4.2 bye\n554 5.0.0 <x>... Service unavailable\n", (421, "4.4.2", "4.4.2 bye")),
        ("554 5.7.1 Service unavailable; blocked", (554, "5.7.1", "5.7.1 Service unavailable; blocked")),
        ("554 5.0.0 Service unavailable", (554, "5.0.0", "5.0.0 Service unavailable")),
        ("sorry (#5.1.1)", (None, "5.1.1", "sorry (#5.1.1)")),
        ("#5.0.0 smtp; no such user 5.1.1", (None, "5.1.1", "#5.0.0 smtp; no such user 5.1.1")),
        ("given up after 500 hours of 450 kB at 10:550", (None, None, "given up after 500 hours of 450 kB at 10:550")),
        (
            "at 192.0.2.550 by version 4.1.2.3 of Exim 4.96",
            (None, None, "at 192.0.2.550 by version 4.1.2.3 of Exim 4.96"),
        ),
        ("", (None, None, "")),
    ],
)
def test_a_reply_is_found_in_words(text: str, found: tuple[int | None, str | None, str]) -> None:
    each = diagnosis(text)
    assert (each.code, each.status, each.words) == found


def test_a_reply_with_lines_to_come_says_so() -> None:
    assert diagnosis("552-5.7.0 one").is_cut
    assert diagnosis("552-5.7.0 one\n552 5.7.0 two") == Diagnosis(552, "5.7.0", "5.7.0 one two")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Unknown user: jane@example.com\n", "Unknown user:"),
        (
            "User's mailbox is full: <jane@example.com>\nUnable to deliver mail.",
            "User's mailbox is full: Unable to deliver",
        ),
        ("<jane@example.com>\n\nbecause:\n\nnot listed here\n\nYours", "because: not listed here"),
        ("jane@example.com [User unknown]\n\nYours", "[User unknown]"),
        ("<jane@example.com>: 用户不存在\n\n此致敬礼", "用户不存在"),
        ("<jane@example.com>\n\n====\nTechnical details:\nRouting: no gateway\n====", "Routing: no gateway"),
        (
            "Undeliverable due to the following reason:\n\nOver quota.\n\n<jane@example.com>\n\nYours truly",
            "Over quota.",
        ),
    ],
)
def test_without_a_code_the_words_that_say_something_are_the_reason(text: str, words: str) -> None:
    [(address, about)] = said(f"From: MAILER-DAEMON\nSubject: Returned mail\n\n{text}".encode())
    assert address == "jane@example.com"
    assert about.words.startswith(words)
    assert "Yours" not in about.words


def test_nobody_is_blamed_with_the_reply_about_another() -> None:
    listed = "<jane@example.com>\n<joe@example.org>\n"
    text = f"{listed}\n>>> RCPT To:<joe@example.org>\n<<< 550 5.1.1 <joe@example.org>... unknown\n"
    octets = f"From: MAILER-DAEMON\nSubject: Returned mail\n\n{text}".encode()
    assert [(address, about.code) for address, about in said(octets)] == [
        ("jane@example.com", None),
        ("joe@example.org", 550),
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "jane@example.com\n  error after MAIL FROM:<b@shop.example>:\n  550 no such user",
            Kind.FAILED,
        ),
        (
            "jane@example.com\n  error after RCPT TO:<jane@example.com>:\n  550 no such user",
            Kind.DEAD,
        ),
        ("<jane@example.com>: host mx said: 550 5.1.1 User unknown (in reply to MAIL FROM command)", Kind.FAILED),
        ("<jane@example.com>: host mx said: 550 5.1.1 User unknown (in reply to RCPT TO command)", Kind.DEAD),
        ("<jane@example.com>: host mx refused to talk to me: 554 no such user here", Kind.FAILED),
        (
            "<jane@example.com>: a refused to talk to me: 421 no\n b said: 550 no such user (in reply to RCPT TO)",
            Kind.DEAD,
        ),
        (
            "<jane@example.com>\n (reason: 550 user unknown)\n\n>>> MAIL From:<b@x.example>\n<<< 550 user unknown",
            Kind.FAILED,
        ),
        ("<jane@example.com>: host mx refused to talk to me: 521 mx does not accept mail", Kind.DEAD),
        ("<jane@example.com>\n>>> MAIL From:<b@shop.example>\n<<< 550 5.1.1 User unknown", Kind.FAILED),
        (
            "jane@example.com\n>>> MAIL From:<b@x.example>\n<<< 250\n>>> RCPT To:<jane@example.com>\n<<< 550 5.1.1 no",
            Kind.DEAD,
        ),
        ("<jane@example.com>\nmx did not like our MAIL FROM:\n550 address does not exist", Kind.FAILED),
    ],
)
def test_what_is_said_before_a_recipient_is_named_is_not_about_him(text: str, kind: Kind) -> None:
    octets = f"From: MAILER-DAEMON\nSubject: Returned mail\n\n{text}\n".encode()
    assert [each.kind for each in read(octets).returned] == [kind]

"""Bounces as Postfix writes them (RFC 3464), and other messages that come to a mailbox."""

from itertools import count
from pathlib import Path

_NUMBERS = count(1)
_BOUNCE = """Return-Path: <>
Delivered-To: {to}
From: MAILER-DAEMON@mx.shop.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="BOUND"
Message-Id: <{number}.mx@mx.shop.example>

This is a MIME-encapsulated message.

--BOUND
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.shop.example.

<{address}>: host mx.customer.example[192.0.2.1] said: {reply} (in reply to RCPT TO command)

--BOUND
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.shop.example
X-Postfix-Queue-ID: 4bXqJ{number}
Arrival-Date: Sat, 28 Nov 2026 09:00:00 +0000 (UTC)

Final-Recipient: rfc822; {address}
Action: failed
Status: {status}
Remote-MTA: dns; mx.customer.example
Diagnostic-Code: smtp; {reply}

--BOUND
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

From: Shop <help@shop.example>
To: {address}
Subject: The mug is back
>From the shop, with love

--BOUND--
"""
_LETTER = """Return-Path: <jane@customer.example>
From: Jane <jane@customer.example>
To: bounces@shop.example
Subject: A question
Message-Id: <{number}@customer.example>

When will the green one be back?
"""


def bounce(token: str, address: str = "jane@customer.example", reply: str = "550 5.1.1 User unknown") -> bytes:
    """Returns a bounce for the mail that this token names. No two are alike."""
    to = f"bounces+{token}@shop.example"
    text = _BOUNCE.format(to=to, number=next(_NUMBERS), address=address, reply=reply, status=reply.split()[1])
    return text.encode()


def letter() -> bytes:
    """Returns a message that is none of ours to deal with. No two are alike."""
    return _LETTER.format(number=next(_NUMBERS)).encode()


def new_maildir(path: Path) -> Path:
    """Makes an empty Maildir."""
    for folder in ("tmp", "new", "cur"):
        (path / folder).mkdir(parents=True)
    return path


def deliver(maildir: Path, *messages: bytes) -> list[str]:
    """Delivers messages as a mail server does, by a rename. Returns their names."""
    names = [f"{1_795_860_000 + number}.M{number}P7.mx" for number in (next(_NUMBERS) for _ in messages)]
    for name, message in zip(names, messages, strict=True):
        (maildir / "tmp" / name).write_bytes(message)
        (maildir / "tmp" / name).rename(maildir / "new" / name)
    return names


def in_mbox(message: bytes) -> bytes:
    """Returns a message as it stands in an mbox, with lines that begin with "From " escaped."""
    lines = message.splitlines(keepends=True)
    escaped = (b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines)
    return b"From MAILER-DAEMON Sat Nov 28 09:00:00 2026\n" + b"".join(escaped) + b"\n"

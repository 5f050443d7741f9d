"""The five readers of foreign bytes. Each target takes any bytes and raises only if a reader breaks its promise."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

from worker.domain.catalog import CatalogReference, canonical_options, checked_url, has_control, item_of
from worker.domain.errors import BadEvent, BadFile, BadWebhook
from worker.domain.event_fields import MAX_EVENT_BYTES
from worker.domain.events import Event, decode, original
from worker.domain.replies import one_line
from worker.domain.returned import Report
from worker.feedback.addresses import LIMIT as ADDRESS_LIMIT
from worker.feedback.clues import ID_LIMIT, TOKEN_LIMIT
from worker.feedback.findings import RECIPIENT_LIMIT
from worker.feedback.messages import ARRIVAL_LIMIT, read
from worker.feedback.webhooks import Brevo, Call, Mailgun, Postmark, SendGrid, Ses, Webhook
from worker.services.import_file import Entry, Rejected, Skipped, read_requests
from worker.smtp.replies import REPLY_LIMIT, ReplyReader

ENTRY: Final = "1795424400000-0"
NOW: Final = datetime(2026, 11, 23, 9, tzinfo=UTC)
REASON_LIMIT: Final = 200

Target = Callable[[bytes], None]


def events(data: bytes) -> None:
    """Reads the bytes as JSON, and as flat fields that are divided by NUL."""
    _event({b"event": data})
    parts = data.split(b"\0")
    _event(dict(zip(parts[::2], parts[1::2], strict=False)))


def _event(fields: Mapping[bytes, bytes]) -> None:
    try:
        event = decode(ENTRY, fields)
    except BadEvent as error:
        reason = str(error)
        assert reason.isprintable()
        assert 0 < len(reason) <= REASON_LIMIT
        return
    original_id, own = original(ENTRY, fields)
    assert event.original_id == original_id
    assert sum(map(len, own.values())) <= MAX_EVENT_BYTES
    _check_event(event)


def _check_event(event: Event) -> None:
    _check_reference(event.reference)
    assert event.quantity is None or 0 <= event.quantity < 2**63
    assert event.is_in_stock(1) in (True, False)
    assert event.occurred_at.tzinfo is UTC
    for name, value in event.details.items():
        if value is not None:
            assert not has_control(value)
            assert not name.endswith("url") or checked_url(value) == value


def _check_reference(reference: CatalogReference) -> None:
    assert item_of(reference.item.catalog_item_id, reference.item.app_id) == reference.item
    assert canonical_options(dict(reference.options)) == reference.options
    str(reference).encode()  # no lone surrogates, which no database takes


def replies(data: bytes) -> None:
    """Reads the bytes at once, and in pieces as long as the first octet says.

    Both give the same replies, and never much is kept.
    """
    whole, rest = ReplyReader(), data[1:]
    at_once = whole.feed(rest)
    pieces, step = ReplyReader(), (data[0] if data else 0) + 1
    in_pieces = []
    for start in range(0, len(rest), step):
        in_pieces += pieces.feed(rest[start : start + step])
        assert pieces.garbage or _kept(pieces) <= 2 * REPLY_LIMIT
        if pieces.garbage:
            break
    assert in_pieces == at_once[: len(in_pieces)]
    assert pieces.garbage or (in_pieces, pieces.is_amid) == (at_once, whole.is_amid)
    assert bool(pieces.garbage) == bool(whole.garbage)
    for code, text in at_once:
        assert 0 <= code <= 999
        assert len(text) <= REPLY_LIMIT


def _kept(reader: ReplyReader) -> int:
    return len(reader._rest) + sum(map(len, reader._lines))


def requests(data: bytes) -> None:
    """Reads the bytes as CSV and as JSON lines. Each line is a request, or is rejected with a reason, or is empty."""
    for name in ("requests.csv", "requests.jsonl"):
        try:
            entries: list[Entry] = list(read_requests(BytesIO(data), name, lambda: NOW))
        except BadFile as error:
            entries = [Rejected(1, str(error))]
        assert len(entries) <= sum(map(data.count, (b"\n", b"\r", b"{", b",", b"]"))) + 1
        for entry in entries:
            _check_entry(entry)


def _check_entry(entry: Entry) -> None:
    if isinstance(entry, Skipped):
        return
    if isinstance(entry, Rejected):
        assert entry.reason.isprintable()
        assert 0 < len(entry.reason) <= REASON_LIMIT
        return
    _check_reference(entry.reference)
    assert not has_control(entry.email)
    assert entry.item_url is None or checked_url(entry.item_url) == entry.item_url
    assert entry.created_date is None or entry.created_date.tzinfo is UTC


def reports(data: bytes) -> None:
    """Reads the bytes as a message that came back."""
    _check_report(read(data))


def _check_report(report: Report) -> None:
    assert 1 <= len(report.returned) <= RECIPIENT_LIMIT
    assert len(report.clues.tokens) <= TOKEN_LIMIT
    assert len(report.clues.message_ids) <= ID_LIMIT
    assert len(report.arrival) <= ARRIVAL_LIMIT
    for each in report.returned:
        assert each.words == one_line(each.words)
        assert each.code is None or 400 <= each.code <= 599
        assert each.recipient is None or 0 < len(each.recipient) <= ADDRESS_LIMIT
        f"{each.recipient} {report.arrival}".encode()  # no lone surrogates, which no database takes


def webhooks(data: bytes) -> None:
    """Reads the bytes as a call of each provider, as if its signature were right."""
    envelope = dict.fromkeys(("MessageId", "Timestamp", "TopicArn"), "")
    published = json.dumps(envelope | {"Type": "Notification", "Message": data.decode("latin-1")})
    calls: list[tuple[Webhook, bytes]] = [
        (Ses(frozenset(), str.encode), published.encode()),
        (Postmark("", ""), data),
        (SendGrid(""), data),
        (Mailgun(""), b'{"event-data": %s}' % data),
        (Brevo(""), data),
    ]
    for webhook, body in calls:
        try:
            found = webhook.decode(Call({}, body))
        except BadWebhook:
            continue
        for report in found.reports:
            _check_report(report)


TARGETS: Final[Mapping[str, Target]] = {
    "events": events,
    "replies": replies,
    "requests": requests,
    "reports": reports,
    "webhooks": webhooks,
}

REPORTS: Final = (
    b"""Return-Path: <>
From: MAILER-DAEMON@mx.example
Message-ID: <1@mx.example>
Content-Type: multipart/report; report-type=delivery-status;
 boundary="b"

--b

<jane@example.com>: 550-5.1.1 no
550 5.1.1 one
--b
Content-Type: message/delivery-status

Original-Envelope-Id: 0123456789abcdef0123456789abcdef0123456789abcd

Final-Recipient: utf-8; j\\x{E4}ne@example.com
Action: failed
Status: 5.1.1 (x)
Diagnostic-Code: smtp; 550 no
--b
Content-Type: message/rfc822

Message-ID: <2@shop.example>

Hello
--b--
""".replace(b"\n", b"\r\n"),
    b"""From x
X-Failed-Recipients: jane@example.com, joe@example.com
Subject: =?utf-8?q?Mail_delivery_failed?=

  jane@example.com
    host mx [192.0.2.1]: 550 5.1.1 no
  joe@example.com
    mailbox is full

--- This is a copy of the message ---
Received: x
Message-ID: <2@shop.example>
""",
    b"""Content-Type: multipart/report; boundary=b

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
Original-Rcpt-To: jane@example.com
--b
Content-Type: text/rfc822-headers

Message-ID: <2@shop.example>
--b--
""",
    b"""From: no-reply@sns.amazonaws.com

{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"jane@example.com","action":"failed",
"status":"5.1.1","diagnosticCode":"smtp; 550 no"}]}}
""",
    b"""From: MAILER-DAEMON
Subject: Returned mail
Content-Type: text/html; charset=x-lie
Content-Transfer-Encoding: base64

PGI+NTUwIG5vIHN1Y2ggdXNlciBqYW5lQGV4YW1wbGUuY29tPC9iPg==
""",
)

SEEDS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "events": (
        b'{"id":"evt-1","occurredAt":"2026-11-23T09:00:00Z","catalogReference":{"catalogItemId":"mug-1","appId":"app",'
        b'"options":{"variantId":"v","options":{"Size":"L"}}},"quantity":12,"inStock":true,"itemUrl":'
        b'"https://shop.example/p/m","item":{"name":"Mug","price":"12.50","currency":"EUR","image":{"url":null}}}',
        b'catalogItemId\0mug-1\0quantity\x005\0options\0{"Size":"L"}\0item\0{"name":"Mug"}\0itemUrl\0http://a.example',
        b"catalogItemId\0mug-1\0quantity\x005\0originalId\x001795424300000-0",
    ),
    "replies": (
        b"\x03220 relay.example ESMTP\r\n250-relay.example\r\n250-PIPELINING\r\n250 SIZE 1000\r\n354 go\r\n",
        b"\0550-5.1.1 no such user\r\n550 5.1.1 <jane@example.com>\r\n421 bye\n",
    ),
    "requests": (
        b"email,catalogItemId,appId,options,itemUrl,locale,createdDate\r\n"
        b'jane@example.com,mug-1,,"{""Size"":""L""}",https://shop.example/p,de-AT,2026-11-01T09:00:00Z\r\n'
        b"joe@b\xc3\xbccher.example,mug-1,app,,,,\r\n",
        b'{"email":"jane@example.com","catalogItemId":"mug-1","options":{"Size":38.5},"locale":"de"}\n',
        b'sep=;\nE-Mail;SKU;option.Size;Status;Note\njane@example.com;="007";L;waiting;"a\nb"\n',
        b'email\tsku\toptions\njane@example.com\tmug-1\t{\\"Size\\":\\"L\\"}\njoe@example.com\t\\N\t\\N\n',
        b'[{"catalogReference":{"catalogItemId":1,"options":[]},\n"email":"jane@example.com","status":"RECEIVED"}]',
        "email\tsku\r\njane@example.com\tmug-1\r\n".encode("utf-16"),
    ),
    "reports": REPORTS,
    "webhooks": (
        b'{"eventType":"Bounce","mail":{"headers":[{"name":"Message-ID","value":"<1@shop.example>"}]},"bounce":{"bounceType":'
        b'"Permanent","bounceSubType":"General","bouncedRecipients":[{"emailAddress":"jane@example.com","status":"5.1.1"}]}}',
        b'{"RecordType":"Bounce","Type":"HardBounce","ID":7,"Email":"jane@example.com","Details":"smtp; 550 5.1.1 no"}',
        b'[{"event":"bounce","type":"bounce","email":"jane@example.com","status":"5.1.1","smtp-id":"<1@shop.example>"}]',
        b'{"event":"failed","severity":"permanent","delivery-status":{"code":550,"message":"no"},"recipient":"j@b.example"}',
        b'{"event":"hard_bounce","email":"jane@example.com","reason":"550 5.1.1 no","message-id":"<1@shop.example>"}',
    ),
}
"""What each reader understands, as a beginning."""

WORDS: Final = (
    *(b"", b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b";", b":", b"\0", b"\r", b"\n", b"\r\n"),
    *(b"\xff", b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb\xbf", b"\xed\xa0\x80", "ｅ".encode(), "а".encode(), b"@", b" "),
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"true", b"null", b'"quantity":', b"[" * 200, b'{"a":' * 200),
    *(
        b"250 ok\r\n",
        b"250-",
        b"354 ",
        b"421 4.3.2 bye\r\n",
        b"-50 ",
        b"x" * 33_000,
        b"http://",
        b"xn--",
        b"javascript:",
    ),
    *(b"sep=;\n", b"\\N", b"NULL", b'="1"', b"#N/A", b"1.2E+13", b"\xe9", b"\r\r", b"\xff\xfe", b"e\0m\0"),
    *(
        b"--b\r\n",
        b"--b--\n",
        b"\n\n",
        b"\r\r\n",
        b"550 5.1.1 ",
        b"@example.com",
        b"=?utf-8?b?",
        b"?=",
        b"\x1b$B",
        b"Status: 5",
    ),
    *(
        b"Content-Type: multipart/mixed; boundary=b\n\n",
        b"Content-Transfer-Encoding: base64\n",
        b'; boundary*0="b',
        b"<<< ",
        b": ",
    ),
    *(b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"a,b\n", b'"a\n'),
)
"""Pieces of text that are hard for readers."""

"""Messages that are broken, or made to break their reader. What it costs is held by `test_fuzzing`, too."""

import random
import time
import tracemalloc
from typing import Final

import pytest

from tests.fuzz.targets import SEEDS, WORDS, reports
from tests.unit.feedback.test_mailer_texts import SAMPLES, message
from tests.unit.feedback.test_messages import HEAD, RETURNED, STATUS, report
from worker.domain.returned import Kind, Report
from worker.feedback.charsets import decoded
from worker.feedback.findings import RECIPIENT_LIMIT
from worker.feedback.headers import FIELD_LIMIT, decode_words, split_head
from worker.feedback.messages import read
from worker.feedback.parts import DEPTH_LIMIT, PART_LIMIT, READ_LIMIT, parse

WHOLE: Final = report(("text/plain", "It is gone."), ("message/delivery-status", STATUS), ("message/rfc822", RETURNED))
PARTS_HEAD: Final = HEAD + "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"


def code_of(octets: bytes | str) -> int | None:
    found = read(octets.encode() if isinstance(octets, str) else octets)
    assert len(found.returned) == 1
    return found.returned[0].code


# Size


@pytest.mark.parametrize(
    "octets",
    [
        WHOLE.encode() + b"x" * (50 << 20),
        (HEAD + "\n").encode() + b"550 5.1.1 <jane@example.com> unknown\n" * (1 << 20),
        b"Subject: " + b"x" * (50 << 20),
        b"Subject: x\n" + b" x\n" * (12 << 20),
    ],
    ids=["report", "lines", "one field", "a folded field"],
)
def test_of_50_mib_the_first_are_read_in_little_memory(octets: bytes) -> None:
    read(WHOLE.encode())  # loads the tables
    tracemalloc.start()
    try:
        found = read(octets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * READ_LIMIT
    assert found.trouble == f"is over {READ_LIMIT // 1024} KiB, of which the first were read"


def test_a_report_before_50_mib_is_read() -> None:
    assert code_of(WHOLE.encode() + b"x" * (50 << 20)) == 550


def test_parts_that_nest_too_deeply_are_left_out() -> None:
    nested = "".join(f"Content-Type: multipart/mixed; boundary={number}\n\n--{number}\n" for number in range(1000))
    found = read(nested.encode())
    assert [each.kind for each in found.returned] == [Kind.OTHER]
    assert found.trouble == f"has parts over {DEPTH_LIMIT} levels deep"


def test_mails_that_enclose_each_other_are_not_followed() -> None:
    assert [each.kind for each in read(b"Content-Type: message/rfc822\n\n" * 1000).returned] == [Kind.OTHER]


def test_too_many_parts_are_left_out() -> None:
    parts = [("text/plain", "x"), ("message/delivery-status", STATUS)] + [("text/plain", "x")] * 1000
    found = read(report(*parts).encode())
    assert found.returned[0].code == 550
    assert found.trouble == f"has over {PART_LIMIT} parts"


def test_of_100_000_fields_the_first_are_read() -> None:
    fields = "".join(f"X-{number}: x\n" for number in range(100_000))
    headers, _ = split_head(fields.encode())
    assert len(headers.items()) == FIELD_LIMIT
    assert code_of(WHOLE.replace("MIME-Version", f"{fields[:20_000]}MIME-Version")) == 550


def test_of_10_000_recipients_the_first_are_looked_at() -> None:
    groups = "".join(f"Final-Recipient: rfc822; {number}@example.com\nStatus: 5.1.1\n\n" for number in range(10_000))
    texts = "".join(f"<{number}@example.com>: 550 unknown\n\n" for number in range(10_000))
    for octets in (report(("text/plain", "x"), ("message/delivery-status", groups)), f"{HEAD}\n{texts}"):
        found = read(octets.encode())
        assert len(found.returned) == RECIPIENT_LIMIT
        assert found.trouble == f"is about over {RECIPIENT_LIMIT} recipients, of whom the first were looked at"


@pytest.mark.parametrize(
    ("text", "field", "number"),
    [("x", f"550{' ' * 60_000}x", 1), ("kan ikke leveres\n" + f"\n550-{'a' * 40} " * 1300, "5.0.0", 8)],
    ids=["blanks in a field", "lines of one reply"],
)
def test_no_report_takes_seconds(text: str, field: str, number: int) -> None:
    groups = (f"Final-Recipient: rfc822; {each}@b.example\nDiagnostic-Code: smtp; {field}\n" for each in range(number))
    octets = report(("text/plain", text), ("message/delivery-status", "\n".join(groups))).encode()
    before = time.process_time()
    assert len(read(octets).returned) == number
    assert time.process_time() - before < 2  # it was 3 and more


# Form


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\r\r\n"])
def test_every_end_of_line_is_one(end: str) -> None:
    assert code_of(WHOLE.replace("\n", end)) == 550


def test_ends_of_lines_may_be_mixed() -> None:
    ends = iter(["\r\n", "\n", "\r"] * WHOLE.count("\n"))
    assert code_of("".join(letter if letter != "\n" else next(ends) for letter in WHOLE)) == 550


@pytest.mark.parametrize(
    "octets",
    [
        WHOLE.replace("--b--\n", ""),
        WHOLE.replace("User unknown", "User\0 unknown\0"),
        WHOLE.replace("\n--b", "\n--b   \t"),
        WHOLE.replace('boundary="b"', "boundary*0=\"\"; boundary*1*=us-ascii'en'b"),
        WHOLE.replace('boundary="b"', 'boundary="another"'),
        WHOLE.replace('; boundary="b"', ""),
        "From MAILER-DAEMON Thu Oct  1 10:00:00 2026\n" + WHOLE,
        "\n\nFrom MAILER-DAEMON Thu Oct  1 10:00:00 2026\n" + WHOLE,
        WHOLE.replace("MIME-Version", "no field at all\nMIME-Version"),
        WHOLE.replace("It is gone.", "--bb\n--b-\n--a\n--b--b\n-- b"),
        WHOLE.replace("Content-Type: text/plain\n", 'Content-Type: multipart/mixed; boundary="b"\n'),
        WHOLE.replace("multipart/report", "multipart/mixed"),
    ],
    ids=[
        *(
            "no last boundary",
            "NUL",
            "blanks behind boundaries",
            "boundary in pieces",
            "another boundary",
            "no boundary",
        ),
        *("line of an mbox", "blank lines first", "a line that is no field", "nearly the boundary"),
        *("a boundary in itself", "no multipart/report"),
    ],
)
def test_a_report_with_a_broken_form_is_read(octets: str) -> None:
    assert code_of(octets) == 550


@pytest.mark.parametrize(
    "octets", [b"", b"\n", b"\0", b"\r\n\r\n", b"From x\n", b"Subject: x", b":", b"\xff" * 100, b"--b\n"]
)
def test_nothing_much_is_no_report(octets: bytes) -> None:
    assert read(octets) == Report([read(b"").returned[0]])
    assert read(octets).returned[0].kind == Kind.OTHER


def test_what_is_cut_short_is_read_as_far_as_it_goes() -> None:
    for end in range(0, len(WHOLE), 40):
        reports(WHOLE[:end].encode())
    assert code_of(WHOLE[: WHOLE.index("User unknown")]) == 550


# Charsets and encodings that lie


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        ("宛先不明".encode("iso-2022-jp"), "us-ascii", "宛先不明"),
        ("宛先不明です".encode("euc-jp"), "iso-2022-jp", "宛先不明です"),
        ("宛先不明".encode("shift_jis"), "shift_jis", "宛先不明"),
        ("수신자".encode("iso-2022-kr"), "", "수신자"),
        ("退信".encode("gb18030"), "gb2312", "退信"),
        ("退信".encode(), "gb2312", "退信"),
        ("non remis à".encode("latin-1"), "utf-8", "non remis à"),
        ("non remis à".encode("latin-1"), "x-unknown", "non remis à"),
        ("non remis à".encode(), "iso-8859-1", "non remis à"),
        ("ошибка".encode("koi8-r"), "koi8-r", "ошибка"),
        ("退信".encode()[:-1], "utf-8", "退"),
        (b"x", "rot13", "x"),
        (b"\\xff \xff", "unicode_escape", "\\xff \xff"),
        (b"\x81\x8d", "undefined", "\x81\x8d"),
        (b"\xff\xfex\x00", "utf-16", "x"),
        (b"\xd8", "utf-16", "\u00d8"),
    ],
)
def test_octets_are_read_whatever_charset_they_claim(octets: bytes, charset: str, text: str) -> None:
    assert decoded(octets, charset) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?q?Unzustellb=C3=A4r?=", "Unzustellbär"),
        ("=?iso-8859-1?q?non_d=E9livr=E9?= x", "non délivré x"),
        ("=?utf-8?b?6YCA?= =?utf-8?b?5L+h?=", "退信"),
        ("=?x-unknown?q?x?=", "x"),
        ("=?utf-8?b?A?=", "=?utf-8?b?A?="),
        ("=?utf-8?q?x", "=?utf-8?q?x"),
    ],
)
def test_words_in_fields_are_decoded_where_they_can_be(value: str, text: str) -> None:
    assert decode_words(value) == text


def test_a_field_may_have_raw_octets() -> None:
    headers, _ = split_head("Subject: Unzustellbär\n\n".encode("latin-1"))
    assert headers.get("subject") == "Unzustellbär"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode", "8bit"])
def test_an_encoding_that_lies_is_left_alone(encoding: str) -> None:
    text = "Undeliverable: <jane@example.com>: 550 no such user"
    assert code_of(f"{HEAD}Content-Transfer-Encoding: {encoding}\n\n{text}\n") == 550


@pytest.mark.parametrize("digits", ["NTUwIG5v", "NTUwIG5vIQ", "NTUwIG5vIQ==\n____\nA list of mails", "NTUw\n\nIG5v\n"])
def test_base64_may_be_cut_or_followed_by_others_lines(digits: str) -> None:
    [leaf] = parse(f"Content-Transfer-Encoding: base64\n\n{digits}".encode()).leaves
    assert leaf.text.startswith("550 no")


def test_html_alone_is_read_without_its_tags() -> None:
    text = "<p>Undeliverable:<br>&lt;jane@example.com&gt;: 550 unknown</p>"
    page = f"<html><head><style>p {{ color: #550 }}</style></head><body>{text}"
    [about] = read(f"{HEAD}Content-Type: text/html\n\n{page}".encode()).returned
    assert (about.recipient, about.code, about.words) == ("jane@example.com", 550, "550 unknown")


# Any octets


def test_samples_with_random_changes_never_raise() -> None:
    chance = random.Random(12)
    seeds = [WHOLE.encode(), *SEEDS["reports"], *map(message, SAMPLES)]
    for _ in range(200):
        octets = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(8)):
            place = chance.randrange(len(octets) + 1)
            octets[place : place + chance.choice([0, 0, 1, 4, 40, 400])] = chance.choice([*WORDS, chance.randbytes(3)])
        reports(bytes(octets))

"""Composed mails: the standard library's parser and SMTP read them as they are meant."""

import email
import re
from base64 import b64decode
from collections.abc import Sequence
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import compat32, default
from typing import cast
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain.errors import BadAddress
from worker.domain.relays import Mailbox
from worker.mail.message import Rendered, dot_stuffed, envelope_address, head, message_id, remainder, sender_domain

REQUEST = UUID("01934c4e-7a58-7d2b-8000-000000000001")
SHOP = Mailbox("Shop", "no-reply@shop.example")
NOON = "Mon, 23 Nov 2026 12:00:00 +0000"
HEADERS = [
    "To",
    "Message-ID",
    "Date",
    "From",
    "Subject",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Language",
    "Content-Type",
]
PART_HEADERS = ["Content-Type", "Content-Transfer-Encoding"]
# Texts that hide a line break from a search for only CR and LF, or that are decoded into one later.
ATTACKS = [
    "x =?utf-8?q?=0D=0ABcc:_evil@example.com?=",
    "=?utf-8?q?=0D=0ABcc:_evil@example.com?= x",
    "=?utf-8?b?DQpCY2M6IGV2aWxAZXhhbXBsZS5jb20=?=",
    "=?utf-8?q?=0D=0ABcc:",
    "x\r\nBcc: evil@example.com",
    "x\nBcc: evil@example.com",
    "x\rBcc: evil@example.com",
    "x\r\n\r\n<h1>evil</h1>",
    "x\r\n Bcc: evil@example.com",
    "x\x00\r\nBcc: evil@example.com",
    "x\u2028Bcc: evil@example.com",
    "x\u2029Bcc: evil@example.com",
    "x\x85Bcc: evil@example.com",
    "x\x0bBcc: evil@example.com",
    "x\x0cBcc: evil@example.com",
    "x\x1cBcc: evil@example.com",
    '" <evil@example.com>, "x',
    "evil@example.com>\r\nBcc: <evil@example.com",
    "\ud800\r\nBcc: evil@example.com",
    "\\\r\nBcc: evil@example.com",
]


def composed(
    rendered: Rendered | None = None,
    *,
    subject: str = "Back",
    text: str = "Hello\n",
    html: str = "<p>Hello</p>\n",
    sender: Mailbox = SHOP,
    recipient: str = "jane@example.com",
    locale: str = "en",
) -> bytes:
    own = head(envelope_address(recipient), REQUEST, sender_domain(sender), NOON)
    return own + remainder(rendered or Rendered(subject, text, html), sender=sender, locale=locale)


def parsed(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=default)
    assert message.defects == []
    return message


def parts(content: bytes) -> list[EmailMessage]:
    return [cast("EmailMessage", part) for part in parsed(content).iter_parts()]


def assert_well_formed(content: bytes, letterhead: Sequence[str] = ()) -> None:
    """Asserts that the headers are exact, and that nothing in the mail looks like its end to a relay."""
    message = parsed(content)
    assert message.keys() == [*HEADERS[:5], *letterhead, *HEADERS[5:]]
    assert [part.keys() for part in parts(content)] == [PART_HEADERS, PART_HEADERS]
    assert content.isascii()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", content)
    assert content.endswith(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    for name, value in message.items():
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", str(value)), name


def shown(value: str) -> str:
    """Returns a header's value as readers see it: without controls, and without spaces at its ends."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", value).strip(" ")


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_the_whole_mail() -> None:
    message = parsed(composed(subject="Back: Blue mug", locale="de-AT"))
    assert dict(message.items()) == {
        "Date": "Mon, 23 Nov 2026 12:00:00 +0000",
        "From": "Shop <no-reply@shop.example>",
        "To": "jane@example.com",
        "Subject": "Back: Blue mug",
        "Message-ID": f"<{REQUEST}@shop.example>",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "Content-Language": "de-AT",
        "Content-Type": 'multipart/alternative; boundary="=_stockbell"',
    }
    text, html = parts(composed())
    assert text.get_content_type() == "text/plain"
    assert lines(text.get_content()) == "Hello\n"
    assert html.get_content_type() == "text/html"
    assert lines(html.get_content()) == "<p>Hello</p>\n"


def test_every_try_composes_the_same_mail() -> None:
    assert composed() == composed()
    assert message_id(REQUEST, "shop.example") == f"<{REQUEST}@shop.example>"


@given(subject=st.text(), text=st.text(), html=st.text(), name=st.text(max_size=200))
@example(subject="", text="", html="", name="")
@example(subject="a" * 5000, text="a" * 5000, html="ä" * 5000, name="a" * 200)
@example(subject="ä" * 5000, text="a b " * 5000, html="=" * 5000, name="😀" * 200)
@example(subject="x", text=".\n..\n.\r\n.", html="\n.\n", name='a "quoted" \\ name, Inc.')
@example(subject="x", text="tail \t \nno end ", html="--=_ --\n--\n-- \n", name="(comment)")
@example(subject="x", text="From here\nto there", html="\r\r\n\n\r", name="x")
def test_any_content_arrives_as_it_was(subject: str, text: str, html: str, name: str) -> None:
    content = composed(Rendered(subject, text, html), sender=Mailbox(name, "no-reply@shop.example"))
    assert_well_formed(content)
    message = parsed(content)
    assert str(message["Subject"]).strip(" ") == shown(subject)
    assert [lines(part.get_content()) for part in parts(content)] == [lines(text), lines(html)]
    (address,) = message["From"].addresses
    assert address.addr_spec == "no-reply@shop.example"
    assert [one.addr_spec for one in message["To"].addresses] == ["jane@example.com"]


visible = st.characters(exclude_categories=["C", "Z"])


@given(name=st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=66))
@example(name='Shop "Zum Loewen", Inc. \\ <x@example.com>')
@example(name="=?utf-8?q?evil?=")
def test_a_senders_plain_name_arrives_as_it_was(name: str) -> None:
    message = parsed(composed(sender=Mailbox(name, "no-reply@shop.example")))
    assert message["From"].addresses[0].display_name.strip(" ") == name.strip(" ")


@given(name=st.text(visible, max_size=200).map("Ä{}".format))
def test_a_senders_other_name_arrives_as_it_was(name: str) -> None:
    content = composed(sender=Mailbox(name, "no-reply@shop.example"))
    # The new parser of Python 3.11 puts a space between two encoded words of a name, against
    # RFC 2047 section 6.2. The old one does not.
    words, _, _ = email.message_from_bytes(content, policy=compat32)["From"].rpartition(" ")
    assert str(make_header(decode_header(words))) == name


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_value_becomes_another_header(attack: str) -> None:
    content = composed(
        Rendered(attack, attack, attack),
        sender=Mailbox(attack, "no-reply@shop.example"),
        locale=attack,
    )
    assert_well_formed(content)
    assert b"=0D=0A" not in content.split(b"\r\n\r\n")[0]
    message = parsed(content)
    assert message["Content-Language"] == "und"
    assert [one.addr_spec for one in message["From"].addresses] == ["no-reply@shop.example"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_looks_like_an_encoded_word_is_encoded_itself(attack: str) -> None:
    head = composed(subject=attack, sender=Mailbox(attack, "a@shop.example")).partition(b"\r\n\r\n")[0]
    assert b"=?" not in re.sub(rb"=\?utf-8\?b\?[A-Za-z0-9+/=]+\?=", b"", head)


def test_lines_with_encoded_words_are_short() -> None:
    head = composed(subject="ä" * 500, sender=Mailbox("ö" * 200, "a@shop.example"))
    encoded = [line for line in head.split(b"\r\n") if b"=?" in line]
    assert max(map(len, encoded)) <= 76  # RFC 2047, section 2


@given(subject=st.text(st.characters(min_codepoint=0x80, exclude_categories=["C", "Z"]), min_size=1))
def test_each_encoded_word_is_of_whole_characters(subject: str) -> None:
    words = re.findall(rb"=\?utf-8\?b\?(\S+)\?=", composed(subject=subject))
    assert "".join(b64decode(word).decode() for word in words) == subject


def test_bodies_are_short_lines() -> None:
    _, _, body = composed(text="a" * 5000, html="ü " * 5000).partition(b"\r\n\r\n")
    assert max(map(len, body.split(b"\r\n"))) <= 76  # RFC 2045, section 6.7


@pytest.mark.parametrize(
    ("locale", "written"),
    [
        ("en", "en"),
        ("de_AT", "de-AT"),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("", "und"),
        ("default!", "und"),
        ("en\r\nBcc: x", "und"),
        ("en\n", "und"),
    ],
)
def test_content_language_is_a_language_tag(locale: str, written: str) -> None:
    assert parsed(composed(locale=locale))["Content-Language"] == written


@pytest.mark.parametrize(
    ("given_", "address"),
    [
        ("jane@example.com", "jane@example.com"),
        ("Jane.Doe+mug@mail.example.com", "Jane.Doe+mug@mail.example.com"),
        ("o'hara!#$%&*/?=^_`{|}~-@example.com", "o'hara!#$%&*/?=^_`{|}~-@example.com"),
        ("jane@münchen.example", "jane@xn--mnchen-3ya.example"),
        ("jane@MÜNCHEN.example", "jane@xn--mnchen-3ya.example"),
        ("jane@例え.テスト", "jane@xn--r8jz45g.xn--zckzah"),
        ("jane@xn--mnchen-3ya.example", "jane@xn--mnchen-3ya.example"),
        ("jane@localhost", "jane@localhost"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
    ],
)
def test_an_address_becomes_ascii(given_: str, address: str) -> None:
    assert envelope_address(given_) == address
    assert parsed(composed(recipient=given_))["To"] == address


BAD_ADDRESSES = [
    "",
    "@",
    "jane",
    "jane@",
    "@example.com",
    "jäne@example.com",
    "jane doe@example.com",
    '"jane doe"@example.com',
    "jane@example.com, joe@example.com",
    "jane@joe@example.com",
    "jane,joe@example.com",
    "<jane@example.com>",
    "Jane <jane@example.com>",
    "jane@example.com>\r\nRCPT TO:<joe@example.com",
    "jane@example.com\r\nBcc: joe@example.com",
    "jane@example.com\n",
    "jane@example.com\x00",
    "jane\x00@example.com",
    "jane@exam\u2028ple.com",
    "jane@exam ple.com",
    "jane@example.com ",
    "jane@[192.0.2.1]",
    "jane@-example.com",
    "jane@example-.com",
    "jane@example..com",
    "jane@example.com.",
    "jane@exa_mple.com",
    ".jane@example.com",
    "jane.@example.com",
    "ja..ne@example.com",
    "=?utf-8?q?=0D=0ABcc?=@example.com",
    f"{'a' * 65}@example.com",
    f"jane@{'a' * 64}.com",
    f"jane@{'a.' * 150}com",
    f"jane@{'ü.' * 100}com",
    "jane@ü\u200b\ufe0f.-.example",
    "jane@\ud800.example",
    "jane@münchen.example\r\nBcc: joe@example.com",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_bad_address_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(BadAddress) as refused:
        envelope_address(address)
    assert len(address) < 2 or address not in str(refused.value)
    with pytest.raises(BadAddress):
        composed(recipient=address)


@given(address=st.text() | st.emails() | st.from_regex(r".*@.*"))
def test_an_address_is_fit_for_smtp_or_refused(address: str) -> None:
    try:
        result = envelope_address(address)
    except BadAddress:
        return
    assert re.fullmatch(r"[!-~]+", result)
    assert not set(result) & set('<>()[],;:\\"')
    assert result.count("@") == 1
    assert len(result) <= 254
    assert envelope_address(result) == result


def undone(stuffed: bytes) -> bytes:
    """Returns the content that a relay reads from a stuffed mail, if it ends lines only at CRLF."""
    assert stuffed.endswith(b"\r\n.\r\n")
    *content, dot, rest = stuffed.split(b"\r\n")
    assert (dot, rest) == (b".", b"")
    assert b"." not in content, "the mail would end here"
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in content)


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"", b"\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\n.\r\nb\r\n", b"a\r\n..\r\n..\r\nb\r\n.\r\n"),
        (b"a\n.\nb\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r.\rb\r", b"a\r\n..\r\nb\r\n.\r\n"),
        (
            b"a\n.\r\nMAIL FROM:<evil@example.com>\r\n",
            b"a\r\n..\r\nMAIL FROM:<evil@example.com>\r\n.\r\n",
        ),
        (b"a\r\n.\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"\n.\n", b"\r\n..\r\n.\r\n"),
    ],
)
def test_dots_are_doubled_and_line_ends_are_crlf(content: bytes, stuffed: bytes) -> None:
    assert dot_stuffed(content) == stuffed


@given(content=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\x00"])).map(b"".join))
def test_no_content_ends_a_mail_early(content: bytes) -> None:
    stuffed = dot_stuffed(content)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", stuffed)
    clean = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    assert undone(stuffed).removesuffix(b"\r\n") == clean.removesuffix(b"\r\n")


@given(text=st.text())
def test_a_composed_mail_survives_dot_stuffing(text: str) -> None:
    content = composed(text=f".{text}\n.\n")
    assert undone(dot_stuffed(content)) == content

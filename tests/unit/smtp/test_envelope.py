"""What a relay is told of a mail, and what becomes of parameters that it refuses."""

import re
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.providers import Provider
from worker.domain.return_path import ReturnPath
from worker.domain.tokens import Tokens
from worker.smtp.envelope import Envelope, are_parameters_doubted, xtext
from worker.smtp.rules import Mail, can_be_said

TOKENS = Tokens([b"k" * 32])
TOKEN, CONTACT = TOKENS.for_return(UUID(int=1), 2), TOKENS.for_mail(UUID(int=3))
PERSONAL = ReturnPath("bounces+", "@shop.example")
PLAIN = ReturnPath("bounces@shop.example")


def mail(recipient: str = "jane@example.com", token: str = TOKEN, contact: str = CONTACT) -> Mail:
    return Mail(UUID(int=1), recipient, b"Subject: x\r\n\r\n.\r\n", token, contact)


def commands(envelope: Envelope, letter: Mail, *, parameters: bool) -> list[str]:
    *lines, end = envelope.commands(letter, parameters=parameters).decode().split("\r\n")
    assert end == ""
    return lines


def test_each_mail_has_a_return_path_of_its_own() -> None:
    assert commands(Envelope(PERSONAL), mail(), parameters=False) == [
        f"MAIL FROM:<bounces+{TOKEN}@shop.example>",
        "RCPT TO:<jane@example.com>",
        "DATA",
    ]
    assert commands(Envelope(PLAIN), mail(), parameters=False)[0] == "MAIL FROM:<bounces@shop.example>"


def test_parameters_name_the_mail_the_customer_and_the_address() -> None:
    assert commands(Envelope(PLAIN), mail("jane+x=y@example.com"), parameters=True) == [
        f"MAIL FROM:<bounces@shop.example> RET=HDRS ENVID={TOKEN}-{CONTACT}",
        "RCPT TO:<jane+x=y@example.com> NOTIFY=FAILURE ORCPT=rfc822;jane+2Bx+3Dy@example.com",
        "DATA",
    ]
    assert commands(Envelope(PLAIN), mail(contact=""), parameters=True)[0].endswith(f" RET=HDRS ENVID={TOKEN}")


def test_the_limits_of_rfc_3461_hold() -> None:
    sender, _, _ = commands(Envelope(PERSONAL), mail(), parameters=True)
    envid = sender.partition("ENVID=")[2]
    assert len(envid) <= 100
    assert xtext(envid) == envid
    _, longest, _ = commands(Envelope(PLAIN), mail("+" * 162 + "@example.com"), parameters=True)
    assert len(longest.partition("ORCPT=")[2]) <= 500
    _, too_long, _ = commands(Envelope(PLAIN), mail("+" * 200 + "@example.com"), parameters=True)
    assert too_long.endswith(" NOTIFY=FAILURE")


@settings(max_examples=50)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_xtext_can_be_read_back(local: str) -> None:
    address = f"{local}@example.com"
    encoded = xtext(address)
    assert re.fullmatch(r"([!-*,-<>-~]|\+[0-9A-F]{2})*", encoded)
    assert re.sub(r"\+(..)", lambda found: chr(int(found[1], 16)), encoded) == address
    if can_be_said(address):
        assert len(commands(Envelope(PLAIN), mail(address), parameters=True)) == 3


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("provider", [None, *Provider])
def test_the_providers_header_comes_first_if_there_is_a_token(provider: Provider | None, token: str) -> None:
    letter = mail(token=token)
    content = Envelope(PLAIN, provider).content(letter)
    if provider and token:
        added = content.removesuffix(letter.content).decode()
        assert added.startswith("X-")
        assert added.endswith("\r\n")
        assert "\r\n\r\n" not in added
        assert token in added
    else:
        assert content is letter.content


def test_only_a_mail_with_a_token_has_parameters() -> None:
    assert Envelope(PERSONAL).has_parameters(TOKEN)
    assert not Envelope(PERSONAL).has_parameters("")


def test_a_relay_that_takes_the_same_without_parameters_gets_none_any_more() -> None:
    envelope = Envelope(PERSONAL)
    envelope.doubt()
    assert not envelope.has_parameters(TOKEN)  # also if nobody learns what it meant
    envelope.settle(without=True)
    assert not envelope.has_parameters(TOKEN)
    envelope.doubt()
    envelope.settle(without=False)  # what another connection has learned stays
    assert not envelope.has_parameters(TOKEN)


def test_a_relay_that_refuses_the_same_without_parameters_did_not_mean_them() -> None:
    envelope = Envelope(PERSONAL)
    envelope.doubt()
    envelope.settle(without=False)
    assert envelope.has_parameters(TOKEN)


@pytest.mark.parametrize(
    ("code", "enhanced", "are_doubted"),
    [
        (555, "5.5.4", True),
        (555, None, True),
        (501, "5.5.4", True),
        (501, "5.1.3", True),
        (504, None, True),
        (553, "5.5.4", True),
        (550, "5.1.1", False),
        (553, "5.1.8", False),
        (503, "5.5.1", False),
        (451, None, False),
        (421, "4.3.2", False),
    ],
)
def test_which_refusals_may_mean_a_parameter(code: int, enhanced: str | None, are_doubted: bool) -> None:
    assert are_parameters_doubted(code, enhanced) is are_doubted

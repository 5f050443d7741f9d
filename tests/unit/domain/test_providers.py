"""Whose relay a host is, and the header that comes back from there."""

import json
from email import message_from_string
from uuid import UUID

import pytest

from worker.domain.providers import KEY, Provider, around_token, chosen, provider_of
from worker.domain.tokens import Tokens
from worker.feedback.clues import tokens_in

TOKEN = Tokens([b"k" * 32]).for_return(UUID(int=7), 3)


def header_lines(provider: Provider) -> str:
    before, after = around_token(provider)
    return f"{before}{TOKEN}{after}"


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("email-smtp.eu-west-1.amazonaws.com", "ses"),
        ("email-smtp-fips.us-east-1.amazonaws.com", "ses"),
        ("email-smtp.cn-north-1.amazonaws.com.cn", "ses"),
        ("vpce-0a1b-2c3d.email-smtp.us-east-1.vpce.amazonaws.com", "ses"),
        ("EMAIL-SMTP.eu-west-1.amazonaws.com.", "ses"),
        ("smtp.postmarkapp.com", "postmark"),
        ("smtp-broadcasts.postmarkapp.com", "postmark"),
        ("smtp.sendgrid.net", "sendgrid"),
        ("smtp.eu.sendgrid.net", "sendgrid"),
        ("smtp.mailgun.org", "mailgun"),
        ("smtp.eu.mailgun.org", "mailgun"),
        ("smtp-relay.brevo.com", "brevo"),
        ("smtp-relay.sendinblue.com", "brevo"),
        ("localhost", None),
        ("192.0.2.1", None),
        ("smtp.shop.example", None),
        ("smtp.mailgun.org.shop.example", None),
        ("xsmtp.mailgun.org", None),
        ("email-smtp.eu-west-1.amazonaws.com.shop.example", None),
        ("ec2-192-0-2-1.compute.amazonaws.com", None),
    ],
)
def test_a_relay_is_known_by_its_name(host: str, provider: str | None) -> None:
    assert provider_of(host) == provider
    assert chosen("auto", host) == provider


@pytest.mark.parametrize("host", ["smtp.mailgun.org", "localhost"])
def test_what_is_set_counts_for_every_host(host: str) -> None:
    assert chosen("none", host) is None
    assert [chosen(provider.value, host) for provider in Provider] == list(Provider)


@pytest.mark.parametrize("provider", Provider)
def test_the_headers_are_whole_lines_that_need_no_folding(provider: Provider) -> None:
    lines = header_lines(provider)
    assert lines.endswith("\r\n")
    for line in lines.removesuffix("\r\n").split("\r\n"):
        name, colon, value = line.partition(": ")
        assert (colon, name.startswith("X-"), value == value.strip()) == (": ", True, True)
        assert line.isascii()
        assert len(line) < 100
    assert lines.count(TOKEN) == 1


def test_each_provider_gives_the_token_back() -> None:
    of = {provider: message_from_string(header_lines(provider)) for provider in Provider}
    assert of[Provider.SES]["X-SES-MESSAGE-TAGS"] == f"{KEY}={TOKEN}"
    assert of[Provider.POSTMARK]["X-PM-KeepID"] == "true"
    assert of[Provider.POSTMARK][f"X-PM-Metadata-{KEY}"] == TOKEN
    assert json.loads(of[Provider.SENDGRID]["X-SMTPAPI"]) == {"unique_args": {KEY: TOKEN}}
    assert json.loads(of[Provider.MAILGUN]["X-Mailgun-Variables"]) == {KEY: TOKEN}
    assert of[Provider.BREVO]["X-Mailin-custom"] == f"{KEY}:{TOKEN}"


def test_they_take_such_keys_and_values() -> None:
    assert TOKEN.isalnum()  # SES
    assert len(TOKEN) <= 80  # Postmark
    assert len(KEY) <= 20


@pytest.mark.parametrize("around", ["{}:{}", "campaign:5|{}:{}", "{}:{} | other", '{{"{}": "{}"}}'])
def test_a_token_is_found_among_other_values(around: str) -> None:
    assert list(tokens_in([around.format(KEY, TOKEN)])) == [TOKEN]


@pytest.mark.parametrize("text", ["", "some text", f"{KEY}:ab"])
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert list(tokens_in([text])) == []

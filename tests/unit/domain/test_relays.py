"""The relay and the sender: every form that they may have, and no password in clear text or in errors."""

import re

import pytest
from pydantic import SecretStr

from worker.domain.relays import Mailbox, Relay, parse_mailbox, parse_relay, parse_relays

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "host", "port", "security"),
    [
        ("smtp://mail.example", "mail.example", 25, "plain"),
        ("smtp+starttls://mail.example", "mail.example", 587, "starttls"),
        ("smtps://mail.example", "mail.example", 465, "tls"),
        ("SMTPS://Mail.Example:2465/", "mail.example", 2465, "tls"),
        ("smtp://mail_1.internal:2525", "mail_1.internal", 2525, "plain"),
        ("smtp://[::1]:2525", "::1", 2525, "plain"),
        ("smtps://münchen.example", "xn--mnchen-3ya.example", 465, "tls"),
    ],
)
def test_the_forms_of_a_relay(url: str, host: str, port: int, security: str) -> None:
    relay = parse_relay(url)
    assert (relay.host, relay.port, relay.security) == (host, port, security)
    assert relay.username is None
    assert relay.password is None


def test_user_and_password_are_percent_decoded() -> None:
    relay = parse_relay("smtps://shop%40example:p%40%2F%3A%2C%25%20%C3%A4@mail.example")
    assert relay.username == "shop@example"
    assert relay.password
    assert relay.password.get_secret_value() == "p@/:,% ä"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_a_password_may_go_unencrypted_to_this_machine(host: str) -> None:
    assert parse_relay(f"smtp://u:p@{host}").password == SecretStr("p")


@pytest.mark.parametrize(
    "host",
    [
        "mail.example",
        "127.0.0.1.example",
        "localhost.example",
        "127.1",
        "2130706433",
        "128.0.0.1",
        "0.0.0.0",  # noqa: S104 - nothing listens
        "[::2]",
        "10.0.0.1",
    ],
)
def test_a_password_may_not_go_unencrypted_anywhere_else(host: str) -> None:
    with pytest.raises(ValueError, match=r"smtp\+starttls:// or smtps://"):
        parse_relay(f"smtp://u:p@{host}")
    assert parse_relay(f"smtp://{host}").password is None
    assert parse_relay(f"smtp+starttls://u:p@{host}").password == SecretStr("p")


def test_no_way_of_making_a_relay_leaks_its_password() -> None:
    with pytest.raises(ValueError, match="unencrypted"):
        Relay("mail.example", 25, "plain", "user", SecretStr("password"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("smtps://a.example,b.example", "must name a host"),
        ("http://mail.example", "must begin with smtp"),
        ("mail.example:25", "must begin with smtp"),
        ("smtps://", "must name a host"),
        ("smtps://-a.example", "must name a host"),
        ("smtps://a..example", "must name a host"),
        ("smtps://mail.example/hunter2", "nothing more"),
        ("smtps://mail.example?hunter2=1", "nothing more"),
        ("smtps://u:x#hunter2@mail.example", "port from 1 to 65535"),
        ("smtps://u:hunter2/x@mail.example", "port from 1 to 65535"),
        ("smtps://u:hunter2@mail.example:0", "port from 1 to 65535"),
        ("smtps://u:hunter2@mail.example:65536", "port from 1 to 65535"),
        ("smtps://u:hunter2℀@mail.example", "port from 1 to 65535"),
        ("smtps://[hunter2", "port from 1 to 65535"),
        ("smtps://hunter2@mail.example", "both a user and a password"),
        ("smtps://:hunter2@mail.example", "both a user and a password"),
        ("smtps://u:hunter2%FF@mail.example", "not UTF-8"),
        ("smtps://u:hunter2%0D%0A@mail.example", "control character"),
        ("smtps://u:hunter2\r\n@mail.example", "control characters"),
        ("smtps://u:hunter 2@mail.example", "spaces"),
    ],
)
def test_what_is_not_a_relay(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_relay(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_relay_reads_as_a_url_without_credentials() -> None:
    assert str(parse_relay("smtps://u:p@mail.example")) == "smtps://mail.example:465"
    assert str(parse_relay("smtp+starttls://u:p@[::1]")) == "smtp+starttls://[::1]:587"


@pytest.mark.parametrize("comma", [",", " , ", ",  "])
def test_several_relays_keep_their_order(comma: str) -> None:
    relays = parse_relays(f"smtps://mail.example{comma}smtp+starttls://user:p%2Cw@b.example:2587{comma}smtp://[::1]")
    assert list(map(str, relays)) == ["smtps://mail.example:465", "smtp+starttls://b.example:2587", "smtp://[::1]:25"]
    assert [relay.password for relay in relays] == [None, SecretStr("p,w"), None]


def test_one_relay_is_a_list_too() -> None:
    assert parse_relays("smtps://mail.example") == (parse_relay("smtps://mail.example"),)


@pytest.mark.parametrize(
    ("urls", "number", "reason"),
    [
        ("smtps://a.example,b.example", 2, "must begin with smtp"),
        ("smtps://a.example,", 2, "must begin with smtp"),
        (",smtps://a.example", 1, "must begin with smtp"),
        ("smtps://a.example,,smtps://b.example", 2, "must begin with smtp"),
        ("smtps://a.example;smtps://b.example,smtps://c.example", 1, "nothing more"),
        ("smtps://a.example,smtp://u:hunter2@b.example", 2, "would send its password unencrypted"),
        ("smtps://a.example,smtps://hunter2@b.example", 2, "both a user and a password"),
        ("smtps://u:hun,ter2@mail.example", 1, "port from 1 to 65535"),
        ("smtps://a.example,\tsmtps://b.example", 2, "spaces or control characters"),
        ("smtps://a.example,smtps://b.example,smtps://u:hunter2@A.example:465/", 3, "already in the list"),
    ],
)
def test_a_wrong_relay_of_several_is_told_by_its_number(urls: str, number: int, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^\(relay {number} of the list; .*{re.escape(reason)}") as caught:
        parse_relays(urls)
    assert SECRET not in str(caught.value)
    assert "ter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("Shop <no-reply@shop.example>", "Shop", "no-reply@shop.example"),
        ('"Shop, Inc." <a@shop.example>', "Shop, Inc.", "a@shop.example"),
        ("Shop, Inc. <a@shop.example>", "Shop, Inc.", "a@shop.example"),
        (r'"The \"Shop\"" <a@shop.example>', 'The "Shop"', "a@shop.example"),
        ("Käthe <a@münchen.example>", "Käthe", "a@xn--mnchen-3ya.example"),
        ("a@shop.example", "", "a@shop.example"),
        (" <a@shop.example> ", "", "a@shop.example"),
    ],
)
def test_the_forms_of_a_sender(text: str, name: str, address: str) -> None:
    mailbox = parse_mailbox(text)
    assert mailbox == Mailbox(name, address)
    assert mailbox.domain == address.partition("@")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Shop",
        "a@shop.example, b@shop.example",
        "Shop <a@shop.example> x",
        "Shop <a@shop.example",
        "Shop <käthe@shop.example>",
        "Shop <a@localhost>",
        "Shop\r\nBcc: <a@shop.example>",
        "Shop\u2028 <a@shop.example>",
        "x" * 201 + " <a@shop.example>",
    ],
)
def test_what_is_not_a_sender(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has)"):
        parse_mailbox(text)

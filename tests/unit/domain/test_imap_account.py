"""STOCKBELL_BOUNCE_IMAP: every form that it may have, and no password in clear text or in errors."""

import pytest

from worker.domain.imap_account import parse_imap_account

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("imaps://me:pw@imap.shop.example", "imaps://imap.shop.example:993/INBOX"),
        ("imaps://me:pw@imap.shop.example/", "imaps://imap.shop.example:993/INBOX"),
        ("imap+starttls://me:pw@imap.shop.example/Bounces", "imap+starttls://imap.shop.example:143/Bounces"),
        ("imap://me:pw@127.0.0.1:1143/a%20b%2Fc", "imap://127.0.0.1:1143/a%20b/c"),
        ("imap://me:pw@[::1]/R%C3%BCck", "imap://[::1]:143/R%C3%BCck"),
    ],
)
def test_it_says_where_and_which_folder(url: str, shown: str) -> None:
    assert str(parse_imap_account(url)) == shown


def test_user_password_and_folder_are_decoded() -> None:
    found = parse_imap_account("imaps://bounces%40shop.example:p%2Fw%C3%A4@imap.shop.example/R%C3%BCck")
    assert (found.username, found.password.get_secret_value(), found.folder) == ("bounces@shop.example", "p/wä", "Rück")


def test_neither_user_nor_password_is_shown_and_the_key_tells_users_apart() -> None:
    found = parse_imap_account(f"imaps://bounces%40shop.example:{SECRET}@imap.shop.example")
    assert not {SECRET, "bounces"} & set(repr(found).replace("'", " ").replace("@", " ").split())
    assert found.key == "imaps://bounces%40shop.example@imap.shop.example:993/INBOX"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"pop3s://me:{SECRET}@imap.shop.example", "must begin with"),
        (f"imap://me:{SECRET}@imap.shop.example", "unencrypted"),
        (f"imaps://me:{SECRET}@imap.shop.example:0", "port"),
        (f"imaps://me:{SECRET}@", "host"),
        ("imaps://imap.shop.example/INBOX", "must have a user and a password"),
        (f"imaps://me:{SECRET}@imap.shop.example?x=1", "nothing more"),
        (f"imaps://me:{SECRET}@imap.shop.example/a%0Db", "control"),
        (f"imaps://me:{SECRET}@imap.shop.example/a b", "spaces"),
    ],
)
def test_what_is_wrong_is_said_without_the_value(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        parse_imap_account(url)
    assert SECRET not in str(error.value)

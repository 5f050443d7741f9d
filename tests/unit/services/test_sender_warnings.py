"""What doctor says about mails that nobody can leave or answer."""

import pytest

from worker.domain.relays import Mailbox
from worker.mail.ways_out import NO_WAY_OUT, WaysOut
from worker.services.sender_warnings import warnings_about

SHOP, HELP = Mailbox("Shop", "shop@shop.example"), Mailbox("", "help@shop.example")
MAIL = WaysOut(mail="mailto:bounces@shop.example")


def test_all_is_well_with_a_way_out_and_an_address_that_takes_replies() -> None:
    assert warnings_about(SHOP, None, None, MAIL) == []


def test_no_way_out_names_the_rule_and_the_settings() -> None:
    (warning,) = warnings_about(SHOP, None, None, NO_WAY_OUT)
    for words in ("Gmail and Yahoo", "STOCKBELL_SECRET_KEY", "STOCKBELL_PUBLIC_URL", "STOCKBELL_BOUNCE_ADDRESS"):
        assert words in warning


@pytest.mark.parametrize("name", ["no-reply", "noreply", "No_Reply", "do-not-reply", "donotreply", "no-reply+shop"])
def test_a_sender_that_takes_no_replies_needs_a_reply_to(name: str) -> None:
    (warning,) = warnings_about(Mailbox("", f"{name}@shop.example"), None, None, MAIL)
    assert "MAIL_FROM is a no-reply address" in warning
    assert warnings_about(Mailbox("", f"{name}@shop.example"), HELP, None, MAIL) == []
    (warning,) = warnings_about(SHOP, Mailbox("", f"{name}@shop.example"), None, MAIL)
    assert "STOCKBELL_REPLY_TO is a no-reply address" in warning


@pytest.mark.parametrize("name", ["north", "noah.reply", "notes", "reply"])
def test_other_names_are_no_trouble(name: str) -> None:
    assert warnings_about(Mailbox("", f"{name}@shop.example"), None, None, MAIL) == []


def test_a_public_url_that_makes_no_link_is_told() -> None:
    (warning,) = warnings_about(SHOP, None, "http://x.example", MAIL)
    assert "is not https" in warning
    assert warnings_about(SHOP, None, "https://x.example", MAIL) == []

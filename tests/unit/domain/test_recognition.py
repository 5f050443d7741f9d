"""Only tokens of ours, and Message-IDs that are made as ours are, name a mail or a customer."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from worker.domain.recognition import MOST_CLUES, Named, NamedMail, Recognizer
from worker.domain.returned import Clues
from worker.domain.tokens import Tokens
from worker.mail.message import message_id
from worker.models import uuid7

OLD, NEW = b"o" * 32, b"n" * 32
TOKENS = Tokens([NEW, OLD])
OURS = Recognizer(TOKENS, "Shop.Example")
REQUEST = UUID("0197c2f4-5a3b-7d10-8f6e-2b9c4d5e6f70")
CONTACT = UUID("0197c2f4-5a3b-7d11-9a01-0c1d2e3f4a5b")
RANDOM = UUID("3b35e6aa-b678-44b8-a6b2-b32a09aa1466")
RETURN, MAIL, LINK = TOKENS.for_return(REQUEST, 3), TOKENS.for_mail(CONTACT), TOKENS.for_link(CONTACT)
NOTHING = Named()


def by_token(*tokens: str) -> Named:
    return OURS.named(Clues(tokens=tokens))


def by_message_id(text: str) -> Named:
    return OURS.named(Clues(message_ids=(text,)))


@pytest.mark.parametrize("token", [RETURN, RETURN.upper(), Tokens([OLD]).for_return(REQUEST, 3)])
def test_a_return_token_names_a_claim_in_any_case_and_by_a_retired_key(token: str) -> None:
    assert by_token(token) == Named(mails=(NamedMail(REQUEST, 3),))


@pytest.mark.parametrize("token", [MAIL, MAIL.upper(), LINK])
def test_a_customers_token_names_the_customer(token: str) -> None:
    assert by_token(token) == Named(contacts=(CONTACT,))


@pytest.mark.parametrize("envid", [f"{RETURN}-{MAIL}", f"{RETURN}-{MAIL}".upper(), f"{RETURN}-{MAIL}-more"])
def test_an_envid_names_both(envid: str) -> None:
    assert by_token(envid) == Named((NamedMail(REQUEST, 3),), (CONTACT,))


@pytest.mark.parametrize(
    "token",
    [
        RETURN[:-1],
        RETURN[:-2],
        RETURN[1:],
        f"{RETURN}0",
        MAIL[:-2],
        LINK[:-1],
        LINK.swapcase(),
        "",
        "-",
        RETURN.replace(RETURN[0], "g"),
        Tokens([b"s" * 32]).for_return(REQUEST, 3),
        Tokens([b"s" * 32]).for_link(CONTACT),
        "\udcff" * 46,
        "٣" * 46,
    ],
)
def test_what_is_cut_short_or_signed_by_others_names_nothing(token: str) -> None:
    assert by_token(token) == NOTHING


def test_a_token_of_one_purpose_proves_nothing_of_the_other() -> None:
    # The longest part that both have in common: the id, with the MAC of the other purpose.
    assert by_token(CONTACT.hex + RETURN[-10:], REQUEST.hex + "0003" + MAIL[-10:]) == NOTHING


@given(st.integers(0, len(RETURN) - 1), st.sampled_from("0123456789abcdef"))
def test_a_token_with_another_digit_names_nothing(place: int, digit: str) -> None:
    forged = RETURN[:place] + digit + RETURN[place + 1 :]
    assert by_token(forged) == (NOTHING if forged != RETURN else by_token(RETURN))


def test_a_message_id_of_ours_names_its_request_and_no_claim() -> None:
    ours = message_id(REQUEST, "shop.example")
    assert by_message_id(ours) == by_message_id(ours.strip("<>").upper()) == Named((NamedMail(REQUEST),))


@pytest.mark.parametrize(
    "text",
    [
        f"{REQUEST}@other.example",
        f"{REQUEST}@shop.example.other.example",
        f"{REQUEST}@other.shop.example",
        f"{REQUEST.hex}@shop.example",
        f"{RANDOM}@shop.example",
        f"x{REQUEST}@shop.example",
        f"{REQUEST}",
        "",
    ],
)
def test_message_ids_of_others_name_nothing(text: str) -> None:
    assert by_message_id(text) == NOTHING


def test_without_keys_and_without_a_sender_nothing_is_ours() -> None:
    clues = Clues((RETURN, MAIL, LINK), (f"{REQUEST}@shop.example",))
    assert Recognizer(None, None).named(clues) == NOTHING
    assert Recognizer(None, "shop.example").named(clues) == Named((NamedMail(REQUEST),))


def test_tokens_go_before_message_ids_and_each_counts_once() -> None:
    other = uuid7()
    clues = Clues((RETURN, RETURN.upper()), (f"{other}@shop.example", f"{other}@shop.example"))
    assert OURS.named(clues).mails == (NamedMail(REQUEST, 3), NamedMail(other))


def test_a_flood_of_clues_is_looked_at_in_part() -> None:
    ids: list[UUID] = [uuid7() for _ in range(MOST_CLUES + 10)]
    clues = Clues([TOKENS.for_mail(id_) for id_ in ids], [f"{id_}@shop.example" for id_ in ids])
    named = OURS.named(clues)
    assert (len(named.mails), len(named.contacts)) == (MOST_CLUES, MOST_CLUES)


@examples(50)
@given(st.lists(st.text(max_size=60), max_size=3))
def test_no_text_fails_or_proves_anything(texts: list[str]) -> None:
    assert OURS.named(Clues(texts, texts)) == NOTHING

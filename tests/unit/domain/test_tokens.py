"""Tokens: only what we signed, for the same purpose, is read."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.tokens import CLAIMS, Sender, Tokens
from worker.models import uuid7

OLD, NEW = b"o" * 32, b"n" * 32
TOKENS = Tokens([NEW])
READERS = (TOKENS.sender, TOKENS.contact, TOKENS.contact_of_link)


@pytest.mark.parametrize("claim_no", [0, 1, 255, CLAIMS - 1, CLAIMS, 3 * CLAIMS + 7])
def test_a_return_token_names_request_and_claim(claim_no: int) -> None:
    request_id = uuid7()
    token = TOKENS.for_return(request_id, claim_no)
    assert len(token) == 46
    for spelled in (token, token.upper()):
        assert TOKENS.sender(spelled) == Sender(request_id, claim_no % CLAIMS)


def test_a_contact_has_a_token_for_mails_and_one_for_links() -> None:
    contact_id = uuid7()
    assert TOKENS.contact(TOKENS.for_mail(contact_id).upper()) == contact_id
    assert TOKENS.contact_of_link(TOKENS.for_link(contact_id)) == contact_id
    assert (len(TOKENS.for_mail(contact_id)), len(TOKENS.for_link(contact_id))) == (42, 43)


def test_no_token_is_read_for_another_purpose() -> None:
    id_ = UUID(int=7)
    made = TOKENS.for_return(id_, 1), TOKENS.for_mail(id_), TOKENS.for_link(id_)
    for place, token in enumerate(made):
        assert [reader(token) is not None for reader in READERS] == [number == place for number in range(3)]


def test_a_second_key_is_accepted_and_a_retired_one_is_not() -> None:
    request_id, contact_id = uuid7(), uuid7()
    before, during, after = Tokens([OLD]), Tokens([NEW, OLD]), Tokens([NEW])
    old = before.for_return(request_id, 1)
    assert during.sender(old) == Sender(request_id, 1)
    assert during.for_return(request_id, 1) == after.for_return(request_id, 1) != old
    assert after.sender(old) is None
    assert after.contact(before.for_mail(contact_id)) is None
    assert during.contact_of_link(before.for_link(contact_id)) == contact_id


def test_what_is_cut_changed_or_longer_is_none_of_ours() -> None:
    id_ = uuid7()
    for token, reader in zip(
        (TOKENS.for_return(id_, 1), TOKENS.for_mail(id_), TOKENS.for_link(id_)), READERS, strict=True
    ):
        other = "0" if token[5] != "0" else "1"
        for wrong in (token[:-1], token[1:], token + "0", token + "00", token[:5] + other + token[6:], f" {token}", ""):
            assert reader(wrong) is None


@given(st.text(max_size=60) | st.text("0123456789abcdefABCDEF", min_size=40, max_size=48))
def test_nothing_else_is_read_and_nothing_raises(text: str) -> None:
    assert [reader(text) for reader in READERS] == [None, None, None]


def test_keys_are_not_shown_and_one_is_needed() -> None:
    assert "nnn" not in repr(TOKENS)
    with pytest.raises(ValueError, match="key"):
        Tokens([])

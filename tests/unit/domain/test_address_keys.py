"""What an erased address is known by."""

from worker.domain.tokens import Tokens

NEW, OLD = b"n" * 32, b"o" * 32
ANNE = "anne@example.com"


def test_there_is_one_for_each_key_the_newest_first() -> None:
    keys = Tokens([NEW, OLD]).address_keys(ANNE)
    assert keys == [*Tokens([NEW]).address_keys(ANNE), *Tokens([OLD]).address_keys(ANNE)]
    assert len(set(keys)) == 2


def test_it_stays_the_same_for_ever() -> None:
    """HMAC-SHA256 of "a" and the address, cut. Any change would forget who was erased and wants no mail."""
    assert Tokens([NEW]).address_keys(ANNE) == ["4ecb5f25f5b9cdd2e68ef90546fc6790"]
    assert Tokens([NEW]).address_keys("bob@example.com") != Tokens([NEW]).address_keys(ANNE)

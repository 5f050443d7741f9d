"""What an erased address is known by."""

from worker.domain.tokens import Tokens

NEW, OLD = b"n" * 32, b"o" * 32
ANNE = "anne@example.com"


def test_there_is_one_for_each_key_the_newest_first() -> None:
    keys = Tokens([NEW, OLD]).address_keys(ANNE)
    assert keys == [*Tokens([NEW]).address_keys(ANNE), *Tokens([OLD]).address_keys(ANNE)]
    assert len(set(keys)) == 2


def test_it_stays_the_same_for_ever() -> None:
    """Keyed BLAKE2b of the address. Any change would forget who was erased and wants no mail."""
    assert Tokens([NEW]).address_keys(ANNE) == ["cd427c067af6eb400d008deafe9a4c9d"]
    assert Tokens([NEW]).address_keys("bob@example.com") != Tokens([NEW]).address_keys(ANNE)

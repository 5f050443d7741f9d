"""Other spellings of an address: those that people really mix up, and few of them."""

import pytest

from worker.services.spellings import MOST, other_spellings, unwrapped


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("jane+shop@example.com", "jane@example.com"),
        ("jane.doe@gmail.com", "janedoe@gmail.com"),
        ("jane.doe+x@googlemail.com", "janedoe@gmail.com"),
        ("jane@gmail.com", "jane@googlemail.com"),
        ("jane@gmail.com", "jane@gmial.com"),
        ("jane@hotmial.com", "jane@hotmail.com"),
        ("jane@example.com", "jane@example.con"),
        ("jane@example.co", "jane@example.com"),
        ("jane.doe@example.com", "jane_doe@example.com"),
    ],
)
def test_the_one_that_was_meant_is_among_them(asked: str, stored: str) -> None:
    assert stored in other_spellings(asked)


@pytest.mark.parametrize("address", ["jane@example.com", "a.b.c.d.e.f.g+h@gmail.com", "+x@example.com"])
def test_they_are_few_and_not_the_address_itself(address: str) -> None:
    found = other_spellings(address)
    assert len(found) == len(set(found)) <= MOST
    assert address not in found
    assert all(each.rpartition("@")[0] for each in found)


@pytest.mark.parametrize(
    "text",
    [
        "jane@example.com",
        "  jane@example.com\n",
        "Jane Doe <jane@example.com>",
        "mailto:jane@example.com",
        '"jane@example.com",',
    ],
)
def test_what_people_paste_is_read(text: str) -> None:
    assert unwrapped(text) == "jane@example.com"

"""Return paths: with a place for a token, or without."""

import pytest

from worker.domain.return_path import ReturnPath, parse_return_path


def test_a_token_takes_its_place() -> None:
    path = parse_return_path("bounces+{token}@shop.example")
    assert path.has_token
    assert path.with_token("abc") == "bounces+abc@shop.example"


def test_a_plain_one_stays_as_it_is() -> None:
    path = parse_return_path(" bounces@shop.example ")
    assert path == ReturnPath("bounces@shop.example")
    assert not path.has_token
    assert path.with_token("abc") == "bounces@shop.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bounces",
        "{token}@shop.example",
        "bounces+{token}",
        "bounces@{token}.shop.example",
        "b+{token}@shop.example@x",
        "b+{token}{token}@shop.example",
        "b+{other}@shop.example",
        "b+{token@shop.example",
        "Shop <b+{token}@shop.example>",
        "Shop <b@shop.example>",
        f"{'b' * 19}{{token}}@shop.example",  # too long for a local part with a token (RFC 5321: 64 octets)
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must (be|have)"):
        parse_return_path(text)

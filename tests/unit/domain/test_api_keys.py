"""Keys: what they look like, and which origins and hosts one can have."""

import re

import pytest

from worker.domain.api_keys import Scope, checked_hosts, checked_name, checked_origins, digest, id_of, is_key, new_key


@pytest.mark.parametrize(
    ("scope", "prefix"), [(Scope.CREATE, "sb_pub_"), (Scope.READ, "sb_read_"), (Scope.ADMIN, "sb_admin_")]
)
def test_a_key_says_its_scope_and_its_id(scope: Scope, prefix: str) -> None:
    made = new_key(scope)
    assert re.fullmatch(f"{prefix}{made.id}[0-9A-Za-z_-]{{43}}", made.text)
    assert id_of(made.text) == made.id
    assert is_key(made.text, digest(made.text))
    assert not is_key(made.text[:-1] + "!", digest(made.text))
    assert made.text not in repr(made)


@pytest.mark.parametrize(
    "text", ["", "sb_pub_", "sb_pub_abcd1234", f"sb_pub_ABCD1234{'x' * 43}", f"sb_x_abcd1234{'x' * 43}"]
)
def test_what_is_no_key_has_no_id(text: str) -> None:
    assert id_of(text) is None
    assert id_of(f"sb_pub_abcd1234{'x' * 43}\n") is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example/", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("https://shop.example:0443", "https://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_kept_as_browsers_say_it(given: str, kept: str) -> None:
    assert checked_origins([given], Scope.CREATE) == [kept]


@pytest.mark.parametrize(
    "given",
    [
        *("", "*", "null", "shop.example", "https://", "https://shop.example/p", "https://shop.example?x"),
        *("ftp://shop.example", "https://*.shop.example", "https://jane@shop.example", "https://müller.example"),
        *("https://shop.example:65536", "https://shop.example https://evil.example", "javascript:alert(1)"),
    ],
)
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="--origin must be"):
        checked_origins([given], Scope.CREATE)


def test_a_publishable_key_needs_an_origin_and_no_other_may_have_one() -> None:
    with pytest.raises(ValueError, match="needs --origin"):
        checked_origins([], Scope.CREATE)
    with pytest.raises(ValueError, match="--origin is for publishable keys"):
        checked_origins(["https://shop.example"], Scope.READ)
    with pytest.raises(ValueError, match="--item-url-host is for publishable keys"):
        checked_hosts(["shop.example"], Scope.ADMIN)
    assert checked_origins([], Scope.READ) == []


@pytest.mark.parametrize(
    "given", ["", "https://shop.example", "shop.example/p", "shop.example:443", "*.shop.example", "müller"]
)
def test_what_is_no_host_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="--item-url-host must be"):
        checked_hosts([given], Scope.CREATE)


@pytest.mark.parametrize("given", ["", "  ", "x" * 101, "a\nb", "\x1b[31m"])
def test_a_name_is_for_people(given: str) -> None:
    with pytest.raises(ValueError, match="NAME must have"):
        checked_name(given)
    assert checked_name(" shop ") == "shop"

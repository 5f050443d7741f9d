"""What holders of publishable keys may do: link to the shop only, and no faster than people do."""

import pytest

from worker.domain.api_keys import Key, Scope
from worker.domain.catalog import catalog_reference, item_of
from worker.domain.tokens import Tokens
from worker.store.requests import NewRequest
from worker.web.signup_rules import allowed_url, is_human_pace, public_answer, stamp

KEY = Key(
    "abcd1234",
    Scope.CREATE,
    ["https://shop.example", "https://m.shop.example:8443", "http://[::1]:8000", "https://xn--mller-kva.example"],
    ["cdn.shop.example"],
)
OTHER = Key("efgh5678", Scope.CREATE, KEY.origins)
TOKENS = Tokens([b"a" * 32])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://shop.example/p/mug?color=blue#top", "https://shop.example/p/mug?color=blue#top"),
        ("https://shop.example", "https://shop.example"),
        ("http://shop.example/p", "http://shop.example/p"),
        ("HTTPS://SHOP.Example/P", "https://shop.example/P"),
        ("https://shop.example:443/p", "https://shop.example:443/p"),
        ("https://shop.example:0443/p", "https://shop.example:443/p"),
        ("https://m.shop.example:8443/p", "https://m.shop.example:8443/p"),
        ("https://cdn.shop.example/p", "https://cdn.shop.example/p"),
        ("http://[::1]:8000/p", "http://[::1]:8000/p"),
        ("http://[0:0::1]:8000/p", "http://[::1]:8000/p"),
        ("https://müller.example/p", "https://xn--mller-kva.example/p"),
        ("https://shop。example/p", "https://shop.example/p"),
        ("https://ｓｈｏｐ.example/p", "https://shop.example/p"),
        ("https://shop.example?next=https://evil.example", "https://shop.example?next=https://evil.example"),
        ("https://shop.example#@evil.example/", "https://shop.example#@evil.example/"),
    ],
)
def test_links_to_the_shop_are_kept(given: str, kept: str) -> None:
    assert allowed_url(KEY, given) == kept


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "mug",
        "/p/mug",
        "//shop.example/p",
        "https:/shop.example",
        "https:///shop.example",
        "https://",
        "https://evil.example",
        "https://shop.example.evil.example/p",
        "https://evilshop.example/p",
        "https://shop.example-evil.example/p",
        "https://www.shop.example/p",
        "https://example/p",
        "https://shop.example@evil.example/p",
        "https://shop.example:pw@evil.example/p",
        "https://user@shop.example/p",
        "https://shop.example%40evil.example/p",
        "https://shop.example%2eevil.example/p",
        "https://evil.example\\@shop.example/p",
        "https://shop.example\\.evil.example/p",
        "https:\\\\shop.example\\p",
        "https://evil.example#shop.example",
        "https://evil.example?shop.example",
        "https://evil.example/https://shop.example",
        "https://shop.example./p",
        "https://shop.example..evil.example/p",
        "https://shop.example:8443/p",
        "https://m.shop.example/p",
        "https://m.shop.example:8444/p",
        "https://cdn.shop.example:8443/p",
        "https://shop.example:/p:80@evil.example",
        "https://shop.example:99999/p",
        "https://shop.example:443:80/p",
        "https://sh\u043ep.example/p",
        "https://shop\u200b.example.evil/p",
        "https://shop.example\t.evil.example/p",
        "https://shop.exa\nmple.evil.example/p",
        "https://shop.example\u2028.evil.example",
        "https://shop.example\u2044.evil.example/p",
        "https://shop.example／.evil.example/p",
        " https://evil.example",
        "javascript://shop.example/%0aalert(1)",
        "javascript:alert(1)//https://shop.example",
        "data://shop.example/p",
        "ftp://shop.example/p",
        "http://[::1]/p",
        "http://[::1]evil.example:8000/p",
        "http://[::ffff:127.0.0.1]:8000/p",
        f"https://shop.example/{'a' * 3000}",
        "https://shop.example/\ud800",
    ],
)
def test_links_elsewhere_are_dropped(given: str | None) -> None:
    assert allowed_url(KEY, given) is None


def test_a_key_without_origins_links_nowhere() -> None:
    assert allowed_url(Key("abcd1234", Scope.CREATE), "https://shop.example/p") is None


def test_the_answer_has_what_was_given_and_nothing_else() -> None:
    reference = catalog_reference(item_of("mug-1"), {"Color": "Blue"})
    answer = public_answer(NewRequest("jane@shop.example", reference, "https://shop.example/p", "de", signup="{}"))
    assert answer == {
        "request": {
            "catalogReference": {
                "catalogItemId": "mug-1",
                "appId": reference.item.app_id,
                "options": {"Color": "Blue"},
            },
            "email": "jane@shop.example",
            "status": "RECEIVED",
            "itemUrl": "https://shop.example/p",
        }
    }


@pytest.mark.parametrize("tokens", [TOKENS, None])
def test_a_form_is_human_after_two_seconds_for_a_day(tokens: Tokens | None) -> None:
    made = stamp(KEY, tokens, 1000.9)
    assert not is_human_pace(made, KEY, tokens, 1001.9)
    assert is_human_pace(made, KEY, tokens, 1002.0)
    assert is_human_pace(made, KEY, tokens, 1000 + 86_400)
    assert not is_human_pace(made, KEY, tokens, 1001 + 86_400)


@pytest.mark.parametrize("tokens", [TOKENS, None])
def test_a_forged_stamp_is_none(tokens: Tokens | None) -> None:
    made = stamp(KEY, tokens, 1000)
    at, _, signature = made.partition(".")
    forged = [None, "", ".", at, f"{at}.", f"999.{signature}", made[:-1], f"{made}0", f"{at}.{signature.upper()}"]
    assert not any(is_human_pace(each, KEY, tokens, 1010) for each in [*forged, f"٠{made}", f"{at}.{'é' * 32}"])
    assert not is_human_pace(made, OTHER, tokens, 1010)


def test_a_stamp_outlives_the_key_that_signed() -> None:
    made = stamp(KEY, TOKENS, 1000)
    assert is_human_pace(made, KEY, Tokens([b"b" * 32, b"a" * 32]), 1010)
    assert not is_human_pace(made, KEY, Tokens([b"b" * 32]), 1010)
    assert not is_human_pace(made, KEY, None, 1010)

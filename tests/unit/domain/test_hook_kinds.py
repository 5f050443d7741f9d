"""What is said of a new hook before it exists: its kind's secret and options."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tests.unit.shops.signing import public_key
from worker.domain.hook_kinds import KINDS, PROVIDERS, SHOPS, checked_options, checked_secret, is_public_key

LONG = "0123456789abcdef"


def test_each_kind_is_of_a_shop_or_of_a_provider() -> None:
    assert set(KINDS) == SHOPS | PROVIDERS
    assert all(KINDS[shop].item_ids[0] == "id" for shop in SHOPS)


def test_a_secret_that_both_sides_choose_is_made_if_none_is_given() -> None:
    made, is_new = checked_secret("woocommerce", None)
    assert (len(made or ""), is_new) == (43, True)
    assert checked_secret("woocommerce", f" {LONG}\n") == (LONG, False)
    assert checked_secret("woocommerce", "")[0] != made


@pytest.mark.parametrize(
    ("kind", "secret", "reason"),
    [
        ("shopify", None, "needs --secret"),
        ("wix", " ", "needs --secret"),
        ("woocommerce", "short", "at least 16 characters"),
        ("shopify", f"{LONG}\n{LONG}", "one line"),
        ("shopify", f"{LONG}\x00", "can't be seen"),
        ("magento", f"\udcff{LONG}", "no UTF-8"),
        ("wix", LONG, "must be a public key"),
        ("wix", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not RSA, or not all"),
        ("wix", "-----BEGIN PUBLIC KEY-----\n%\n-----END PUBLIC KEY-----", "not RSA, or not all"),
        ("magento", "-----BEGIN PUBLIC KEY-----\nAAAA", "must be a public key"),
    ],
)
def test_a_secret_of_the_wrong_form_is_refused_with_a_reason(kind: str, secret: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        checked_secret(kind, secret)


def pem(key: object) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()  # type: ignore[attr-defined,no-any-return]  # any key's


def test_a_key_that_is_no_rsa_or_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="not RSA"):
        checked_secret("wix", pem(ec_key(SECP256R1()).public_key()))
    der = bytes.fromhex("3048024100" + "c1" * 64 + "0203010001")
    with pytest.raises(ValueError, match="512 bits"):
        checked_secret(
            "wix", f"-----BEGIN RSA PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END RSA PUBLIC KEY-----"
        )


@pytest.mark.parametrize("kind", ["wix", "magento"])
def test_a_public_key_is_kept_as_pem_however_it_was_pasted(kind: str) -> None:
    usual = public_key()
    as_json = '"' + usual.strip().replace("\n", "\\n") + '"'
    windows = usual.replace("\n", "\r\n")
    for given in (usual, as_json, windows, usual.replace("\n", "\n  ")):
        kept, _ = checked_secret(kind, given)
        assert kept == usual
        assert is_public_key(kept or "")
    rsa_form = generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    load_pem_public_key((checked_secret(kind, rsa_form)[0] or "").encode())


def test_options_are_kept_in_one_form() -> None:
    given = {
        "item-id": "handle",
        "currency": "eur",
        "app-id": "shop",
        "shop-url": "https://Shop.Example/",
        "header": None,
    }
    assert checked_options("shopify", given) == {
        "item-id": "handle",
        "currency": "EUR",
        "app-id": "shop",
        "shop-url": "https://shop.example",
    }


@pytest.mark.parametrize(
    ("kind", "name", "value", "reason"),
    [
        ("woocommerce", "header", "X-Signature", "does not know --header; its options are: --app-id, --currency"),
        ("postmark", "currency", "EUR", "does not know --currency; its options are: none"),
        ("woocommerce", "item-id", "handle", "one of id, sku"),
        ("wix", "item-id", "sku", "does not know --item-id; its options are: --app-id"),
        ("woocommerce", "currency", "euro", "three letters"),
        ("woocommerce", "app-id", "x" * 37, "1 to 36 characters"),
        ("shopify", "shop-url", "shop.example", "must begin with https://"),
        ("magento", "shop-url", "https://shop.example/?lang=de", "without"),
        ("magento", "header", "X: y", "name of an HTTP header"),
        ("magento", "header", "", "name of an HTTP header"),
    ],
)
def test_an_option_that_is_wrong_or_unknown_is_refused_with_a_reason(
    kind: str, name: str, value: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        checked_options(kind, {name: value})

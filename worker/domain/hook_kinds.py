"""Kinds of hooks: which shop systems and providers may call us, what their secrets look like, what can be set.

Pure. Everything that can be wrong with a new hook is said by `checked_secret` and `checked_options`.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from worker.domain.catalog import checked_url, item_of
from worker.domain.errors import BadReference, BadUrl
from worker.domain.rsa_keys import rsa_bits

SHOPS: Final = frozenset({"woocommerce", "shopify", "magento", "wix"})
PROVIDERS: Final = frozenset({"ses", "postmark", "sendgrid", "mailgun", "brevo"})

MIN_SECRET: Final = 16
"""Characters of a secret that people choose. It is all that stands between the world and our stock."""
MIN_RSA_BITS: Final = 1024
_PEM: Final = re.compile(r"-----BEGIN (?:RSA )?PUBLIC KEY-----(.+)-----END (?:RSA )?PUBLIC KEY-----", re.DOTALL)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}")


@dataclass(frozen=True, slots=True)
class HookKind:
    """What one kind of caller needs."""

    check_secret: Callable[[str], str]
    """returns the secret in the form that is kept, or raises ValueError"""
    secret_is: str
    """for people: what the secret is, and where it is shown"""
    makes_secret: bool = False
    """Whether we make a secret if none is given: the caller's owner can enter what we say"""
    needs_secret: bool = True
    item_ids: tuple[str, ...] = ()
    """What can be the id of an item, the default first"""
    options: frozenset[str] = frozenset()


def checked_secret(kind: str, secret: str | None) -> tuple[str | None, bool]:
    """Returns the secret to keep, and whether it was made just now. Raises ValueError."""
    rules = KINDS[kind]
    given = (secret or "").strip()
    if given:
        return rules.check_secret(given), False
    if rules.makes_secret:
        return secrets.token_urlsafe(32), True
    if rules.needs_secret:
        raise ValueError(f"{kind} needs --secret: {rules.secret_is}")
    return None, False


def checked_options(kind: str, given: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the options that were given, checked. Raises ValueError for what this kind does not know."""
    rules = KINDS[kind]
    found: dict[str, str] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name not in rules.options:
            known = ", ".join(f"--{each}" for each in sorted(rules.options)) or "none"
            raise ValueError(f"{kind} does not know --{name}; its options are: {known}")
        found[name] = value if name == "item-id" else _CHECKS[name](value)
    if "item-id" in found and found["item-id"] not in rules.item_ids:
        raise ValueError(f"--item-id must be one of {', '.join(rules.item_ids)} for {kind}")
    return found


def _currency(value: str) -> str:
    if not _CURRENCY.fullmatch(value):
        raise ValueError("--currency must be a code of three letters, like EUR")
    return value.upper()


def _app_id(value: str) -> str:
    try:
        return item_of("-", value).app_id
    except BadReference as error:
        raise ValueError(f"--app-id: {error}") from None


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("--header must be the name of an HTTP header, like X-Signature")
    return value


def _shop_url(value: str) -> str:
    if set("?#") & set(value):
        raise ValueError("--shop-url must be https://host or https://host/path, without ? and #")
    try:
        return checked_url(value.rstrip("/"))
    except BadUrl as error:
        raise ValueError(f"--shop-url {error}") from None


_CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    "currency": _currency,
    "app-id": _app_id,
    "header": _header,
    "shop-url": _shop_url,
}


def is_public_key(secret: str) -> bool:
    """Whether a secret is a public key in PEM, which can only verify."""
    return secret.startswith("-----BEGIN ")


def any_secret(secret: str) -> str:
    """Takes whatever the other side shows. Raises ValueError."""
    if len(secret.splitlines()) > 1:
        raise ValueError("the secret must be one line")
    if not secret.isprintable():  # no text, or one that no database can store
        raise ValueError("the secret has a character that can't be seen, or is no UTF-8")
    return secret


def long_secret(secret: str) -> str:
    """Takes a secret that nobody guesses. Raises ValueError."""
    if len(any_secret(secret)) < MIN_SECRET:
        raise ValueError(f"the secret must have at least {MIN_SECRET} characters; without --secret one is made")
    return secret


def rsa_public_key(secret: str) -> str:
    """Takes an RSA public key in PEM, also with its line breaks written as in JSON. Returns PEM. Raises ValueError."""
    found = _PEM.fullmatch(secret.replace("\\n", "\n").strip().strip('"'))
    if found is None:
        raise ValueError("the secret must be a public key, from -----BEGIN PUBLIC KEY----- to its END line")
    text = "".join(found[1].split())
    try:
        bits = rsa_bits(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        raise ValueError("the public key can't be read: it is not RSA, or not all of it was given") from None
    if bits < MIN_RSA_BITS:
        raise ValueError(f"the public key has {bits} bits: anybody could sign for it")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    name = "RSA PUBLIC KEY" if "RSA PUBLIC KEY" in secret else "PUBLIC KEY"
    return f"-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n"


def _key_or_secret(secret: str) -> str:
    return rsa_public_key(secret) if is_public_key(secret.strip('"')) else long_secret(secret)


_ITEMS: Final = frozenset({"item-id", "currency", "app-id"})
_CHOSEN: Final = "what both sides know; without it one is made"

KINDS: Final[Mapping[str, HookKind]] = {
    "woocommerce": HookKind(long_secret, _CHOSEN, makes_secret=True, item_ids=("id", "sku"), options=_ITEMS),
    "shopify": HookKind(
        long_secret,
        "the line below the list of webhooks in Settings > Notifications, or the app's client secret",
        item_ids=("id", "sku", "handle"),
        options=_ITEMS | {"shop-url"},
    ),
    "magento": HookKind(
        _key_or_secret,
        "what both sides know, or the public key of Adobe Commerce's webhooks; without it one is made",
        makes_secret=True,
        item_ids=("id", "sku"),
        options=_ITEMS | {"header", "shop-url"},
    ),
    "wix": HookKind(
        rsa_public_key,
        "the app's public key, as its page Webhooks shows it",
        item_ids=("id",),
        options=frozenset({"app-id"}),
    ),
    **{name: HookKind(any_secret, "see docs/feedback.md", needs_secret=False) for name in sorted(PROVIDERS)},
}
"""All of them, by the name that URLs and commands have."""

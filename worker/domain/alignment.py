"""Alignment: whether two domains are one organization's, as DMARC asks (RFC 7489 section 3.1.1, relaxed).

Pure. The organization is the domain below a public suffix. The list of those is long and changes every week; what
follows knows the usual suffixes of one and two labels. A domain that it takes for another's has a warning too much.
"""

from typing import Final

_SECOND_LEVEL: Final = frozenset(
    ("ac", "co", "com", "edu", "gob", "gov", "govt", "gv", "ltd", "me", "ne", "net", "nom", "or", "org", "plc", "sch")
)
"""Below two-letter domains these are suffixes, as in co.uk, com.au and or.at."""
_COUNTRY: Final = 2


def organization(domain: str) -> str:
    """Returns the organizational domain, in lower case: shop.example for mail.shop.example."""
    labels = domain.lower().rstrip(".").split(".")
    has_long_suffix = len(labels) > _COUNTRY and len(labels[-1]) == _COUNTRY and labels[-2] in _SECOND_LEVEL
    return ".".join(labels[-3 if has_long_suffix else -2 :])


def are_aligned(one: str, other: str) -> bool:
    """Whether both are the same organization's."""
    return organization(one) == organization(other)


def is_below(domain: str, parent: str) -> bool:
    """Whether a domain is the other one, or below it."""
    return f".{domain.lower()}".endswith(f".{parent.lower()}")

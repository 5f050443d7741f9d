"""Addresses in reports: mailboxes in running text, and how reports disguise them (RFC 3461, RFC 6533, Exchange).

Pure. Nobody's address in a report is believed. It is only compared with the one that a mail went to.
"""

import re
from collections.abc import Iterator
from typing import Final

LIMIT: Final = 320
"""Characters of an address, at most: 64, the sign, and 255 (RFC 5321 section 4.5.3.1)."""

_ATEXT: Final = r"A-Za-z0-9!#$%&+/=?^_`{|}~.\u00c0-\u02af-"
_ADDRESS: Final = re.compile(
    rf"(?<![{_ATEXT}])(?:\"[^\"\s@]{{1,64}}\"|[{_ATEXT}]{{1,128}})@"
    r"(?:\[[0-9a-fA-F.:]{2,45}\]|[A-Za-z0-9\u00c0-\u02af.-]{1,255})"
)
"""A mailbox. Letters of other scripts are the words around it."""
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_ENCAPSULATED: Final = re.compile(r"(?i)imceasmtp-([^@]+)@")
_ROUTE: Final = re.compile(r"@[^:@\s]+:(?=[^@]+@|[^@]+$)")


def addresses_in(text: str) -> Iterator[re.Match[str]]:
    """Yields where mailboxes stand in a text."""
    return _ADDRESS.finditer(text)


def plain(address: str) -> str:
    """Returns an address in lower case, without brackets, source route (RFC 5321 appendix C), Exchange's disguise."""
    address = _ROUTE.sub("", address.strip().strip("<>").strip().rstrip(".:;,"), count=1)
    if disguised := _ENCAPSULATED.match(address):
        address = _XTEXT.sub(lambda match: chr(int(match[1], 16)), disguised[1].replace("@", "+40"))
    return address.lower()[:LIMIT]


def of_field(value: str) -> str | None:
    """Returns the address in a field such as `Final-Recipient: rfc822; jane@example.com`, or None (RFC 3464)."""
    kind, divider, address = value.partition(";")
    kind, address = (kind.strip().lower(), address) if divider else ("rfc822", kind)
    address = address.strip()
    if kind == "utf-8":  # utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 section 3)
        address = _UNITEXT.sub(_character, address)
    address = plain(address)
    return address or None


def without_xtext(value: str) -> str:
    """Returns an xtext decoded (RFC 3461 section 4): `bounces+2Bx` is `bounces+x`."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), value)


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else ""

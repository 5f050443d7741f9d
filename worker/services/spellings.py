"""Other spellings of an address under which the same person may have signed up. Pure.

Only what can be looked up exactly: nobody reads a whole table for a guess.
"""

import re
from collections.abc import Iterator
from typing import Final

MOST: Final = 40
_GMAIL: Final = ("gmail.com", "googlemail.com")
_TYPOS: Final = {
    "gmail.com": ("gmial.com", "gmai.com", "gmal.com", "gnail.com", "gmaill.com", "gamil.com", "gmail.de"),
    "hotmail.com": ("hotmial.com", "hotmal.com", "hotmai.com", "hotmil.com", "htomail.com"),
    "yahoo.com": ("yaho.com", "yahooo.com", "yhaoo.com", "yahou.com"),
    "outlook.com": ("outlok.com", "outloo.com", "outlook.de", "oultook.com"),
    "icloud.com": ("iclod.com", "icoud.com", "icloud.de"),
}
_ENDINGS: Final = (".con", ".cmo", ".co", ".cm", ".comm", ".vom", ".om")
_NAMED: Final = re.compile(r"<([^<>\s]+@[^<>\s]+)>")


def unwrapped(text: str) -> str:
    """Returns the address in what people paste: `Jane Doe <jane@example.com>`, `mailto:jane@example.com`, in quotes."""
    found = _NAMED.search(text)
    bare = (found[1] if found else text).strip().strip("\"'<>,;()").strip()
    return bare[len("mailto:") :] if bare.lower().startswith("mailto:") else bare


def other_spellings(address: str) -> list[str]:
    """Returns other spellings of a normalised address, the likelier ones first."""
    local, _, domain = address.rpartition("@")
    found = dict.fromkeys(
        f"{each_local}@{each_domain}"
        for each_domain in dict.fromkeys([domain, *_domains(domain)])
        for each_local in dict.fromkeys([local, *_locals(local, domain)])
        if each_local
    )
    found.pop(address, None)
    return list(found)[:MOST]


def _locals(local: str, domain: str) -> Iterator[str]:
    plain = local.partition("+")[0]
    yield plain
    if domain in _GMAIL:
        yield plain.replace(".", "")
    else:
        yield plain.replace(".", "-")
        yield plain.replace(".", "_")
        yield plain.replace(".", "")


def _domains(domain: str) -> Iterator[str]:
    if domain in _GMAIL:
        yield from _GMAIL
    for right, typos in _TYPOS.items():
        if domain == right:
            yield from typos
        elif domain in typos:
            yield right
    stem, dot, ending = domain.rpartition(".")
    if dot and ending == "com":
        yield from (f"{stem}{each}" for each in _ENDINGS)
    elif dot and f".{ending}" in _ENDINGS:
        yield f"{stem}.com"
    if domain.startswith(("www.", "mail.")):
        yield domain.partition(".")[2]

"""Whether a browser's request comes from a page of ours: Fetch Metadata (W3C), and the Origin of RFC 6454. Pure.

A page of another host, or of another port of this one, can make a browser post a form to us, with the visitor's
cookies. Browsers say so in `Sec-Fetch-Site`, which no page can change. On plain http they leave it out, except on
loopback, and then `Origin` decides.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""They change nothing (RFC 9110 section 9.2.1)."""

_USUAL_PORTS: Final = {"http": "80", "https": "443"}
_ORIGIN: Final = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^/:@?#\[\]\s]+)(?::([0-9]{1,5}))?")


def origin_of(text: str) -> str | None:
    """Returns an origin in lower case and without the usual port. None: it is none, such as `null`."""
    found = _ORIGIN.fullmatch(text.strip().lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + ("" if port in (None, _USUAL_PORTS[scheme]) else f":{port}")


def is_from_us(sites: Sequence[str], origins: Sequence[str], own: Collection[str]) -> bool:
    """Whether a page of ours sent a request.

    `sites` and `origins` are the values of the headers Sec-Fetch-Site and Origin, each as often as it was sent. `own`
    are our origins as the browser may know them.
    """
    if sites:
        return set(sites) == {"same-origin"}
    return len(origins) == 1 and origin_of(origins[0]) in {origin_of(each) for each in own} - {None}

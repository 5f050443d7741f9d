"""A form whose session has ended. It goes through the log-in, and is sent again by a click, so nothing is lost.

The log-in page carries what was filled in, as fields that are not shown. None of it is in a URL, and no password.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from fastapi import Request

from worker.domain.admins import own_path

MOST_OCTETS: Final = 16 * 1024
"""What is filled in, written as a query. Within a form it may become three times as long, and a body has 64 KiB."""
_SECRET: Final = ("password", "secret")


@dataclass(frozen=True, slots=True)
class Kept:
    """A form that waits for a log-in."""

    path: str
    """where it goes: a path of ours"""
    fields: Sequence[tuple[str, str]]

    @property
    def text(self) -> str:
        """The fields as the log-in page carries them."""
        return urlencode(self.fields)


def read(path: str, text: str) -> Kept | None:
    """Returns the form that a log-in page has carried. None: there is none."""
    where = own_path(path)
    if where is None or len(text) > MOST_OCTETS:
        return None
    try:
        return Kept(where, parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=2000))
    except ValueError:
        return None


async def of(request: Request) -> Kept | None:
    """Returns what somebody has sent without a session. None: it can't be kept."""
    where = own_path(path_of(request))
    if where is None:
        return None
    fields = [
        (name, value)
        for name, value in (await request.form()).multi_items()
        if isinstance(value, str) and not any(word in name.lower() for word in _SECRET)
    ]
    kept = Kept(where, fields)
    return kept if len(kept.text) <= MOST_OCTETS else None


def path_of(request: Request) -> str:
    """Returns the path and query of a request, as its first line had them."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return raw.decode("ascii", "replace") + (f"?{request.url.query}" if request.url.query else "")

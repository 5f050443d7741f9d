"""What holds for sign-ups by publishable keys: everybody knows these keys, so their holders may do and learn little."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Final

from worker.domain.api_keys import Key
from worker.domain.catalog import checked_url
from worker.domain.errors import BadUrl
from worker.domain.tokens import FORM, Tokens
from worker.models import Status
from worker.store.requests import NewRequest

PACE_SECONDS: Final = 2
"""No person reads a form, types an address and sends it in less."""
STAMP_SECONDS: Final = 86_400
"""A form that is older has to be shown again."""

_AUTHORITY: Final = re.compile(r"(\[[^]]+\]|[^/?#:]+)(?::([0-9]+))?")
_USUAL_PORTS: Final = {"http": "80", "https": "443"}
_STAMP: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})")


def public_answer(new: NewRequest) -> dict[str, object]:
    """Returns what the holder of a publishable key is told of any sign-up, whatever became of it.

    Nothing in it is read from the database. Who knew whether the request is new would know who waits for what.
    """
    told = {"catalogReference": _reference(new), "email": new.email, "status": Status.RECEIVED.value}
    return {"request": told | ({"itemUrl": new.item_url} if new.item_url else {})}


def _reference(new: NewRequest) -> Mapping[str, object]:
    reference = new.reference
    if reference.given is not None:
        given: dict[str, object] = json.loads(reference.given)
        return given
    options = {"options": dict(reference.spelled)} if reference.spelled else {}
    return {"catalogItemId": reference.item.catalog_item_id, "appId": reference.item.app_id, **options}


def allowed_url(key: Key, url: str | None) -> str | None:
    """Returns the link, checked, if requests of this key may have it in their mails. Else None.

    With a publishable key it must lead to the host and port of one of the key's origins, or to one of its other hosts
    at the usual port.
    """
    if url is None:
        return None
    try:
        checked = checked_url(url)
    except BadUrl:
        return None
    if not key.is_publishable:
        return checked
    own_places = {*map(_place, key.origins), *((host, "") for host in key.url_hosts)}
    return checked if _place(checked) in own_places else None


def _place(url: str) -> tuple[str, str]:
    """Returns host and port of a checked URL. The usual ports are one place, whose port is empty."""
    scheme, _, rest = url.partition("://")
    host, port = _AUTHORITY.match(rest).groups()  # type: ignore[union-attr]  # a checked URL has a host
    return host, "" if port in (None, _USUAL_PORTS[scheme]) else port


def stamp(key: Key, tokens: Tokens | None, now: float) -> str:
    """Returns a hidden field for a form that is shown now: when that was, signed. `now` is in seconds since 1970.

    All processes sign alike. Without STOCKBELL_SECRET_KEY a program that knows how could sign for itself.
    """
    at = str(int(now))
    return f"{at}.{_signature(key, tokens, at)}"


def is_human_pace(given: str | None, key: Key, tokens: Tokens | None, now: float) -> bool:
    """Whether a form with this stamp was shown at least two seconds ago, and not over a day ago."""
    parts = _STAMP.fullmatch(given or "")
    if parts is None:
        return False
    at, signature = parts.groups()
    if tokens is None:
        is_ours = hmac.compare_digest(signature, _signature(key, None, at))
    else:
        is_ours = tokens.is_mark(FORM, _stamped(key, at), signature)
    return is_ours and PACE_SECONDS <= now - int(at) <= STAMP_SECONDS


def _signature(key: Key, tokens: Tokens | None, at: str) -> str:
    stamped = _stamped(key, at)
    return tokens.mark(FORM, stamped) if tokens else hashlib.sha256(stamped.encode()).hexdigest()[:32]


def _stamped(key: Key, at: str) -> str:
    return f"{key.id} {at}"

"""What others are told of a change of a request, and how: types, bodies, names, tries.

Pure. `standard` follows Standard Webhooks (standardwebhooks.com). `wix` has the form of Wix's webhooks, as its SDK
reads them: strings of JSON within strings. Nobody's address is in either, unless the endpoint is to get it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

TYPE: Final = "back_in_stock_notification_request"
WIX_TYPE: Final = f"wix.ecom.v1.{TYPE}"
APP_ID: Final = uuid5(NAMESPACE_URL, "stockbell")
"""Who changed the request, for Wix's SDK: this program."""

DELAYS: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before each try, counted from the one before: three days in all. After the last one it is given up."""
JITTER: Final = 0.2
"""Each delay is longer by up to this share, so that a receiver that comes back is not met by all at once."""
SLOW_SECONDS: Final = (10.0, 3600.0)
"""The least and the longest pause when a receiver asks us to slow down."""


class Format(StrEnum):
    """How a change is told."""

    STANDARD = "standard"
    WIX = "wix"


class Kind(StrEnum):
    """What happened to a request."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


_ENTITY: Final = {Kind.CREATED: "entity", Kind.UPDATED: "currentEntity", Kind.DELETED: "deletedEntity"}
"""Where Wix's SDK looks for the object."""


@dataclass(frozen=True, slots=True)
class News:
    """One change of one request, with its facts as they were then."""

    request_id: UUID
    sequence: int
    """grows with each change of this request"""
    kind: Kind
    at: datetime
    facts: Mapping[str, object]
    """the fields of the object but for address and link, with Wix's names"""
    by_erasure: bool = False
    """because the customer was erased"""
    personal: Mapping[str, str] = field(default_factory=dict, repr=False)
    """address and link, for an endpoint that gets them"""

    @property
    def id(self) -> str:
        """The same for every try and every endpoint: receivers know by it what they have taken already."""
        return f"{self.request_id}.{self.sequence}"


def standard_body(news: News) -> str:
    """Returns the body in the form of Standard Webhooks."""
    facts = {name: value for name, value in news.facts.items() if name != "createdDate"}
    erased = {"triggeredByAnonymizeRequest": True} if news.by_erasure else {}
    data = {"id": str(news.request_id), **facts, **news.personal, "sequence": news.sequence, **erased}
    return _json({"type": f"{TYPE}.{news.kind}", "timestamp": timestamp(news.at), "data": data})


def wix_claim(news: News, instance_id: UUID) -> str:
    """Returns what stands in the claim `data` of Wix's JWT."""
    entity = {"id": str(news.request_id), **news.facts, **news.personal}
    # Several changes may be told as one, so nothing is known of what was there before.
    modified: dict[str, object] = {"modifiedFields": {}} if news.kind is Kind.UPDATED else {}
    event = {
        "id": news.id,
        "entityFqdn": WIX_TYPE,
        "slug": news.kind.value,
        "entityId": str(news.request_id),
        "eventTime": timestamp(news.at),
        "triggeredByAnonymizeRequest": news.by_erasure,
        "originatedFrom": "",
        "entityEventSequence": str(news.sequence),
        f"{news.kind}Event": {_ENTITY[news.kind]: entity, **modified},
    }
    return _json(
        {
            "data": _json(event),
            "eventType": f"{WIX_TYPE}_{news.kind}",
            "instanceId": str(instance_id),
            "identity": _json({"identityType": "APP", "appId": str(APP_ID)}),
        }
    )


def delay_after(tries: int, chance: float) -> float | None:
    """Returns the seconds until the next try, after so many; None: it is given up. `chance` is from 0 to 1."""
    if tries >= len(DELAYS):
        return None
    return DELAYS[tries] * (1 + JITTER * chance)


def slow_seconds(asked: float | None) -> float:
    """Returns for how long a receiver is left alone that asked us to slow down, maybe with a Retry-After."""
    least, most = SLOW_SECONDS
    return min(max(asked or least, least if asked is None else 1.0), most)


def timestamp(at: datetime) -> str:
    """Formats a UTC time in ISO 8601 with milliseconds."""
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

"""What the audit trail says."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.contract.shop import Shop


@dataclass(frozen=True)
class Done:
    who: str
    verb: str
    about: dict[str, Any]
    result: dict[str, Any] | None
    changed: int
    refused: int
    contact_id: UUID | None
    everything: str
    """all texts of the row"""


def trail(shop: Shop) -> list[Done]:
    """Returns what was done, oldest first."""
    rows = shop.ask(
        "SELECT who, verb, about, options, command, result, changed, refused, contact_id FROM action ORDER BY id",
        contact_id="uuid",
    )
    return [
        Done(
            row.who,
            row.verb,
            json.loads(row.about),
            json.loads(row.result) if row.result else None,
            row.changed,
            row.refused,
            row.contact_id,
            str(tuple(row)),
        )
        for row in rows
    ]

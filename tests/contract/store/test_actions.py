"""The audit trail: one row for each thing that an admin did."""

import json

from tests.contract.shop import Shop
from worker.models import uuid7
from worker.store import actions


def test_what_was_done_is_noted(shop: Shop) -> None:
    contact = uuid7()
    id_ = shop.write(
        actions.note, "ada", "pause", {"item": "mug-1"}, command="stockbell pause", changed=1, contact_id=contact
    )
    shop.write(actions.note, "cli:root", "keys create", {"key": "abc"}, result={"scope": "read"})
    rows = shop.ask(
        "SELECT id, who, verb, state, about, changed, contact_id FROM action ORDER BY id", id="uuid", contact_id="uuid"
    )
    assert [(row.who, row.verb, row.state) for row in rows] == [
        ("ada", "pause", "done"),
        ("cli:root", "keys create", "done"),
    ]
    assert rows[0].id == id_
    assert (json.loads(rows[0].about), rows[0].changed, rows[0].contact_id) == ({"item": "mug-1"}, 1, contact)

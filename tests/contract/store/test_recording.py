"""Requests that are told by one mail, as they are recorded: in one statement or in several."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.reporting import claimed_together, told_together
from tests.contract.shop import Shop
from worker.models import Status
from worker.store import recording, tally
from worker.store.recording import Ends


@pytest.mark.parametrize("record", [recording.record, recording.record_told])
def test_the_others_name_the_request_whose_mail_it_was(
    shop: Shop, record: Callable[[Connection, Ends], set[UUID]]
) -> None:
    first, *others = claimed_together(shop)
    (alone,) = told_together(shop, 1, "john@example.com")
    claimed = [first, *others]
    ends = Ends(told=claimed, receipts=["250 one", "250 one", "250 one"], seconds=[1.0, 2.0, None])
    assert shop.write(record, ends) == {claim.id for claim in claimed}
    rows = [shop.row(claim.id) for claim in (*claimed, alone)]
    assert [row.status for row in rows] == [Status.NOTIFICATION_SENT] * 4
    assert [row.mail_id for row in rows] == [None, first.id, first.id, None]
    assert [row.receipt for row in rows] == ["250 one"] * 3 + [None]
    counts = shop.database.read(tally.totals)
    assert (counts["told"], counts["seconds"]) == (4, 3000)


@pytest.mark.parametrize("record", [recording.record, recording.record_told])
def test_a_mail_whose_first_request_is_not_recorded_with_them_is_named_by_nobody(
    shop: Shop, record: Callable[[Connection, Ends], set[UUID]]
) -> None:
    _, *others = claimed_together(shop)
    shop.write(record, Ends(told=others))
    assert [shop.row(claim.id).mail_id for claim in others] == [None, None]

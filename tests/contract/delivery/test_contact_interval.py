"""With a contact interval a worker sends a customer one mail, and the others when they have rested."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.contract.lines import serve
from tests.contract.shop import CUP, MUG, Shop, ref
from tests.relay import Do, ScriptedRelay
from worker.domain.outcomes import INTERVAL
from worker.domain.policies import Policies
from worker.models import Status
from worker.store import contact_intervals

ON: Final = Policies(contact_interval=3600.0)
ITEMS: Final = (MUG, CUP, ref("pan-1"))


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


def test_a_customer_gets_one_mail_and_rests(shop: Shop, server: ScriptedRelay) -> None:
    for item in ITEMS:
        shop.sign_up(item, "ann@example.com", "bob@example.com")
        shop.tell(item)
    for _ in range(2):
        serve(shop, server, *ITEMS, policies=ON)
    assert sorted(mail.recipient for mail in server.accepted) == ["ann@example.com", "bob@example.com"]
    assert [row.failure_code for row in shop.rows() if row.status is Status.RECEIVED] == [INTERVAL] * 4
    assert len(shop.ask("SELECT id FROM contact WHERE mailed_at IS NOT NULL")) == 2


def test_a_mail_whose_answer_is_lost_counts(shop: Shop, server: ScriptedRelay) -> None:
    for item in ITEMS[:2]:
        shop.sign_up(item, "ann@example.com")
        shop.tell(item)
    server.script("dot", Do.TAKE_AND_DROP)
    for _ in range(2):
        serve(shop, server, *ITEMS[:2], policies=ON)
    assert len(shop.ask("SELECT id FROM contact WHERE mailed_at IS NOT NULL")) == 1
    assert {row.failure_code for row in shop.rows() if not row.unknowns} == {INTERVAL}


def test_without_an_interval_nothing_is_noted(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(2)
    serve(shop, server)
    assert len(server.accepted) == 2
    assert shop.ask("SELECT id FROM contact WHERE mailed_at IS NOT NULL") == []


def test_a_slice_looks_behind_all_who_rest(shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_intervals, "ROUNDS", 1)
    waiting = shop.waiting(9)
    rows = [{"id": shop.row(id_).contact_id} for id_ in waiting[:8]]
    shop.change("UPDATE contact SET mailed_at = stockbell_now(-60) WHERE id IN ROWS(id uuid)", rows=rows)
    serve(shop, server, policies=ON, connections=1, claim_size=1)
    assert [mail.recipient for mail in server.accepted] == [shop.row(waiting[8]).email]

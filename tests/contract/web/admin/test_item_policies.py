"""The page of an item with seats, waves and doors, and the form with its own sending policies."""

import re

import pytest

from tests.contract.shop import MUG, Shop, ref
from tests.contract.web.admin.trail import trail
from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.domain.catalog import WIX_STORES
from worker.domain.policies import Own
from worker.store import policies

ITEM = f"/admin/items/{WIX_STORES}/mug-1"
EMPTY = {"verb": "set", "min_quantity": "", "per_unit": "", "wave_seconds": "", "settle_seconds": ""}


def _own(shop: Shop) -> Own:
    item_id = shop.ask("SELECT id FROM item", id="uuid")[0].id
    return shop.database.read(policies.own, item_id)


@pytest.fixture
def admin(site: Site) -> Site:
    """Somebody who may do anything, and three who wait for the mug."""
    site.log_in(Role.ADMIN)
    site.shop.sign_up_many(3)
    site.shop.tell(MUG)
    return site


def test_policies_are_set_taken_away_and_noted(admin: Site) -> None:
    answer = admin.client.post(ITEM, data={**EMPTY, "per_unit": "2", "wave_seconds": "2h"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ITEM}?done=set#policies")
    page = admin.client.get(answer.headers["location"]).text
    assert "The policies below hold from now on." in page
    assert "2 h <small>its own</small>" in page
    assert 'name="wave_seconds" type="text" value="7200"' in page
    assert _own(admin.shop) == Own(per_unit=2, wave_seconds=7200.0)
    again = admin.client.post(ITEM, data={**EMPTY, "per_unit": "2", "wave_seconds": "7200"})
    assert "It had these policies already." in again.text
    admin.client.post(ITEM, data={**EMPTY, "settle_seconds": "60"})
    assert _own(admin.shop) == Own(settle_seconds=60.0)
    admin.client.post(ITEM, data={"verb": "set"})
    assert _own(admin.shop) == Own()
    assert [(each.verb, each.who) for each in trail(admin.shop)] == [("items set", "ada")] * 3


def test_what_can_not_be_read_is_shown_back_and_changes_nothing(admin: Site) -> None:
    answer = admin.client.post(ITEM, data={**EMPTY, "per_unit": '0"><b>', "min_quantity": "3"})
    assert answer.status_code == 400
    assert "it must be a whole number from 1 to 1000000, or all" in answer.text
    assert 'value="0&#34;&gt;&lt;b&gt;"' in answer.text
    assert "<details open>" in answer.text
    assert (_own(admin.shop), trail(admin.shop)) == (Own(), [])


def test_viewers_see_policies_and_set_none(admin: Site) -> None:
    admin.client.post(ITEM, data={**EMPTY, "per_unit": "2"})
    admin.log_in(Role.VIEWER, "grace")
    page = admin.client.get(ITEM).text
    assert "2 <small>its own</small>" in page
    assert 'value="set"' not in page
    assert admin.client.post(ITEM, data=EMPTY).status_code == 403
    assert _own(admin.shop) == Own(per_unit=2)


def test_seats_waves_and_doors_are_shown(admin: Site) -> None:
    shop = admin.shop
    shop.sign_up(ref(size="L"))
    admin.client.post(ITEM, data={**EMPTY, "per_unit": "2"})
    shop.change(
        """UPDATE stock SET quantity = 40, seats = 0, seat_limit = 80, granted = 80, wave = 7,
        seat_at = stockbell_now(-1200)"""
    )
    shop.change("UPDATE waiting_list SET opens_at = stockbell_now(2400) WHERE options = '{}'")
    page = admin.client.get(ITEM).text
    assert "All 80 seats of wave 7 are taken; 3 wait. The next wave begins at " in page
    assert re.search(r'<td class="n">7</td><td class="n">0 of 80</td><td><time[^>]*>in 3\d min', page)
    assert re.search(r"in 3\d min</time> <small>next wave</small>", page)
    assert "3 <small>wave: 3</small>" in page.replace("<br>", " ")
    shop.change("UPDATE waiting_list SET settles_at = stockbell_now(600), opens_at = NULL")
    page = admin.client.get(ITEM).text
    assert re.search(r"in (10|9) min( \d+ s)?</time> <small>settles</small>", page)


def test_without_limits_the_tables_have_no_columns_for_them(admin: Site) -> None:
    page = admin.client.get(ITEM).text
    assert "Everybody who waits is told now: 3." in page
    assert "Seats left" not in page
    assert "Not before" not in page

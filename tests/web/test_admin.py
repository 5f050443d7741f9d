"""The pages for admins in Chromium: how they look to people, with names and replies by people who attack."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.shop import shop_at
from tests.web.conftest import Site, site_on
from tests.web.house import House, furnish
from worker.domain.admins import Role
from worker.domain.catalog import WIX_STORES
from worker.store import admins
from worker.web.admin.frame import MENU, item_path
from worker.web.admin.gate import COOKIE

LOOKS: Final = ("light", "dark", "narrow", "narrowDark")


@dataclass(frozen=True, slots=True)
class Rooms:
    """The pages of a shop, and how to get in."""

    site: Site
    house: House

    def run(self, script: str, role: Role = Role.ADMIN, **given: Any) -> Any:
        """Runs a script that has logged in."""
        secret = self.site.program.write(admins.open_session, "ada", role)
        return self.site.run(script, base=f"https://{self.site.host}", cookie=COOKIE, secret=secret, **given)

    def pages(self) -> dict[str, str]:
        """Returns the paths of all pages, by names."""
        house = self.house
        menu = {entry.name: f"/admin{entry.path}" for entries in MENU.values() for entry in entries}
        items = {f"item-{place}": f"/admin{item_path(WIX_STORES, item)}" for place, item in enumerate(house.items)}
        return {
            **menu,
            **items,
            "failed-request": f"/admin/requests/{house.failed}",
            "waiting-request": f"/admin/requests/{house.waiting}",
            "told-request": f"/admin/requests/{house.told}",
            "what-if": f"/admin/items/{WIX_STORES}/mug-1?n=5",
            "me": "/admin/me",
        }


@pytest.fixture(scope="module")
def rooms(in_pages: None, migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    """A web process with the pages for admins, over a shop with all kinds of rows."""
    folder = tmp_path_factory.mktemp("admin")
    url = f"sqlite:///{shutil.copy(migrated_sqlite, folder / 'stockbell.db')}"
    with shop_at(url) as shop:
        house = furnish(shop)
    with site_on(url, folder, serve="admin,metrics") as opened:
        yield Rooms(opened, house)


def test_each_page_is_accessible_fits_and_runs_nothing_however_it_is_looked_at(rooms: Rooms) -> None:
    pages = rooms.pages()
    looks = rooms.run("admin_looks.mjs", pages=pages, pictures=os.environ.get("PICTURES"))
    for look in LOOKS:
        watched = looks.pop(look)
        assert watched == {"errors": [], "violations": [], "foreign": [], "dialogs": []}, look
    assert len(looks) == len(pages) * len(LOOKS)
    well: dict[str, object] = {
        "status": 200,
        "isThere": True,
        "isTooWide": False,
        "headings": 1,
        "attacked": None,
        "axe": [],
    }
    assert {name: each for name, each in looks.items() if each != well} == {}


def test_admins_work_without_javascript_and_by_the_keyboard_alone(rooms: Rooms) -> None:
    found = rooms.run("admin_works.mjs", email=rooms.house.email, app=WIX_STORES)
    done = found["done"]
    assert done["skip"] == "Skip to the page"
    assert done["preview"][0] == done["confirmed"] == done["undo"] == 200
    assert done["preview"][2] == "Nothing has been changed yet. This would retry 6 requests."
    assert done["retried"].startswith("Done: 6 retried")
    assert done["undone"] == "Undone: 6 are as they were."
    assert done["ticked"] == [200, "Nothing has been changed yet. This would mark as sent 1 request."]
    assert done["nonsense"][0] == "yesterday-ish"
    assert "must look like 2026-11-23" in done["nonsense"][1]
    assert "paused" in done["paused"][1]
    assert "goes on" in done["resumed"][1]
    assert done["found"][:2] == [200, False]
    assert done["whatIf"][0] == 200
    refused = [each for each in found["seen"]["errors"] if "400" not in each]  # that of the nonsense is meant
    assert (refused, found["seen"]["violations"], found["seen"]["foreign"]) == ([], [], [])

"""The page "Keys": a key is shown once, in no URL; what is wrong is said beside the field; every verb leaves a row."""

import json
from typing import Any

import pytest

from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.domain.api_keys import Scope
from worker.domain.catalog import WIX_STORES
from worker.models import ApiKey
from worker.store import collections, keys
from worker.web.admin.keys import Wanted, _commands

HOSTILE = '"><script>alert(1)</script>'


def trail(site: Site) -> list[tuple[str, str, Any]]:
    rows = site.shop.ask("SELECT who, verb, about FROM action ORDER BY id")
    return [(row.who, row.verb, json.loads(row.about)) for row in rows]


def make(site: Site, **fields: str) -> Any:
    form = {"name": "shop", "scope": "create", "origins": "https://shop.example", "hosts": ""}
    return site.client.post("/admin/keys", data=form | fields)


def test_a_key_is_made_shown_once_and_revoked(site: Site) -> None:
    site.log_in()
    answer = make(site, origins="https://shop.example https://www.shop.example", hosts="cdn.shop.example")
    (row,) = site.shop.database.read(keys.each)
    assert answer.status_code == 200
    assert not answer.history, "no redirect carries it"
    assert f"sb_pub_{row.id}" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    page = site.client.get("/admin/keys").text
    assert f"sb_pub_{row.id}" not in page
    for text in (row.id, "https://www.shop.example", "cdn.shop.example", "never"):
        assert text in page
    assert site.client.post("/admin/keys/revoke", data={"id": row.id}).status_code == 200
    assert "revoked" in site.client.get("/admin/keys").text
    assert site.client.post("/admin/keys/revoke", data={"id": row.id}).status_code == 404
    made, revoked = trail(site)
    assert made[:2] == ("ada", "keys create")
    assert made[2] == {
        "key": row.id,
        "name": "shop",
        "scope": "create",
        "origins": ["https://shop.example", "https://www.shop.example"],
        "hosts": ["cdn.shop.example"],
    }
    assert revoked == ("ada", "keys revoke", {"key": row.id})


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": " "}, "name", "It must have 1 to 100 characters"),
        ({"scope": "root"}, "scope", "Choose one of them."),
        ({"origins": ""}, "origins", "A publishable key needs an origin"),
        ({"origins": "https://shop.example/p"}, "origins", "Each must be https://host"),
        ({"hosts": "https://cdn"}, "hosts", "Each must be a host"),
        ({"scope": "read"}, "origins", "An origin is for publishable keys."),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(light: Site, fields: dict[str, str], field: str, words: str) -> None:
    light.log_in()
    answer = make(light, **fields)
    assert answer.status_code == 400
    assert words in answer.text
    assert f'aria-describedby="{field}-about"' in answer.text
    assert light.shop.count(ApiKey) == 0


def test_what_was_filled_in_stays_and_does_nothing(light: Site) -> None:
    light.log_in()
    answer = make(light, name=HOSTILE, origins=HOSTILE)
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text
    light.shop.write(keys.create, HOSTILE, Scope.READ)
    assert "<script>alert" not in light.client.get("/admin/keys").text


def test_sign_ups_of_a_catalog_are_stopped_and_taken_again(site: Site) -> None:
    site.log_in()
    assert "No more new requests" in site.client.post("/admin/keys/stop", data={"catalog": WIX_STORES}).text
    assert site.shop.database.read(collections.stopped) == {WIX_STORES}
    site.client.post("/admin/keys/stop", data={"catalog": WIX_STORES})
    site.client.post("/admin/keys/start", data={"catalog": WIX_STORES})
    assert site.shop.database.read(collections.stopped) == set()
    assert [verb for _, verb, _ in trail(site)] == ["keys stop", "keys start"], "twice the same is once"
    assert site.client.post("/admin/keys/stop", data={"catalog": "other"}).status_code == 404


def test_a_viewer_sees_the_keys_and_no_button(light: Site) -> None:
    light.shop.write(keys.create, "shop", Scope.READ)
    light.log_in(Role.VIEWER)
    page = light.client.get("/admin/keys").text
    assert "shop" in page
    assert "/admin/keys/revoke" not in page
    assert "Make the key" not in page


def test_the_command_is_quoted_as_a_shell_needs_it() -> None:
    (line,) = _commands(Wanted("my shop's", "create", "https://shop.example", "cdn.shop.example"))
    assert line == (
        """stockbell keys create 'my shop'"'"'s' --scope create --origin https://shop.example"""
        " --item-url-host cdn.shop.example"
    )

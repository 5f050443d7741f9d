"""Verbs of the command line are in the audit trail too, without addresses and secrets. On SQLite and PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from config.settings import Settings
from tests.contract.shop import CUP, MUG, Shop
from tests.contract.web.admin.trail import trail
from tests.redis_server import RedisServer
from worker import cli
from worker.cli import session
from worker.processes.bootstrap import Parts
from worker.store import contacts
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream

KEY: Any = "0123456789abcdef0123456789abcdef"
Run = Callable[..., Result]


@pytest.fixture
def parts(shop: Shop, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    made = Parts(Settings(database_url=shop.url, redis_url=redis_server.url, secret_key=KEY))
    monkeypatch.setattr(session, "parts", lambda: made)
    monkeypatch.setattr(session, "ready_parts", lambda: made)
    monkeypatch.setattr(session, "who", lambda: "cli:ada")
    with closing(made.database), closing(made.stream):
        yield made


@pytest.fixture
def run(parts: Parts) -> Run:
    def invoke(*arguments: str, code: int = 0, given: str | None = None) -> Result:
        result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, arguments, input=given)
        assert result.exit_code == code, result.output
        return result

    return invoke


def bury(stream: Stream, number: int, reason: str, **fields: str) -> None:
    for _ in range(number):
        entry = stream.publish(fields)
        event = {name.encode(): value.encode() for name, value in fields.items()}
        stream.dead_letters.bury([(Entry(entry, event), reason)])


@pytest.mark.parametrize(("option", "is_ordered"), [(None, True), ("--when-in-stock", False)])
def test_who_is_retried_by_id_may_have_to_wait_for_stock(
    run: Run, shop: Shop, option: str | None, is_ordered: bool
) -> None:
    id_ = shop.sign_up(MUG, "anne@example.com")
    shop.change("UPDATE request SET status = 'FAILED', failure_code = 'BOUNCED', failed_at = stockbell_now(0)")
    run("retry", str(id_), *([option] if option else []))
    assert (shop.row(id_).ordered_at is not None) == is_ordered
    action = str(shop.ask("SELECT id FROM action", id="uuid")[0].id)
    assert ": ," not in run("actions", "show", action).stdout


def test_what_is_done_to_contacts_names_them_by_id(run: Run, shop: Shop) -> None:
    shop.sign_up(MUG, "anne@example.com")
    anne = shop.database.read(contacts.find, ["anne@example.com"])["anne@example.com"].id
    run("contacts", "suppress", "anne@example.com")
    run("contacts", "unsuppress", "anne@example.com")
    run("contacts", "export", "anne@example.com")
    run("contacts", "show", "anne@example.com")
    run("contacts", "erase", "anne@example.com")
    done = trail(shop)
    verbs = ["contacts suppress", "contacts unsuppress", "contacts export", "contacts erase"]
    assert [(each.verb, each.who, each.contact_id) for each in done] == [(verb, "cli:ada", anne) for verb in verbs]
    assert all("example.com" not in each.everything for each in done)


def test_policies_of_an_item_are_set_by_name(run: Run, shop: Shop) -> None:
    said = run("items", "set", "mug-1", "--per-unit", "2", "--wave-seconds", "2h").stdout
    assert "mug-1: changed" in said
    assert [line.split("  ")[-1].strip() for line in said.splitlines()[1:]] == [
        "1 piece (the shop's)",
        "2 (its own)",
        "2 h (its own)",
        "no time (the shop's)",
    ]
    assert "so already" in run("items", "set", "mug-1", "--per-unit", "2").stdout
    found = json.loads(run("items", "set", "mug-1", "--reset", "--min-quantity", "3", "--json").stdout)
    assert (found["changed"], found["policies"]["minQuantity"]) == (1, {"value": 3, "own": True})
    assert found["policies"]["perUnit"] == {"value": None, "own": False}
    assert [(each.verb, each.who) for each in trail(shop)] == [("items set", "cli:ada")] * 2


def test_an_item_is_shown_with_its_seats_and_policies(run: Run, shop: Shop) -> None:
    shop.waiting(9)
    shop.change("UPDATE item SET per_unit = 2, name = :name", name="Mug\x1b[2J")
    shop.change(
        """UPDATE stock SET quantity = 2, seats = 0, seat_limit = 4, granted = 4, wave = 3,
        seat_at = stockbell_now(-1800), settles_at = stockbell_now(300)"""
    )
    shop.change("UPDATE waiting_list SET opens_at = stockbell_now(1800), settles_at = stockbell_now(300)")
    said = run("items", "show", "mug-1").stdout
    for words in (
        "what happens next:\n  Nobody before ",
        "told for each piece: 2 (its own)",
        "between waves: 1 h (the shop's)",
        "in, 2  the whole item; wave 3: 0 of 4 seats left, the next wave at ",
        "settling: 9",
        "its door opens at ",
        "settles until ",
    ):
        assert words in said
    assert "\x1b" not in said
    found = json.loads(run("items", "show", "mug-1", "--json").stdout)
    assert (found["stock"][0]["seats"]["wave"], found["reasons"]) == (3, {"settling": 9})


def test_many_contacts_at_once_share_a_row(run: Run, shop: Shop) -> None:
    addresses = "\n".join(f"c{number}@example.com" for number in range(11))
    run("contacts", "suppress", "-", "--cause", "unsubscribed", given=addresses)
    [done] = trail(shop)
    assert (done.changed, done.result, done.contact_id) == (11, {"contacts": 11, "requests": 0}, None)
    assert done.about == {"cause": "unsubscribed"}


def test_dead_letters_are_replayed_by_reason_and_dropped(run: Run, shop: Shop, parts: Parts) -> None:
    good = {"catalogItemId": "mug-1", "quantity": "5"}
    bury(parts.stream, 2, "an old reason", **good)
    bury(parts.stream, 1, "another", **good)
    assert json.loads(run("dead-letters", "replay", "--reason", "an old reason", "--json").stdout)["changed"] == 2
    assert parts.stream.dead_letters.count() == 1
    run("dead-letters", "replay", "--reason", "no such reason")
    run("dead-letters", "drop", "--all")
    done = trail(shop)
    assert [(each.verb, each.changed) for each in done] == [("dead-letters replay", 2), ("dead-letters drop", 1)]
    assert done[0].about == {"reason": "an old reason"}


def test_a_replay_is_done_though_the_trail_can_not_be_written(
    run: Run, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(parts.stream, 1, "an old reason", catalogItemId="mug-1", quantity="5")
    away = Parts(parts.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/none.db"}))
    monkeypatch.setattr(session, "parts", lambda: away)
    with closing(away.database), closing(away.stream):
        result = run("dead-letters", "replay", "--all")
    assert "replayed: 1" in result.output
    assert "not noted in the audit trail" in result.output
    assert not (tmp_path / "none.db").exists()
    assert parts.stream.dead_letters.count() == 0


def test_hooks_are_noted_without_what_opens_them(run: Run, shop: Shop) -> None:
    secret = "a-secret-of-the-shop-system"
    made = json.loads(run("hooks", "create", "woocommerce", "--secret", secret, "--json").stdout)
    run("hooks", "revoke", made["id"])
    run("hooks", "revoke", made["id"], code=1)
    done = trail(shop)
    assert [each.verb for each in done] == ["hooks create", "hooks revoke"]
    assert all(secret not in each.everything and made["id"] not in each.everything for each in done)


def test_all_that_is_known_is_found_also_of_what_has_ended(run: Run, shop: Shop) -> None:
    first = shop.sign_up(MUG, "anne@example.com")
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id = :id", id=first)
    second = shop.sign_up(CUP, "anne@example.com")
    found = json.loads(run("contacts", "show", "anne@example.com", "--json").stdout)
    assert [each["id"] for each in found["requests"]] == [str(first), str(second)]

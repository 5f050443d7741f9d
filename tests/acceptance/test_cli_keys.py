"""`stockbell keys` as processes: a key is shown once, listed without its secret, and ends when it is revoked."""

import json

from tests.acceptance.stockbell import Stockbell, done
from worker.store.sql import Sql

_TRAIL = Sql("SELECT who, verb FROM action ORDER BY id")


def test_a_key_is_made_listed_and_revoked(program: Stockbell) -> None:
    origin = ("--origin", "https://shop.example")
    made = program.run(
        "keys", "create", "the shop", "--scope", "create", *origin, "--item-url-host", "cdn.shop.example"
    )
    key = done(made).strip()
    assert key.startswith("sb_pub_")
    assert key not in made.stderr
    other = json.loads(done(program.run("keys", "create", "ops", "--scope", "read", "--json")))

    listed = program.run("keys", "list", "--json")
    rows = {row["id"]: row for row in map(json.loads, done(listed).splitlines())}
    shown = rows[key[7:15]]
    assert (shown["name"], shown["scope"], shown["origins"]) == ("the shop", "create", ["https://shop.example"])
    assert (shown["itemUrlHosts"], shown["lastUsed"], shown["revoked"]) == (["cdn.shop.example"], None, None)
    table = done(program.run("keys", "list"))
    assert "https://shop.example" in table
    assert key[15:] not in table + listed.stdout
    assert other["key"][17:] not in table + listed.stdout

    assert key[7:15] in done(program.run("keys", "revoke", key))
    again = program.run("keys", "revoke", key)
    assert (again.returncode, again.stdout) == (1, "")
    assert key[15:] not in again.stderr
    revoked = {
        row["id"]: row["revoked"] for row in map(json.loads, done(program.run("keys", "list", "--json")).splitlines())
    }
    assert revoked[key[7:15]]
    assert revoked[other["id"]] is None


def test_what_is_wrong_with_a_key_is_said_in_one_line(program: Stockbell) -> None:
    before = done(program.run("keys", "list", "--json"))
    answer = program.run("keys", "create", "shop", "--scope", "create", "--origin", "https://shop.example/p")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "--origin must be https://host" in " ".join(answer.stderr.split())
    unknown = program.run("keys", "revoke", "nothing1")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "no such key, or revoked before: nothing1")
    assert done(program.run("keys", "list", "--json")) == before


def test_sign_ups_are_stopped_and_taken_and_the_audit_trail_says_who(program: Stockbell) -> None:
    assert "taken" in done(program.run("keys", "collecting"))
    assert "stopped" in done(program.run("keys", "stop"))
    assert "as before" in done(program.run("keys", "stop"))
    (state,) = map(json.loads, done(program.run("keys", "collecting", "--json")).splitlines())
    assert state["collectingRequests"] is False
    assert json.loads(done(program.run("keys", "start", "--json")))["changed"] is True
    assert program.run("keys", "stop", "other").returncode == 1
    key = json.loads(done(program.run("keys", "create", "ops", "--scope", "read", "--json")))["id"]
    done(program.run("keys", "revoke", key))
    rows = program.write(lambda c: list(_TRAIL(c)))
    assert [row.verb for row in rows] == ["keys stop", "keys start", "keys create", "keys revoke"]
    assert all(row.who.startswith("cli:") for row in rows)

"""The commands as processes, on SQLite: what they change, what they print, and where."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.acceptance.stockbell import Stockbell, done, refused
from tests.contract.shop import shop_at
from tests.redis_server import RedisServer

UNKNOWN = "01900000-0000-7000-8000-000000000000"


def test_a_request_is_created_shown_listed_ordered_marked_and_deleted(program: Stockbell) -> None:
    create = ("requests", "create", "Jane@Example.com", "mug-1", "--option", "size=L", "--locale", "de")
    created = json.loads(done(program.run(*create)))
    request = created["id"]
    assert created["email"] == "Jane@example.com"
    assert created["catalogReference"]["options"] == {"size": "L"}
    again = program.run(*create)
    assert (again.returncode, again.stdout.strip()) == (1, request)
    for priority in ("5", "0"):
        again = program.run(*create, "--priority", priority)
        assert (again.returncode, again.stdout.strip()) == (1, request)
        assert f"already waits for this item; its priority is {priority}\n" in again.stderr

    shown = json.loads(done(program.run("requests", "show", request, "--json")))
    why = shown.pop("why")
    assert shown == {**created, "attemptLog": [], "receipt": None, "cameBack": []}
    assert "has not come back in stock since" in why["sentence"]
    assert json.loads(done(program.run("why", "jane@example.com", "mug-1", "--json")))["sentence"] == why["sentence"]
    assert (
        "asked for size: L, not for size: M"
        in program.run("why", "jane@example.com", "mug-1", "--option", "size=M").stdout
    )
    assert "jane@example.com" in done(program.run("requests", "show", request)).lower()
    assert program.requests("--item", "mug-1", "--status", "received") == [created]
    assert request in done(program.run("requests", "list", "--email", "jane@example.com"))

    assert json.loads(done(program.run("report", "--item", "mug-1", "--json"))) == {"changed": 1, "refused": []}
    assert program.status()["queue"] == {"bells": 1}
    answer = program.run("mark-sent", request, UNKNOWN, "no-id", "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout) == {
        "changed": 1,
        "refused": [
            {"id": "no-id", "reason": "no such request"},
            {"id": UNKNOWN, "reason": "no such request"},
        ],
    }
    assert "is NOTIFICATION_SENT, not FAILED" in program.run("retry", request).stderr

    assert json.loads(done(program.run("requests", "delete", request, "--json"))) == {"changed": 1, "refused": []}
    again = program.run("requests", "delete", request, "--json")
    assert (again.returncode, json.loads(again.stdout)["refused"][0]["id"]) == (1, request)
    none = program.run("requests", "list", "--limit", "0")
    assert (len(done(none).splitlines()), none.stderr) == (1, "")
    assert refused(program.run("requests", "show", request)) == f"no such request: {request}"


def test_a_report_of_an_item_names_who_is_being_told_and_exits_with_1(alone: Stockbell) -> None:
    held, waiting = (
        json.loads(done(alone.run("requests", "create", f"{name}@example.com", "mug-1")))["id"]
        for name in ("jane", "joe")
    )
    with shop_at(alone.environment["DATABASE_URL"]) as shop:
        shop.change("UPDATE request SET status = 'PROCESSING' WHERE id = :id", id=UUID(held))
    answer = alone.run("report", "--item", "mug-1", "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout) == {"changed": 1, "refused": [{"id": held, "reason": "being sent"}]}
    again = alone.run("report", "--item", "mug-1")
    assert f"refused {held}: being sent" in again.stderr
    assert (again.returncode, again.stdout) == (1, "will be sent now: 1, refused: 1\n")
    assert [row["id"] for row in alone.requests("--status", "received")] == [waiting]


def test_bad_lines_of_an_import_are_named_and_the_good_ones_kept(program: Stockbell, tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    file.write_bytes(
        b"\xef\xbb\xbfemail;catalogItemId\r\njane@example.com;mug-1\r\njim@example.com;caf\xe9\r\n"
        b"joe.secret;mug-1\r\njoe@example.com;mug-1\r\n"
    )
    answer = program.run("import", str(file), "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout) == {"created": 2, "duplicate": 0, "rejected": 2}
    assert answer.stderr.splitlines() == ["line 3: is not UTF-8", "line 4: email has no @"]
    file.write_text("email,catalogItemId\njane@example.com,mug-1\n")
    assert done(program.run("import", str(file))) == "created: 0, duplicate: 1, rejected: 0\n"
    assert done(program.run("import", "-", text='{"email": "x@example.com", "catalogItemId": "1"}')).startswith(
        "created: 1"
    )
    file.write_text("address,catalogItemId\njane@example.com,mug-1\n")
    assert refused(program.run("import", str(file))).startswith("line 1: unknown column 1 (address)")
    assert "No such file" in refused(program.run("import", "nothing.csv"))
    assert len(program.requests()) == 3


def test_lines_that_would_expire_at_once_are_refused_also_by_a_dry_run(program: Stockbell) -> None:
    program.environment["STOCKBELL_REQUEST_TTL_DAYS"] = "90"
    old = {"email": "jane@example.com", "catalogItemId": "old-1", "createdDate": "2020-01-01T00:00:00Z"}
    try:
        for more in ((), ("--dry-run",)):
            answer = program.run("import", "-", "--json", *more, text=json.dumps(old))
            assert (answer.returncode, json.loads(answer.stdout)["rejected"]) == (1, 1)
            assert answer.stderr.startswith(
                "line 1: createdDate is over 90 days ago, which is STOCKBELL_REQUEST_TTL_DAYS\n"
            )
    finally:
        del program.environment["STOCKBELL_REQUEST_TTL_DAYS"]
    assert program.requests("--item", "old-1") == []


def test_a_dry_run_shows_how_a_file_is_understood_and_writes_nothing(program: Stockbell, tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_bytes("E-Mail;Art;Größe;Telefon\r\njane@example.com;mug-1;L;1\r\nnobody;mug-1;L;2\r\n".encode("cp1252"))
    said = ("import", str(file), "--map", "Art=catalogItemId", "--map", "Größe=option.Size")
    answer = program.run(*said, "--dry-run")
    assert answer.returncode == 1
    assert answer.stdout.splitlines() == [
        "CSV, separated by ;, Windows-1252",
        "  column 1  'E-Mail' is email",
        "  column 2  'Art' is catalogItemId",
        "  column 3  'Größe' is option.Size",
        "  column 4  'Telefon' is left out",
        "  email: jane@example.com  item: mug-1 Size=L",
        "created: 1, duplicate: 0, rejected: 1 (dry run: nothing was written)",
    ]
    refusal, charset, left_out = answer.stderr.splitlines()
    assert refusal == "line 3: email has no @"
    assert "read as Windows-1252" in charset
    assert left_out == "stockbell: left out: Telefon"
    as_json = json.loads(program.run(*said, "--dry-run", "--json").stdout)
    assert as_json["first"] == [{"email": "jane@example.com", "item": "mug-1 Size=L"}]
    assert as_json["dryRun"]
    assert program.requests() == []
    assert json.loads(program.run(*said, "--json").stdout) == {"created": 1, "duplicate": 0, "rejected": 1}


def test_an_export_can_be_imported_again_and_makes_nobody_wait_who_was_told(program: Stockbell) -> None:
    waits = done(program.run("requests", "create", "jane@example.com", "mug-1", "--json"))
    told = {**json.loads(waits), "email": "joe@example.com", "status": "NOTIFICATION_SENT"}
    answer = program.run("import", "-", text=f"{waits}{json.dumps(told)}\n")
    assert done(answer) == "created: 0, duplicate: 1, rejected: 0, skipped: 1\n"


def test_an_event_is_published_only_if_it_can_be_understood(program: Stockbell, redis_server: RedisServer) -> None:
    published = done(program.run("publish", "mug-1", "--quantity", "3", "--option", "size=L", "--name", "Blue mug"))
    with redis_server.client() as client:
        [(entry, fields)] = client.xrange("inventory:events")
        assert published.strip() == entry.decode()
        assert json.loads(fields[b"item"]) == {"name": "Blue mug"}
        assert (fields[b"quantity"], json.loads(fields[b"options"])) == (b"3", {"size": "L"})
        wrong = program.run("publish", "mug-1", "--in-stock", "--item-url", "javascript:alert(1)")
        assert "itemUrl must begin with https://" in refused(wrong)
        assert client.xlen("inventory:events") == 1


def test_events_need_no_database_and_make_none(program: Stockbell, tmp_path: Path) -> None:
    for name in ("new.db", "no/where.db"):
        program.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/{name}"
        assert "-" in json.loads(done(program.run("publish", "mug-1", "--in-stock", "--json")))["id"]
        assert done(program.run("dead-letters", "list")) == ""
    assert not (tmp_path / "new.db").exists()


def test_dead_letters_are_listed_with_their_reason(program: Stockbell, redis_server: RedisServer) -> None:
    assert done(program.run("dead-letters", "list", "--json")) == ""
    letter = {
        "event": "{",
        "originalId": "1-0",
        "reason": "event is not JSON",
        "receivedAt": "2026-11-23T09:00:00.000Z",
    }
    with redis_server.client() as client:
        client.xadd("inventory:events:dead", {"reason": "\x1b[2J of another program"})
        added: Any = client.xadd("inventory:events:dead", dict(letter))
    [found] = map(json.loads, done(program.run("dead-letters", "list", "--limit", "1", "--json")).splitlines())
    assert found == {
        "id": added.decode(),
        "originalId": "1-0",
        "reason": "event is not JSON",
        "receivedAt": "2026-11-23T09:00:00.000Z",
        "fields": {"event": "{"},
    }
    other, ours = done(program.run("dead-letters", "list")).splitlines()
    assert "?[2J of another program" in other
    assert ours.endswith('2026-11-23T09:00:00.000Z  event is not JSON  (entry 1-0)  {"event": "{"}')


def test_dead_letters_are_replayed_or_refused(program: Stockbell, redis_server: RedisServer) -> None:
    letter = {"catalogItemId": "mug-1", "originalId": "1795500000000-0", "reason": "x", "receivedAt": "y"}
    with redis_server.client() as client:
        good: Any = client.xadd("inventory:events:dead", {**letter, "quantity": "3"})
        bad: Any = client.xadd("inventory:events:dead", dict(letter))
        answer = program.run("dead-letters", "replay", "--all", "--json")
        assert answer.returncode == 1
        [refusal] = json.loads(answer.stdout)["refused"]
        assert (refusal["id"], json.loads(answer.stdout)["changed"]) == (bad.decode(), 1)
        [(_, fields)] = client.xrange("inventory:events")
        assert fields == {b"catalogItemId": b"mug-1", b"quantity": b"3", b"originalId": b"1795500000000-0"}
    assert "no such dead letter" in program.run("dead-letters", "replay", good.decode()).stderr


def test_dead_letters_are_dropped_or_refused(program: Stockbell, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        kept, first, *_ = (client.xadd("inventory:events:dead", {"reason": "x"}) for _ in range(4))
        answer = program.run("dead-letters", "drop", first.decode(), "1-0", "--json")
        assert (answer.returncode, json.loads(answer.stdout)) == (
            1,
            {"changed": 1, "refused": [{"id": "1-0", "reason": "no such dead letter"}]},
        )
        assert client.xrange("inventory:events:dead", count=1)[0][0] == kept
        assert refused(program.run("dead-letters", "drop", "1-0")) == "refused 1-0: no such dead letter"
        assert done(program.run("dead-letters", "drop", "--all")) == "dropped: 3\n"
        assert done(program.run("dead-letters", "drop", "--all")) == "dropped: 0\n"
        assert client.xlen("inventory:events:dead") == 0


def test_pause_and_resume_say_what_they_did(alone: Stockbell) -> None:
    done(alone.run("requests", "create", "jane@example.com", "mug-1", "--option", "size=L"))
    variant = ("--item", "mug-1", "--option", "size=L")
    assert done(alone.run("pause", *variant)) == "mug-1 size=L: paused\n"
    assert done(alone.run("pause", *variant)) == "mug-1 size=L: was paused already\n"
    assert done(alone.run("pause", "--item", "cup-1")).startswith("cup-1: paused; the item is not known yet")
    unknown = json.loads(done(alone.run("pause", "--item", "cup-2", "--json")))
    assert unknown == {"changed": 1, "refused": [], "known": False}
    assert done(alone.run("resume", "--item", "mug-1")) == "mug-1: was not paused\n"
    done(alone.run("pause"))
    assert done(alone.run("resume", *variant)) == "mug-1 size=L: resumed; but everything is still paused\n"


def test_a_customer_is_suppressed_shown_lifted_exported_and_erased(alone: Stockbell) -> None:
    alone.environment["STOCKBELL_SECRET_KEY"] = "0123456789abcdef" * 3
    create = ("requests", "create", "jane@example.com", "mug-1", "--json")
    waiting = json.loads(done(alone.run(*create)))["id"]
    answer = alone.run("contacts", "suppress", "-", "--json", text="Jane@example.com\nleft@example.com\nnobody\n")
    assert (answer.returncode, answer.stderr) == (1, "line 3: email has no @\n")
    assert json.loads(answer.stdout) == {"changed": 2, "already": 0, "requests": 1, "rejected": 1}

    kept = alone.run(*create, "--consent")  # what was done by hand is not lifted by consent
    assert (kept.returncode, json.loads(kept.stdout)["failureCode"]) == (1, "SUPPRESSED")
    shown = json.loads(done(alone.run("contacts", "show", "JANE@example.com", "--json")))
    assert (shown["suppressed"], shown["cause"], shown["by"]) == (True, "manual", "command line")
    assert {row["id"]: row["status"] for row in shown["requests"]}[waiting] == "FAILED"
    assert "manual" in done(alone.run("contacts", "list", "--cause", "manual", "--limit", "0"))
    assert "contacts unsuppress" in refused(alone.run("retry", waiting, "--force"))

    assert done(alone.run("contacts", "unsuppress", "jane@example.com")) == "get mail again: 1\n"
    exported = json.loads(done(alone.run("contacts", "export", "jane@example.com")))
    assert len(exported["requests"]) == 2

    erased = alone.run("contacts", "erase", "jane@example.com", "left@example.com", "eve@example.com", "--json")
    assert json.loads(erased.stdout) == {
        "changed": 2,
        "refused": [{"id": "eve@example.com", "reason": "no such contact"}],
    }
    assert {row["status"] for row in alone.requests()} == {"FAILED"}
    text = "email,catalogItemId\njane@example.com,mug-1\nleft@example.com,mug-1\n"
    imported = json.loads(done(alone.run("import", "-", "--json", text=text)))
    assert imported == {"created": 1, "duplicate": 0, "rejected": 0, "suppressed": 1}

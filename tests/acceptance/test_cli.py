"""The commands as processes, on SQLite: what they print, where, and how they end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import running
from tests.acceptance.stockbell import Stockbell
from tests.polling import eventually
from tests.redis_server import RedisServer
from tests.relay import ScriptedRelay

UNKNOWN = "01900000-0000-7000-8000-000000000000"
NOBODY_THERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def program(sqlite_url: str, redis_server: RedisServer, relay: ScriptedRelay, tmp_path: Path) -> Iterator[Stockbell]:
    yield from running(sqlite_url, redis_server, relay, tmp_path)


@pytest.fixture
def alone(tmp_path: Path, sqlite_url: str) -> Stockbell:
    """The program with a database, and nothing else there."""

    class Nowhere:
        url = NOBODY_THERE
        port = 1

    nowhere: Any = Nowhere()
    return Stockbell(sqlite_url, nowhere, nowhere, tmp_path)


Answer = subprocess.CompletedProcess[str]


def done(answer: Answer) -> str:
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def refused(answer: Answer, *, code: int = 1) -> str:
    """What it said on stderr: one line, no traceback."""
    assert answer.returncode == code, answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    return answer.stderr.removeprefix("stockbell: ").strip()


def test_a_request_is_created_shown_listed_ordered_marked_and_deleted(program: Stockbell) -> None:
    create = ("requests", "create", "Jane@Example.com", "mug-1", "--option", "size=L", "--locale", "de")
    created = json.loads(done(program.run(*create)))
    request = created["id"]
    assert created["email"] == "Jane@example.com"
    assert created["catalogReference"]["options"] == {"size": "L"}
    again = program.run(*create)
    assert (again.returncode, again.stdout.strip()) == (1, request)

    shown = json.loads(done(program.run("requests", "show", request, "--json")))
    assert shown == {**created, "attemptLog": []}
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

    done(program.run("requests", "delete", request))
    assert refused(program.run("requests", "show", request)) == f"no such request: {request}"


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
    file.write_text("mail,catalogItemId\njane@example.com,mug-1\n")
    assert refused(program.run("import", str(file))).startswith("line 1: unknown column 1 (mail)")
    assert "No such file" in refused(program.run("import", "nothing.csv"))
    assert len(program.requests()) == 3


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
    assert ours.endswith("2026-11-23T09:00:00.000Z  event is not JSON  (entry 1-0)")


def test_the_status_shows_a_pause_and_exits_with_0_without_redis(alone: Stockbell) -> None:
    done(alone.run("pause", "--item", "mug-1"))
    done(alone.run("pause"))
    answer = alone.run("status", "--json", "--check")
    found = json.loads(done(answer))
    assert found["paused"] == {"all": True, "items": ["mug-1"]}
    assert found["events"]["lag"] is None
    assert "Redis is away" in refused(answer, code=0)
    assert "everything, mug-1" in done(alone.run("status"))


def test_a_trouble_says_what_to_do(alone: Stockbell, tmp_path: Path) -> None:
    alone.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/new.db"
    for command in (("work",), ("publish", "mug-1", "--in-stock")):
        assert "run `stockbell migrate`" in refused(alone.run(*command))
    assert done(alone.run("migrate")).startswith("schema 0001: migrated")
    assert done(alone.run("migrate")) == "schema 0001: nothing to do\n"
    alone.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/no/where.db"
    assert "unable to open database file" in refused(alone.run("status"))
    assert "connecting to 127.0.0.1:1" in refused(alone.run("publish", "mug-1", "--in-stock"))


def test_a_bad_setting_is_named_and_not_shown(alone: Stockbell) -> None:
    alone.environment["REDIS_URL"] = "http://user:hunter2@localhost"
    said = refused(alone.run("listen"))
    assert said.startswith("REDIS_URL must begin with redis://")
    doctor = alone.run("doctor")
    assert doctor.returncode == 1
    assert doctor.stdout.startswith("FAIL  settings")
    assert "hunter2" not in said + doctor.stdout + doctor.stderr
    alone.environment["REDIS_URL"] = NOBODY_THERE
    del alone.environment["SMTP_URL"]
    assert refused(alone.run("work")).startswith("SMTP_URL is not set")


def test_the_doctor_finds_everything_well(program: Stockbell) -> None:
    lines = done(program.run("doctor")).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("settings", "database", "breaker", "events", "broker", "smtp", "templates")
    ]


def test_the_doctor_names_everything_that_is_wrong(alone: Stockbell, tmp_path: Path) -> None:
    (tmp_path / "mails").mkdir()
    alone.environment["STOCKBELL_TEMPLATE_DIR"] = "mails"
    answer = alone.run("doctor")
    assert answer.returncode == 1
    lines = {line.split()[1]: line for line in answer.stdout.splitlines()}
    assert [name for name, line in lines.items() if line.startswith("ok")] == ["settings", "database", "breaker"]
    assert "REDIS_URL" in lines["broker"]
    assert "127.0.0.1" in lines["smtp"]
    assert "back_in_stock/" in lines["templates"]


def test_whoever_stops_reading_hears_no_complaint(program: Stockbell) -> None:
    program.waiting("mug-1", 5)
    reading, writing = os.pipe()
    os.close(reading)
    answer = subprocess.run(
        [sys.executable, "-m", "worker", "requests", "list"],
        env=program.environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (1, "")


@pytest.mark.parametrize("command", ["listen", "work", "schedule"])
def test_a_process_waits_for_its_database_says_so_once_and_can_be_stopped(alone: Stockbell, command: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        alone.environment["DATABASE_URL"] = f"postgresql://stockbell:hunter2@127.0.0.1:{port}/shop"
        process = alone.start(command)
        eventually(lambda: "database.away" in alone.logs(), until="it says what it waits for")
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert f"127.0.0.1:{port}" in alone.logs()
    assert "hunter2" not in alone.logs()
    assert "Traceback" not in alone.logs()
    assert alone.logs().count("database.away") == 1

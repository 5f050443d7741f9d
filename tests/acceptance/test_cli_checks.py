"""The commands that look: doctor, status, preview, send-test, and what they all say about a trouble."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from tests.acceptance.stockbell import NOBODY_THERE, Loaded, Stockbell, done, refused
from tests.dns_server import DnsServer
from tests.polling import eventually
from tests.redis_server import RedisServer
from tests.relay import Do, ScriptedRelay
from worker.models import SCHEMA

KIND = Loaded


def test_the_status_shows_a_pause_and_that_redis_is_away(alone: Stockbell) -> None:
    done(alone.run("pause", "--item", "mug-1"))
    done(alone.run("pause"))
    answer = alone.run("status", "--json")
    found = json.loads(done(answer))
    assert found["paused"] == {"all": True, "items": ["mug-1"]}
    assert found["events"]["lag"] is None
    assert "Redis (events): " in refused(answer, code=0)
    assert "Redis (events): " in refused(alone.run("status", "--json", "--check"))
    assert "everything, mug-1" in done(alone.run("status"))


def test_a_trouble_says_what_to_do(alone: Stockbell, tmp_path: Path) -> None:
    alone.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/new.db"
    assert "run `stockbell migrate`" in refused(alone.run("work"))
    assert done(alone.run("migrate")).startswith(f"schema {SCHEMA}: migrated")
    assert done(alone.run("migrate")) == f"schema {SCHEMA}: nothing to do\n"
    alone.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/no/where.db"
    assert "no/where.db: there is no such folder" in refused(alone.run("status"))
    away = refused(alone.run("publish", "mug-1", "--in-stock"))
    assert away.startswith("Redis (events): ")
    assert "connecting to 127.0.0.1:1" in away


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


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    """The URL of a server that is a whole cluster."""
    with closing(RedisServer({"cluster-enabled": "yes"})) as server:
        server.skip_unless_ours()
        server.start()
        yield server.url


@pytest.mark.parametrize(
    "command",
    [
        "listen",
        "work",
        "schedule",
        "publish mug-1 --in-stock",
        "dead-letters list",
        "dead-letters drop --all",
        "status",
    ],
)
def test_a_redis_that_can_never_be_used_ends_every_command_with_one_line(
    alone: Stockbell, cluster_url: str, command: str
) -> None:
    alone.environment["REDIS_URL"] = cluster_url
    assert refused(alone.run(*command.split())).startswith("REDIS_URL names a Redis Cluster, which is not supported: ")


def test_a_redis_that_can_never_be_used_is_named_by_its_own_setting(
    program: Stockbell, redis_server: RedisServer, cluster_url: str
) -> None:
    program.environment["STOCKBELL_EVENTS_URL"] = cluster_url
    assert refused(program.run("listen")).startswith("STOCKBELL_EVENTS_URL names a Redis Cluster")
    doctor = program.run("doctor").stdout
    assert "FAIL  events      STOCKBELL_EVENTS_URL names a Redis Cluster" in doctor
    assert "ok    broker" in doctor
    program.environment |= {"STOCKBELL_EVENTS_URL": redis_server.url, "REDIS_URL": cluster_url}
    assert refused(program.run("listen")).startswith("REDIS_URL names a Redis Cluster")
    assert "FAIL  broker      REDIS_URL names a Redis Cluster" in program.run("doctor").stdout
    done(program.run("publish", "mug-1", "--in-stock"))


def test_a_bad_file_of_reply_rules_stops_who_sends_and_is_found_by_the_doctor(alone: Stockbell, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[rule]]\nname = "ours"\ncode = "550"\nblames = "them"\n')
    alone.environment["STOCKBELL_REPLY_RULES"] = str(own)
    trouble = "STOCKBELL_REPLY_RULES: own.toml: row 1 (ours): blames must be one of account, quota,"
    assert refused(alone.run("work")).startswith(trouble)
    assert f"FAIL  replies     {trouble}" in alone.run("doctor").stdout
    own.write_text('[[rule]]\nname = "ours"\ncode = "550"\nblames = "relay"\n')
    assert "ok    replies     rows of your own: 1" in alone.run("doctor").stdout
    assert json.loads(done(alone.run("explain-reply", "550 no", "--json")))["row"] == "ours"


def test_the_doctor_warns_of_mails_that_nobody_can_leave(program: Stockbell) -> None:
    assert "ok    sender      warning: a customer can't leave: " in done(program.run("doctor"))


def test_the_doctor_finds_everything_well(program: Stockbell) -> None:
    program.environment |= {"STOCKBELL_SECRET_KEY": "k" * 32, "STOCKBELL_BOUNCE_ADDRESS": "b+{token}@shop.example"}
    lines = done(program.run("doctor")).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name]
        for name in (
            "settings",
            "database",
            "schema",
            "breaker",
            "policies",
            "events",
            "listener",
            "broker",
            "smtp",
            "templates",
        )
    ]


def test_the_doctor_names_everything_that_is_wrong(alone: Stockbell, tmp_path: Path) -> None:
    (tmp_path / "mails" / "back_in_stock").mkdir(parents=True)
    (tmp_path / "mails" / "back_in_stock" / "body.txt").write_text("{% if %}")
    alone.environment["STOCKBELL_TEMPLATE_DIR"] = "mails"
    (tmp_path / "own.toml").touch()
    alone.environment["STOCKBELL_REPLY_RULES"] = "own.toml"
    answer = alone.run("doctor")
    assert answer.returncode == 1
    lines = {line.split()[1]: line for line in answer.stdout.splitlines()}
    assert [name for name, line in lines.items() if line.startswith("ok")] == [
        "settings",
        "database",
        "schema",
        "breaker",
        "policies",
        "sender",
    ]
    assert "REDIS_URL" in lines["events"]
    assert lines["broker"] == "-     broker      not checked: see events"
    assert "127.0.0.1" in lines["smtp"]
    assert lines["replies"].endswith("STOCKBELL_REPLY_RULES: own.toml has no rows: each begins with a line [[rule]]")
    assert "back_in_stock/" in lines["templates"]


@pytest.mark.parametrize("key", ["inventory:events", "inventory:events:dead"])
def test_the_doctor_sees_a_key_that_is_no_stream(program: Stockbell, key: str) -> None:
    with redis.Redis.from_url(program.environment["REDIS_URL"]) as client:
        client.set(key, "x")
    answer = program.run("doctor")
    assert answer.returncode == 1
    assert "FAIL  events      Redis (events): WRONGTYPE" in answer.stdout


def test_that_nobody_reads_the_events_is_said_until_somebody_does(program: Stockbell) -> None:
    done(program.run("status", "--check"))
    program.publish(catalogItemId="mug-1", quantity=5)
    answer = program.run("status", "--json", "--check")
    assert json.loads(answer.stdout)["events"]["unattended"] is True
    assert refused(answer) == "events wait and nobody reads them: run `stockbell listen`"
    assert "NOBODY READS THEM" in done(program.run("status"))
    assert "FAIL  listener    events wait and nobody reads them" in program.run("doctor").stdout
    program.start("listen")
    eventually(lambda: program.run("status", "--check").returncode == 0)
    assert program.status()["events"]["unattended"] is False


def test_the_doctor_tells_what_an_event_would_do(program: Stockbell) -> None:
    done(program.run("requests", "create", "jane@example.com", "mug-1", "--option", "size=L"))
    event = {"catalogItemId": "mug-1", "quantity": 5, "options": {"size": "S"}}
    answer = program.run("doctor", "--event", json.dumps(event))
    assert answer.returncode == 1
    understood, not_told = answer.stdout.splitlines()
    assert understood.startswith('ok    event       "mug-1" with size="S": in stock, quantity 5, as of 2')
    assert not_told == 'FAIL  not told    1 who waits for size="L": they want size="L", the event says "S"'
    event["options"] = {"size": "L"}
    found = json.loads(done(program.run("doctor", "--json", "--event", "-", text=json.dumps(event))))
    assert (found["ok"], found["told"]) == (True, 1)
    assert program.status()["unheard"] == {"items": 0, "example": None}, "nothing was applied"
    dead = program.run("doctor", "--event", "{}")
    assert (dead.returncode, dead.stdout) == (1, "FAIL  event       would be a dead letter: catalogItemId is missing\n")
    dead = program.run("doctor", "--json", "--event", "{}")
    assert json.loads(dead.stdout) == {"ok": False, "understood": False, "reason": "catalogItemId is missing"}


def test_the_status_tells_of_dead_letters_and_of_events_that_woke_nobody(program: Stockbell) -> None:
    done(program.run("requests", "create", "jane@example.com", "mug-1", "--option", "size=L"))
    program.start("listen")
    program.publish(catalogItemId="mug-1", quantity=5, options='{"size": "S"}')
    eventually(lambda: program.status()["unheard"]["items"] == 1)
    answer = program.run("status", "--check")
    assert answer.returncode == 0
    assert "stockbell: warning: 1 item came back in stock in the last 24 h and woke nobody" in answer.stderr
    assert "1 item came back in stock in the last 24 h and woke" in done(program.run("status"))
    for _ in range(2):
        program.publish(sku="mug-1", quantity=5)
    eventually(lambda: program.status()["events"]["deadShare"] == 0.667)
    said = program.run("status", "--check")
    assert said.returncode == 1
    assert "2 of the last 3 events could not be understood, mostly because: catalogItemId is missing" in said.stderr


def test_the_doctor_names_one_cause_once(program: Stockbell, tmp_path: Path) -> None:
    program.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/no/where.db"
    answer = program.run("doctor", "--json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert not found["ok"]
    assert {check["name"] for check in found["checks"] if check["ok"] is False} == {"database"}
    assert {check["name"] for check in found["checks"] if check["ok"] is None} == {"schema", "breaker", "policies"}


def test_who_only_looks_makes_no_database(alone: Stockbell, tmp_path: Path) -> None:
    home = tmp_path / "new"
    home.mkdir()
    alone.environment["DATABASE_URL"] = f"sqlite:///{home}/missing.db"
    doctor = json.loads(alone.run("doctor", "--json").stdout)["checks"]
    assert {
        "name": "database",
        "ok": False,
        "text": f"there is no file {home}/missing.db yet: run `stockbell migrate`",
    } in doctor
    assert {check["name"] for check in doctor if check["ok"] is None} >= {"schema", "breaker"}
    for command in (("status",), ("requests", "list"), ("listen",), ("schedule",)):
        assert "missing.db yet: run `stockbell migrate`" in refused(alone.run(*command))
    assert list(home.iterdir()) == []
    done(alone.run("migrate"))
    assert (home / "missing.db").exists()


def test_the_doctor_waits_5_seconds_for_a_relay_that_never_greets(program: Stockbell, relay: ScriptedRelay) -> None:
    relay.script("greeting", Do.SILENCE, always=True)
    answer = program.run("doctor")
    assert "FAIL  smtp        the relay did not accept the connection within 5 s" in answer.stdout


def test_the_doctor_looks_at_each_relay(program: Stockbell, relay: ScriptedRelay) -> None:
    with ScriptedRelay(users={"shop": "secret"}) as other:
        wrong = f"smtp://shop:wr0ng-passw0rd@127.0.0.1:{other.port}"
        program.environment["SMTP_URL"] = f"smtp://127.0.0.1:{relay.port}, {wrong}"
        answer = program.run("doctor")
        assert answer.returncode == 1
        lines = [line for line in answer.stdout.splitlines() if "smtp" in line.split()[1]]
        assert lines[0].startswith(f"ok    smtp 1      smtp://127.0.0.1:{relay.port} accepts connections")
        assert lines[1].startswith(f"FAIL  smtp 2      smtp://127.0.0.1:{other.port}: 535 5.7.8 wrong password")
        assert "wr0ng" not in answer.stdout + answer.stderr
        program.environment["SMTP_URL"] = f"smtp://127.0.0.1:{relay.port},{other.url}"
        found = json.loads(done(program.run("doctor", "--json")))
        assert [check["ok"] for check in found["checks"] if check["name"] in ("smtp 1", "smtp 2")] == [True, True]


def test_a_preview_is_written_to_files(alone: Stockbell, tmp_path: Path) -> None:
    del alone.environment["MAIL_FROM"]
    command = ("preview", "mug/1", "--locale", "de", "--option", "size=L", "--json")
    answer = alone.run(*command)
    assert "the mail does not name it" in answer.stderr
    files = {kind: tmp_path / path for kind, path in json.loads(done(answer)).items()}
    assert {path.name for path in files.values()} == {f"preview-mug_1-de.{kind}" for kind in ("html", "txt", "eml")}
    assert "https://shop.example/p/mug%2F1" in files["txt"].read_text()
    assert "https://shop.example/p/mug%2F1" in files["html"].read_text()
    assert b"Content-Language: de" in files["eml"].read_bytes()
    assert done(alone.run("preview", "mug/1", "--folder", "new/one")).startswith("new/one/preview-mug_1.html\n")
    assert "stockbell.db: File exists" in alone.run("preview", "mug/1", "--folder", "stockbell.db").stderr
    del alone.environment["STOCKBELL_ITEM_URL_TEMPLATE"]
    assert "give --item-url" in alone.run(*command).stderr


def test_a_preview_may_be_about_a_sample(alone: Stockbell, tmp_path: Path) -> None:
    del alone.environment["MAIL_FROM"], alone.environment["DATABASE_URL"]
    answer = alone.run("preview", "--sample", "right to left", "--locale", "ar", "--json")
    files = {kind: tmp_path / path for kind, path in json.loads(done(answer)).items()}
    assert files["html"].name == "preview-right_to_left-ar.html"
    assert 'dir="rtl"' in files["html"].read_text()
    assert "/u/" in files["txt"].read_text()
    assert answer.stderr.splitlines() == [
        "MAIL_FROM is not set: mails shown here are from shop@shop.example",
        "Mails have no way out, as STOCKBELL_SECRET_KEY and STOCKBELL_PUBLIC_URL (https) would give them: what is shown"
        " here is a sample",
    ]
    assert "but 'long name'" in refused(alone.run("preview", "--sample", "Long Nam"))
    other = alone.run("preview", "--sample", "usual", "--locale", "sw-KE").stderr
    assert "there is no mail in sw-KE: this one is in en\n" in other
    assert "there is no mail" not in alone.run("preview", "--sample", "usual", "--locale", "de_AT").stderr


def test_a_preview_is_as_one_customer_gets_it(alone: Stockbell, tmp_path: Path) -> None:
    own = "https://shop.example/p/own"
    request = ("requests", "create", "jane@customer.example", "mug-1", "--option", "size=L")
    done(alone.run(*request, "--locale", "de", "--item-url", own))
    answer = alone.run("preview", "mug-1", "--email", "Jane@Customer.example", "--json")
    files = {kind: tmp_path / path for kind, path in json.loads(done(answer)).items()}
    text = files["txt"].read_text()
    assert "Wieder" in files["eml"].read_text()
    assert "size: L" in text
    assert own in text
    assert b"To: Jane@customer.example\r\n" in files["eml"].read_bytes()
    assert "jane" not in answer.stderr.lower()
    other = alone.run("preview", "mug-1", "--email", "joe@customer.example")
    assert "mug-1: this customer has not asked for it: the mail is as for anybody" in other.stderr
    assert other.returncode == 0


def test_a_preview_says_what_the_mail_lacks(alone: Stockbell, tmp_path: Path) -> None:
    (tmp_path / "mails" / "back_in_stock").mkdir(parents=True)
    (tmp_path / "mails" / "back_in_stock" / "body.html").touch()
    alone.environment["STOCKBELL_TEMPLATE_DIR"] = "mails"
    answer = alone.run("preview", "mug-1")
    assert answer.returncode == 0
    assert "there is no HTML\n" in answer.stderr


def test_a_preview_is_opened_in_the_browser(alone: Stockbell, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    alone.environment["BROWSER"] = f"{browser} %s"
    done(alone.run_anew("preview", "mug-1", "--open"))
    assert (tmp_path / "opened").read_text() == (tmp_path / "preview-mug-1.html").as_uri() + "\n"
    alone.environment["BROWSER"] = "/nowhere/browser %s"
    assert "there is no browser to open it with: file:///" in alone.run_anew("preview", "mug-1", "--open").stderr


def test_the_preview_serves_until_it_is_told_to_end(alone: Stockbell, tmp_path: Path) -> None:
    del alone.environment["MAIL_FROM"]
    process = alone.start("preview", "mug-1", "--serve", "0", "--locale", "de", "--json")
    try:
        eventually(lambda: '"url"' in alone.logs(), until="it serves")
        [said] = [line for line in alone.logs().splitlines() if line.startswith("{")]
        url = json.loads(said)["url"]
        assert url.endswith("/?sample=item+mug-1&locale=de")
        with urlopen(url, timeout=30) as page:  # noqa: S310  # our own address
            assert "<bdi>item mug-1</bdi>, de" in page.read().decode()
        port = url.split(":")[2].partition("/")[0]
        taken = refused(alone.run("preview", "--serve", port))
        assert taken == f"port {port} is taken. stockbell preview --serve 0 takes a free one"
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert "Traceback" not in alone.logs()


def test_a_shop_changes_one_file_and_all_else_is_ours(alone: Stockbell, tmp_path: Path) -> None:
    answer = alone.run("templates", "export", "_base/mail.css", "back_in_stock/subject.txt", "--to", "mails", "--json")
    paths = json.loads(done(answer))
    assert answer.stderr == "mails are made of them if STOCKBELL_TEMPLATE_DIR=mails\n"
    alone.environment["STOCKBELL_TEMPLATE_DIR"] = "mails"
    before = json.loads(done(alone.run("preview", "mug-1", "--folder", "before", "--json")))
    (tmp_path / paths["back_in_stock/subject.txt"]).write_text("It is here: {{ catalog_item_id }}")
    (tmp_path / paths["_base/mail.css"]).write_text('@import "shipped/_base/mail.css"; h1.ink { color: #012345 }')
    assert "150 mails in 10 languages are made" in alone.run("doctor").stdout
    after = json.loads(done(alone.run("preview", "mug-1", "--folder", "after", "--json")))
    assert "<title>Back in stock: the item you asked about</title>" in (tmp_path / before["html"]).read_text()
    assert "<title>It is here: mug-1</title>" in (tmp_path / after["html"]).read_text()
    assert "color:#012345" in (tmp_path / after["html"]).read_text()
    assert (tmp_path / after["txt"]).read_text() == (tmp_path / before["txt"]).read_text()
    files = json.loads(done(alone.run("templates", "export", "--json")))
    assert [each["file"] for each in files if each["own"]] == ["_base/mail.css", "back_in_stock/subject.txt"]
    assert "_base/mail.css                  own     the looks of all mails\n" in done(alone.run("templates", "export"))
    assert done(alone.run("templates", "export", "_base/end.txt")) == f"{tmp_path}/mails/_base/end.txt\n"
    again = refused(alone.run("templates", "export", "_base", "confirm"))
    assert again == f"{tmp_path}/mails/_base/end.txt is there already, and nothing was written: --force replaces it"
    assert not (tmp_path / "mails" / "confirm").exists()


def test_what_is_wrong_with_templates_is_said_by_check_doctor_and_workers(program: Stockbell, tmp_path: Path) -> None:
    assert done(program.run("templates", "check")) == "ok    150 mails in 10 languages are made\n"
    (tmp_path / "mails" / "back_in_stock").mkdir(parents=True)
    (tmp_path / "mails" / "back_in_stock" / "body.txt").write_text("{{ itm_name }}")
    (tmp_path / "mails" / "mail.css").touch()
    program.environment["STOCKBELL_TEMPLATE_DIR"] = "mails"
    fault = "back_in_stock/body.txt: line 1: 'itm_name' is undefined; the nearest name is item_name"
    warning = "mail.css: is used by no mail. Ours is _base/mail.css"
    answer = program.run("templates", "check")
    assert (answer.returncode, answer.stdout) == (1, f"FAIL  {fault}\nwarn  {warning}\n")
    answer = program.run("templates", "check", "--json")
    assert (answer.returncode, json.loads(answer.stdout)["ok"]) == (1, False)
    assert [each["fault"] for each in json.loads(answer.stdout)["findings"]] == [True, False]
    answer = program.run("doctor")
    assert answer.returncode == 1
    assert f"FAIL  templates 1  {fault}\n" in answer.stdout
    assert f"ok    templates 2  warning: {warning}\n" in answer.stdout
    program.start("work", "-c", "1")
    eventually(lambda: '"worker.ready"' in program.logs(), until="it works all the same")
    said = [line for line in map(json.loads, program.logs().splitlines()) if line["event"].startswith("template.")]
    assert [(line["event"], f"{line['file']}: {line['reason']}") for line in said] == [
        ("template.wrong", fault),
        ("template.warning", warning),
    ]


def test_files_of_the_mail_are_exported_to_a_place_that_is_named(alone: Stockbell) -> None:
    answer = alone.run("templates", "export", "_base/mail.css")
    assert answer.returncode == 2
    assert "say where: --to DIR" in answer.stderr
    wrong = refused(alone.run("templates", "export", "mail.css", "--to", "mails"))
    assert wrong == "there is no file mail.css to export, but _base/mail.css"


def test_a_test_mail_may_be_about_several_items(program: Stockbell, relay: ScriptedRelay) -> None:
    done(program.run("send-test", "me@shop.example", "--item", "mug-1", "--item", "cup-2", "--locale", "de"))
    [mail] = relay.accepted
    content = bytes(mail.content)
    assert b"mug-1" in content
    assert b"cup-2" in content
    assert b"2 gew=C3=BCnschte Artikel" in content


def test_a_preview_of_several_items_is_one_mail(alone: Stockbell, tmp_path: Path) -> None:
    answer = alone.run("preview", "mug/1", "cup-2", "jug-3", "--locale", "de", "--json")
    assert answer.stderr.count("the mail does not name it") == 3
    assert "cup-2: no event has named" in answer.stderr
    files = {kind: tmp_path / path for kind, path in json.loads(done(answer)).items()}
    assert files["txt"].name == "preview-mug_1-and-2-more-de.txt"
    for url in ("mug%2F1", "cup-2", "jug-3"):
        assert f"https://shop.example/p/{url}" in files["txt"].read_text()
    assert "3 gewünschte Artikel" in files["html"].read_text()
    long = alone.run("preview", *["mug-1"] * 20, "--item-url", f"https://shop.example/{'&' * 500}")
    assert "the mail would be too long: it is about the first 10" in long.stderr
    del alone.environment["STOCKBELL_ITEM_URL_TEMPLATE"]
    assert "mug-1: no itemUrl in request or event: give --item-url" in alone.run("preview", "mug-1", "cup-2").stderr


def test_a_test_mail_goes_through_the_relay_and_is_not_recorded(program: Stockbell, relay: ScriptedRelay) -> None:
    relay.script("dot", "250 2.0.0 queued as A1")
    first, _, looks = done(program.run("send-test", "me@shop.example")).partition("\n")
    assert first == "250 2.0.0 queued as A1"
    [mail] = relay.accepted
    header = bytes(mail.content).partition(b"\r\n\r\n")[0].decode()
    assert header.splitlines() == looks.split("\n\n")[1].splitlines()
    assert "DSN          not offered\n" in looks
    assert "\nMISS  unsubscribe " in looks
    assert mail.recipient == "me@shop.example"
    relay.script("rcpt", "550 5.1.1 no such user")
    answer = program.run("send-test", "me@shop.example", "--item", "mug-1", "--json")
    found = json.loads(answer.stdout)
    assert (answer.returncode, found["sent"], found["reply"]) == (1, False, "550 5.1.1 no such user")
    assert found["returnPath"].endswith("@shop.example")
    assert found["dsn"] is False
    assert "one-click" in [rule["rule"] for rule in found["rules"] if rule["ok"] is False]
    relay.script("dot", Do.DROP)
    assert refused(program.run("send-test", "me@shop.example")).startswith("it is unknown whether the mail was sent: ")
    assert program.requests() == []


def test_a_mail_that_arrived_is_looked_at(alone: Stockbell, tmp_path: Path) -> None:
    mail = tmp_path / "arrived.eml"
    mail.write_bytes(b"Authentication-Results: mx.example; spf=pass; dmarc=none\r\nFrom: shop@shop.example\r\n\r\nhi")
    answer = alone.run("send-test", "--check-file", str(mail))
    assert (answer.returncode, answer.stderr) == (1, "")
    assert "MISS  DMARC " in answer.stdout
    found = json.loads(alone.run("send-test", "--check-file", str(mail), "--json").stdout)
    assert (found["ok"], {rule["rule"]: rule["ok"] for rule in found["rules"]}["SPF"]) == (False, True)
    assert refused(alone.run("send-test", "--check-file", "none.eml")) == "none.eml: No such file or directory"


def test_the_doctor_asks_the_dns(alone: Stockbell) -> None:
    alone.environment["MAIL_FROM"] = "shop@shop.example"
    records = {"shop.example TXT": ['"v=spf1 -all"'], "shop.example MX": ["0 ."]}
    with DnsServer(records) as server:
        place = f"{server.place.address}:{server.place.port}"
        command = ("doctor", "--dns", "--dkim-selector", "s1", "--name-server", place, "--json")
        answer = alone.run(*command)
        found = {check["name"]: check["ok"] for check in json.loads(answer.stdout)["checks"]}
        assert {name: found[name] for name in ("spf", "dmarc", "dkim s1", "mx")} == {
            "spf": True,
            "dmarc": False,
            "dkim s1": False,
            "mx": False,
        }
        del alone.environment["MAIL_FROM"]
        checks = json.loads(alone.run(*command).stdout)["checks"]
    assert checks[-1] == {"name": "dns", "ok": None, "text": "not checked: MAIL_FROM is not set"}


def test_a_test_mail_goes_through_the_first_relay_that_takes_it(program: Stockbell, relay: ScriptedRelay) -> None:
    with ScriptedRelay() as first:
        program.environment["SMTP_URL"] = f"{first.url},{relay.url}"
        assert done(program.run("send-test", "me@shop.example")).startswith(f"{first.url}: 250 ")
        first.script("rcpt", "421 4.3.2 not now", always=True)
        assert done(program.run("send-test", "me@shop.example")).startswith(f"{relay.url}: 250 ")
        first.script("connect", Do.DROP, always=True)
        answer = json.loads(done(program.run("send-test", "me@shop.example", "--json")))
        assert {name: answer[name] for name in ("sent", "reply", "relay")} == {
            "sent": True,
            "reply": "250 2.0.0 ok",
            "relay": relay.url,
        }
    assert (len(first.accepted), len(relay.accepted)) == (1, 2)


@pytest.mark.parametrize(
    ("options", "opened", "shown_each_time"),
    [(["--json"], os.pipe, b"RECEIVED"), ([], os.pipe, b"RECEIVED"), ([], pty.openpty, b"told today")],
)
def test_a_status_is_watched_until_it_is_interrupted(
    program: Stockbell, options: Sequence[str], opened: Callable[[], tuple[int, int]], shown_each_time: bytes
) -> None:
    reading, writing = opened()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "status", "--watch", *options],
        env=program.environment | {"TERM": "xterm"},
        stdout=writing,
    )
    program.processes.append(process)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as screen:
        shown = b""
        while shown.count(shown_each_time) < 2:
            more = screen.read(10_000)
            assert more, shown
            shown += more
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


COMMANDS_WITH_A_DATABASE = ("migrate", "listen", "work", "schedule", "import requests.csv", "status", "doctor")


@pytest.mark.parametrize("command", COMMANDS_WITH_A_DATABASE)
def test_a_database_that_only_reads_is_refused_before_anything_starts(
    alone: Stockbell, tmp_path: Path, postgres_url: str, command: str
) -> None:
    url = make_url(postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on".encode())
    (tmp_path / "requests.csv").write_text("email,catalogItemId\njane@customer.example,mug-1\n")
    alone.environment["DATABASE_URL"] = postgres_url
    answer = alone.run(*command.split())
    line = answer.stdout.splitlines()[1].split(maxsplit=2)[2] if command == "doctor" else refused(answer)
    assert answer.returncode == 1
    assert line.startswith(f"DATABASE_URL can't be used: {url.host}:{url.port}: only reads (a standby, or ")

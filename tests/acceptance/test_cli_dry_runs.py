"""`--dry-run` of publish, report and retry as processes: what they print, how they end, and that nothing is done."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.acceptance.stockbell import Stockbell, done, refused
from tests.contract.shop import shop_at

UNKNOWN = "01900000-0000-7000-8000-000000000000"


def create(program: Stockbell, name: str, item: str = "mug-1") -> str:
    found: str = json.loads(done(program.run("requests", "create", f"{name}@example.com", item, "--json")))["id"]
    return found


def fail(program: Stockbell, *ids: str) -> None:
    with shop_at(program.environment["DATABASE_URL"]) as shop:
        for id_ in ids:
            words = "UPDATE request SET status = 'FAILED', failure_code = 'RETRIES_EXHAUSTED' WHERE id = :id"
            shop.change(words, id=UUID(id_))


def as_json(program: Stockbell, *command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program.run(*command, "--dry-run", "--json").stdout)
    assert found["dryRun"]
    assert "@" not in json.dumps(found)
    return found


def test_publish_tells_who_would_be_told_without_redis(alone: Stockbell) -> None:
    alone.environment["STOCKBELL_NOTIFY_PER_UNIT"] = "1"
    jane, joe = create(alone, "jane"), create(alone, "joe")
    publish = ("publish", "mug-1", "--quantity", "1", "--name", "Blue\x1bmug")
    text = done(alone.run(*publish, "--dry-run")).splitlines()
    assert text[0].startswith('event     "mug-1", the whole item: in stock, quantity 1')
    assert text[1] == "told      2 who wait for no options"
    assert (text[2][:14], text[2].split()[2:]) == ("wave 1    now ", ["now", "1", "request"])
    assert (text[3].split()[0], text[3].split()[3:5]) == ("1.", [jane, "jane@example.com"])
    assert text[4].startswith("wave 2    2")
    assert text[4].endswith(" UTC  about 1 request")
    assert text[5] == "mail      subject: Back in stock: Blue mug"
    found = as_json(alone, *publish)
    assert (found["ok"], found["outcome"]["told"], found["first"]) == (True, 2, [jane, joe])
    assert [wave["requests"] for wave in found["waves"]] == [1, 1]
    assert "https://shop.example/p/mug-1" in found["mail"]["text"]
    assert [row["waiting"] for row in alone.requests()] == ["noStock", "noStock"]


def test_publish_exits_with_1_for_an_event_that_is_no_good(alone: Stockbell) -> None:
    create(alone, "jane")
    nobody = alone.run("publish", "mug-1", "--option", "size=L", "--quantity", "0", "--dry-run")
    assert nobody.returncode == 1
    assert "now       nobody" in nobody.stdout.splitlines()
    assert as_json(alone, "publish", "mug-1", "--quantity", "0")["ok"] is False
    assert "itemUrl" in refused(alone.run("publish", "mug-1", "--in-stock", "--item-url", "ftp://x", "--dry-run"))
    assert done(alone.run("publish", "cup-1", "--in-stock", "--dry-run")).splitlines()[-1] == "now       nobody"


def test_nothing_is_published(program: Stockbell) -> None:
    create(program, "jane")
    before = program.status()
    done(program.run("publish", "mug-1", "--in-stock", "--dry-run"))
    done(program.run("report", "--item", "mug-1", "--dry-run"))
    after = program.status()
    assert [after[name] for name in ("requests", "events", "queue")] == [
        before[name] for name in ("requests", "events", "queue")
    ]
    assert after["queue"] == {"bells": 0}


def test_report_tells_who_would_be_told_and_who_is_refused(alone: Stockbell) -> None:
    ids = [create(alone, "jane"), create(alone, "joe", "cup-1")]
    answer = alone.run("report", ids[1], UNKNOWN, "--dry-run")
    assert (answer.returncode, answer.stderr) == (1, f"refused {UNKNOWN}: no such request\n")
    text = answer.stdout.splitlines()
    assert text[0].split() == ["wave", "1", "now", "1", "request"]
    assert text[1].endswith(f"{ids[1]}  joe@example.com  cup-1 no options")
    assert text[-1] == "would be sent now: 1, refused: 1"
    found = as_json(alone, "report", "--all")
    assert (found["changed"], found["refused"], set(found["ids"])) == (2, [], set(ids))
    assert found["waves"][0]["requests"] == 2
    done(alone.run("pause", "--item", "cup-1"))
    assert as_json(alone, "report", "--all")["waiting"] == {"paused": 1}
    assert {row["waiting"] for row in alone.requests()} == {"noStock", "paused"}


def test_retry_tells_who_would_be_told_by_what_is_asked(alone: Stockbell) -> None:
    jane, joe = create(alone, "jane"), create(alone, "joe")
    fail(alone, jane, joe)
    waits = alone.run("retry", "--all", "--dry-run")
    text = done(waits).splitlines()
    assert text[:2] == [
        "now       nobody",
        "held      2 requests: no event has said that it is in stock since they signed up",
    ]
    assert [line.split()[2:4] for line in text[2:4]] == [[jane, "jane@example.com"], [joe, "joe@example.com"]]
    assert text[-1] == "would be retried: 2"
    assert as_json(alone, "retry", "--all")["waiting"] == {"noStock": 2}
    for told in (("--all", "--even-if-sold-out"), (jane, joe)):
        found = as_json(alone, "retry", *told)
        assert (found["changed"], found["ids"], found["waiting"]) == (2, [jane, joe], {})
        assert found["waves"][0]["places"] == {jane: 1, joe: 2}
    assert {row["status"] for row in alone.requests()} == {"FAILED"}


def test_in_quiet_hours_nothing_is_said_to_be_sent_now(alone: Stockbell) -> None:
    opening = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=12)
    window = f"daily {opening:%H:%M}-{opening + timedelta(minutes=1):%H:%M} UTC"
    alone.environment["STOCKBELL_SEND_WINDOW"] = window
    create(alone, "jane")
    when = f"sent after quiet hours, from {opening:%Y-%m-%d %H:%M} UTC on: 1"
    assert done(alone.run("report", "--item", "mug-1", "--dry-run")).splitlines()[-1] == f"would be {when}"
    assert done(alone.run("report", "--item", "mug-1")) == f"will be {when}\n"
    assert re.search(r"^│ due +│ 1, told after quiet hours +│$", done(alone.run("status")), re.MULTILINE)

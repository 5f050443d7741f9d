"""The command `insights`."""

import csv
import json
from collections.abc import Iterator

import pytest

from tests.acceptance.stockbell import Stockbell, done, refused
from worker.store import tally


@pytest.fixture
def program(alone: Stockbell) -> Iterator[Stockbell]:
    """The program with a database only: nothing else is needed."""
    yield alone
    alone.stop_all()


def test_it_shows_how_it_went(program: Stockbell) -> None:
    empty = done(program.run("insights"))
    assert "Told                            0" in empty
    assert "All mails                  none" in empty
    counts = {"told": 1204, "failed:RECIPIENT_REJECTED": 12, "le:0.5": 1204, "first_le:0.1": 3, "signup:created": 9}
    program.write(tally.add, counts)
    shown = done(program.run("insights", "--days", "30"))
    assert f"Told                        1,204  {'#' * 40}" in shown
    assert "RECIPIENT_REJECTED             12" in shown
    assert "First mail of a restock    p50 75 ms,  p90 95 ms,  p95 98 ms,  p99 100 ms" in shown
    assert "Sign-ups: 9 new requests." in shown
    found = json.loads(done(program.run("insights", "--json")))
    assert found["funnel"] == {"signedUp": 9, "woken": 1216, "told": 1204, "unsubscribed": 0}
    assert found["failures"] == {"RECIPIENT_REJECTED": 12}
    assert found["latency"]["p50"] == 0.375
    assert [bucket["n"] for bucket in found["firstLatency"]["buckets"] if bucket["le"] == "0.1"] == [3]
    assert sum(step["signups"].get("created", 0) for step in found["steps"]) == 9


def test_it_writes_tables_as_csv(program: Stockbell) -> None:
    program.write(tally.add, {"failed:EXPIRED": 2, "failed:BOUNCED": 1})
    head, *rows = csv.reader(done(program.run("insights", "--days", "7", "--csv", "failures")).splitlines())
    assert head == ["Time", "EXPIRED", "BOUNCED"]
    assert len(rows) == 29
    assert rows[-1][1:] == ["2", "1"]


@pytest.mark.parametrize(
    "options", [("--days", "0"), ("--days", "many"), ("--csv", "none"), ("--csv", "funnel", "--json")]
)
def test_what_is_wrong_is_refused_in_a_few_words(program: Stockbell, options: tuple[str, ...]) -> None:
    answer = program.run("insights", *options)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "Error" in answer.stderr


def test_without_the_database_it_says_so(program: Stockbell) -> None:
    program.environment["DATABASE_URL"] = "postgresql://127.0.0.1:1/none"
    assert refused(program.run("insights")) == "127.0.0.1:1: Connection refused"

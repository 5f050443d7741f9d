"""`stockbell capacity`: what it says, for people and for programs, and what it refuses."""

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker import cli
from worker.services.capacity import duration, rounded


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith(("STOCKBELL_", "SMTP_URL")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> tuple[int, str]:
    answer = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(cli.app, ["capacity", *arguments])
    return answer.exit_code, answer.output


def found(*arguments: str) -> dict[str, object]:
    code, text = run(*arguments, "--json")
    answer: dict[str, object] = json.loads(text)
    assert code == (0 if answer["enough"] else 1)
    return answer


def test_it_says_what_is_needed_what_is_the_limit_and_where_that_comes_from() -> None:
    code, text = run("--waiting", "1000000", "--minutes", "10", "--relay-latency", "20ms")
    assert code == 0
    assert text.startswith("1,000,000 mails about 1 item in 10 min: 1,670 mails/s\n")
    for words in ("worker children", "SMTP connections", "database connections", "memory", "write-ahead log"):
        assert words in text
    assert "the relay's answers" in text
    assert "<- the limit" in text
    assert "The limit is the relay's answers.\nFor more: more children or a higher STOCKBELL_SMTP_CONNECTIONS" in text
    assert "Assumed:   the relay answers after 20 ms, the database commits in 1 ms, pipelining, no TLS" in text
    assert "Measured:  on 20" in text
    assert "Left out:" in text


def test_where_the_time_is_too_short_it_says_how_long_it_takes() -> None:
    code, text = run("--waiting", "50k", "--minutes", "1h", "--rate-limit", "1000/day")
    assert code == 1
    assert "NOT in 1 h: it takes 50 d. The limit is the rate limit." in text


def test_very_little_is_said_as_such() -> None:
    text = run("--waiting", "1", "--minutes", "10")[1]
    assert text.startswith("1 mail about 1 item in 10 min")
    assert "under 0.01 cores" in text


def test_the_names_in_its_json_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    words = page.partition("With `--json`")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", words)) - {"relay_answers"}
    assert named == found("--waiting", "1000", "--children", "1").keys()


def test_given_children_are_not_exceeded() -> None:
    answer = found("--waiting", "1M", "--children", "2", "--relay-latency", "100ms", "--connections", "5")
    assert (answer["children"], answer["smtpConnections"], answer["wantedSeconds"]) == (2, 10, None)
    assert answer["limit"] == "relay_answers"
    both = found("--waiting", "1M", "--children", "2", "--minutes", "1", "--relay-latency", "100ms")
    assert (both["children"], both["enough"]) == (2, False)


def test_every_option_changes_the_answer() -> None:
    base = ["--waiting", "1M", "--minutes", "10", "--relay-latency", "5ms"]
    before = found(*base)
    for more in (
        ["--items", "1M"],
        ["--connections", "1"],
        ["--relay-connections", "3"],
        ["--rate-limit", "10/s"],
        ["--cores", "0.1"],
        ["--database-cores", "0.1"],
        ["--no-pipelining"],
        ["--tls"],
        ["--mail-size", "20KB"],
        ["--database-latency", "50ms"],
    ):
        assert found(*base, *more) != before, more


def test_settings_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKBELL_SMTP_CONNECTIONS", "3")
    monkeypatch.setenv("STOCKBELL_MAX_SEND_RATE", "5")
    answer = found("--waiting", "1000", "--children", "2")
    assert (answer["smtpConnections"], answer["limit"], answer["mailsPerSecond"]) == (6, "rate_limit", 5)
    assert found("--waiting", "1000", "--children", "2", "--rate-limit", "2/s")["mailsPerSecond"] == 2
    monkeypatch.setenv("STOCKBELL_SMTP_PIPELINING", "off")
    assert "no pipelining, no TLS" in run("--waiting", "1000", "--children", "2")[1]
    monkeypatch.setenv("SMTP_URL", "smtps://relay.example")
    assert "no pipelining, TLS" in run("--waiting", "1000", "--children", "2")[1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--waiting 10", "give --minutes, --children or both"),
        ("--waiting many --minutes 1", "--waiting: must be a whole number"),
        ("--waiting 10 --minutes soon", "--minutes: must be a time"),
        ("--waiting 10 --minutes 0", "--minutes: must be more than zero"),
        ("--waiting 10 --minutes 1 --relay-latency 20", "--relay-latency: must be a time with its unit"),
        ("--waiting 10 --minutes 1 --relay-latency=-1ms", "--relay-latency: must be a time"),
        ("--waiting 10 --minutes 1 --relay-latency 2min", "--relay-latency: must be at most 60 s"),
        ("--waiting 10 --minutes 1 --database-latency x", "--database-latency: must be a time"),
        ("--waiting 10 --minutes 1 --items 11", "--items: must not be more than --waiting"),
        ("--waiting 10 --minutes 1 --rate-limit fast", "--rate-limit: must be mails in a time"),
        ("--waiting 10 --minutes 1 --mail-size big", "--mail-size: must be a size"),
        ("--waiting 10 --minutes 1 --costs none.toml", "--costs: the file can't be read"),
        ("--waiting 10 --children 0", "--children"),
        ("--waiting 10 --minutes 1 --cores 0", "--cores"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option(line: str, words: str) -> None:
    code, text = run(*line.split())
    assert code == 2
    assert words in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0005, "0.5 ms"), (0.02, "20 ms"), (1.5, "1.5 s"), (59.7, "1 min"), (445, "7 min 25 s"), (3600, "1 h")),
        *((9999, "2 h 46 min"), (90_000, "1 d 1 h")),
    ],
)
def test_a_time_is_written_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0.0123, "0.012"), (1.26, "1.3"), (99.6, "100"), (1666.7, "1,670")])
def test_a_prediction_has_the_digits_it_is_good_for(number: float, text: str) -> None:
    assert rounded(number) == text

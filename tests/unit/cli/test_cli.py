"""The command line itself: its commands, the arguments that it refuses at once, and how it ends."""

import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from worker import cli
from worker.cli import arguments, contacts, requests
from worker.cli.output import say_pairs
from worker.cli.preview import with_port
from worker.domain.catalog import CatalogReference, catalog_reference, item_of
from worker.domain.errors import BadReference, BadUrl, StockbellError
from worker.domain.outcomes import TEMPLATE_ERROR
from worker.domain.returned import Cause
from worker.models import Status
from worker.services.publishing import NewEvent

MUG = CatalogReference(item_of("mug-1"))
COMMANDS = {
    "demo": [],
    "migrate": [],
    "listen": [],
    "work": ["--concurrency", "-c"],
    "schedule": [],
    "import": ["--map", "--charset", "--timezone", "--dry-run", "--json"],
    "publish": [
        "--app-id",
        "--option",
        "--quantity",
        "--in-stock",
        "--out-of-stock",
        "--name",
        "--price",
        "--currency",
        "--image-url",
        "--item-url",
        "--dry-run",
        "--json",
    ],
    "requests create": ["--app-id", "--option", "--json", "--item-url", "--locale", "--priority", "--consent"],
    "requests delete": ["--status", "--yes", "--json"],
    "requests show": ["--json"],
    "items show": ["--app-id", "--option", "--what-if", "--json"],
    "items list": ["--json"],
    "items set": [
        *("--app-id", "--min-quantity", "--per-unit", "--wave-seconds", "--settle-seconds", "--reset", "--json"),
    ],
    "why": ["EMAIL", "ITEM", "--app-id", "--option", "--json"],
    "requests list": ["--status", "--item", "--app-id", "--option", "--email", "--reason", "--limit", "--json"],
    "contacts suppress": ["--cause", "--json"],
    "contacts unsuppress": ["--json"],
    "contacts list": ["--cause", "--since", "--limit", "--json"],
    "contacts show": ["--json"],
    "contacts export": ["ADDRESS"],
    "contacts erase": ["--json"],
    "preview": [
        *("--sample", "--email", "--locale", "--app-id", "--option", "--item-url"),
        *("--folder", "--serve", "--open", "--json"),
    ],
    "templates check": ["--json"],
    "templates export": ["FILE", "--to", "--force", "--json"],
    "send-test": ["--check-file", "--item", "--app-id", "--option", "--item-url", "--locale", "--json"],
    "status": ["--json", "--check", "--watch"],
    "retry": [
        *("--item", "--app-id", "--option", "--reason", "--since", "--all"),
        *("--even-if-sold-out", "--dry-run", "--force", "--json"),
    ],
    "report": ["--item", "--app-id", "--option", "--domain", "--all", "--dry-run", "--json"],
    "mark-sent": ["--status", "--words", "--until", "--json"],
    "actions list": ["--who", "--verb", "--state", "--since", "--until", "--limit", "--json"],
    "actions show": ["--requests", "--json"],
    "actions undo": ["--json"],
    "actions stop": ["--json"],
    "pause": ["--item", "--app-id", "--option"],
    "resume": ["--item", "--app-id", "--option"],
    "dead-letters list": ["--limit", "--json"],
    "dead-letters replay": ["--all", "--json"],
    "dead-letters drop": ["--all", "--json"],
    "doctor": ["--event", "--dns", "--dkim-selector", "--name-server", "--json"],
    "explain-reply": ["--stage", "--json"],
    "capacity": [
        *("--waiting", "--minutes", "--children", "--relay-latency", "--database-latency", "--items", "--connections"),
        *("--relay-connections", "--rate-limit", "--cores", "--database-cores", "--no-pipelining", "--tls"),
        *("--mail-size", "--costs", "--json"),
    ],
}


def run(*arguments: str) -> tuple[int, str]:
    # The terminal is wide, so that no option's name is cut.
    answer = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(cli.app, arguments)
    return answer.exit_code, answer.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_contract_has_its_options_and_says_what_it_does(command: str) -> None:
    code, text = run(*command.split(), "--help")
    assert code == 0
    assert [option for option in COMMANDS[command] if option not in text] == []
    assert len(text.split()) > 15


def test_the_list_of_commands_is_shown_where_none_is_named() -> None:
    _, text = run()
    assert [command for command in COMMANDS if command.split()[0] not in text] == []


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version") == (0, f"stockbell {version('stockbell')}\n")
    assert "--version" in run("--help")[1]


@pytest.mark.parametrize(
    "line",
    [
        "retry",
        "retry 0190b2a0-0000-7000-8000-000000000000 --all",
        "retry --all --since yesterday",
        "retry --reason NO_LUCK",
        "retry --all --app-id app-1",
        "report",
        "report 0190b2a0-0000-7000-8000-000000000000 --item mug-1",
        "mark-sent",
        "publish mug-1",
        "publish mug-1 --quantity many",
        "publish mug-1 --in-stock --option size",
        "requests create jane@example.com",
        "requests create jane@example.com mug-1 --option =L",
        "requests create jane@example.com mug-1 --priority 10",
        "requests list --status WAITING",
        "requests list --limit -1",
        "requests list --option size=L",
        "contacts suppress",
        "contacts suppress jane@example.com --cause angry",
        "contacts list --since yesterday",
        "contacts show",
        "why",
        "why jane@example.com --option size=L",
        "pause --option size=L",
        "items set",
        "items set mug-1",
        "items set mug-1 --json",
        "items set mug-1 --per-unit 2 --option size=L",
        "items set mug-1 --per-unit 0",
        "items set mug-1 --per-unit 1.5",
        "items set mug-1 --min-quantity -1",
        "items set mug-1 --min-quantity 9223372036854775808",
        "items set mug-1 --wave-seconds 3661d",
        "items set mug-1 --reset --settle-seconds -1",
        "items set mug-1 --reset --settle-seconds=",
        "status --watch --check",
        "send-test",
        "send-test me@shop.example --option size=L",
        "send-test me@shop.example --check-file mail.eml",
        "dead-letters replay",
        "dead-letters replay 1-0 --all",
        "dead-letters drop",
        "dead-letters drop 1-0 --all",
        "work -c 0",
        "doctor --dkim-selector s1",
        "doctor --name-server 127.0.0.1",
        "doctor --dns --event {}",
        "doctor --dns --name-server dns.example",
        "doctor --dns --dkim-selector s1._domainkey.shop.example/",
        "explain-reply",
        "explain-reply hello",
        "explain-reply 250",
        "explain-reply 550 --stage later",
        "import",
        "import x.csv --map email",
        "import x.csv --timezone Mars",
        "capacity",
        "capacity --waiting 10",
        "preview",
        "preview" + " mug-1" * 21,
        "preview mug-1 --sample emoji",
        "preview --email jane@example.com",
        "preview --sample emoji --option a=b",
        "preview --serve --item-url https://shop.example/",
        "preview --sample emoji --email jane@example.com",
        "preview --serve 65536",
        "preview --serve --folder mails",
        "send-test me@shop.example" + " --item mug-1" * 21,
        "no-such-command",
    ],
)
def test_wrong_usage_ends_with_2(line: str) -> None:
    code, text = run(*line.split())
    assert code == 2
    assert "Usage" in text


@pytest.mark.parametrize(
    "line",
    [
        "requests create no-address mug-1",
        "contacts show no-address",
        "contacts export no-address",
        "send-test no-address",
        "preview mug-1 --locale not_a_language!",
        "preview mug-1 --email no-address",
        "preview --sample no-sample",
        "preview --serve --sample no-sample",
        f"publish {'x' * 37} --in-stock",
        "publish mug-1 --in-stock --option size=L --option size=M",
        "requests create jane@example.com mug-1 --item-url ftp://shop.example",
    ],
)
def test_what_can_only_be_wrong_is_refused_before_anything_is_asked(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stockbell", *line.split()])
    monkeypatch.setattr("config.settings.load", lambda: pytest.fail("it asked"))
    assert ended() == 1
    assert capsys.readouterr().err.startswith("stockbell: ")


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["--serve"], ["--serve=8090"]),
        (["--serve", "0"], ["--serve", "0"]),
        (["--serve", "9000", "mug-1"], ["--serve", "9000", "mug-1"]),
        (["12345", "--serve"], ["12345", "--serve=8090"]),
        (["--serve", "--open"], ["--serve=8090", "--open"]),
        (["--serve", "mug-1"], ["--serve=8090", "mug-1"]),
        (["--serve=9000"], ["--serve=9000"]),
        ([], []),
    ],
)
def test_the_port_of_the_preview_may_be_left_out(given: list[str], understood: list[str]) -> None:
    assert with_port(given) == understood


def ended() -> object:
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_a_trouble_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise StockbellError("what to do")

    monkeypatch.setattr(cli, "app", fail)
    assert ended() == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "stockbell: what to do\n")


def test_an_argument_that_is_no_text_is_named_by_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stockbell", "publish", "caf\udce9"])
    assert ended() == 2
    assert capsys.readouterr().err == "stockbell: argument 2 is not valid text\n"


def test_help_waits_for_no_heavy_library() -> None:
    heavy = ["sqlalchemy", "celery", "redis", "pydantic_settings", "jinja2", "alembic", "aiosmtplib", "email_validator"]
    code = f"import sys, worker.cli; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_processes_that_work_load_nothing_that_is_only_for_people() -> None:
    code = "import sys, worker.tasks; print([n for n in ('typer', 'rich', 'alembic') if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# Arguments


def test_the_states_and_reasons_that_can_be_asked_for_are_those_there_are() -> None:
    assert set(get_args(requests.StatusName)) == {status.value for status in Status}
    assert set(get_args(contacts.CauseName)) == {cause.value for cause in Cause}
    assert arguments.reason_of("template_error") == TEMPLATE_ERROR
    assert arguments.reason_of("expired") == "EXPIRED"
    assert arguments.reason_of(None) is None


def test_options_are_those_of_an_event() -> None:
    found = arguments.reference_of("mug-1", None, ["size=L", "note=a=b"])
    assert found == CatalogReference(item_of("mug-1"), (("note", "a=b"), ("size", "l")))
    assert found.spelled == (("note", "a=b"), ("size", "L"))
    assert arguments.optional_reference(None, None, None) is None
    with pytest.raises(BadReference):
        arguments.reference_of("mug-1", None, ["size=L", "size=M"])
    with pytest.raises(typer.BadParameter):
        arguments.reference_of("mug-1", None, ["size"])


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T09:00:00", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("2026-11-23t09:00:00z", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("2026-11-23T09:00:00+01:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
    ],
)
def test_a_time_is_utc_where_nothing_else_is_said(text: str, at: datetime) -> None:
    assert arguments.time_of(text) == at


def test_an_item_url_that_cant_go_into_a_mail_is_named() -> None:
    with pytest.raises(BadUrl, match=r"^itemUrl must begin with"):
        arguments.item_url("ftp://shop.example/p/1")


# Output and events


def test_values_that_are_not_there_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    say_pairs({"id": 1, "itemUrl": None, "status": "FAILED"})
    assert capsys.readouterr().out == "id      1\nstatus  FAILED\n"


def test_an_event_has_only_the_fields_that_were_given() -> None:
    assert NewEvent(MUG, quantity=0).fields() == {
        "catalogItemId": "mug-1",
        "appId": MUG.item.app_id,
        "quantity": "0",
    }


def test_an_event_may_say_everything_and_clear_what_was_said() -> None:
    reference = catalog_reference(MUG.item, {"size": "L"})
    event = NewEvent(reference, in_stock=True, name="Blue mug", price="", image_url="https://shop.example/m.jpg")
    assert event.fields() == {
        "catalogItemId": "mug-1",
        "appId": MUG.item.app_id,
        "options": '{"size": "L"}',
        "inStock": "true",
        "item": '{"name": "Blue mug", "price": null, "image": {"url": "https://shop.example/m.jpg"}}',
    }

"""What came back, as the sweep, the logs, `status` and `requests show` have it."""

import json
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.contract.lines import NotedBell
from tests.contract.reporting import WORDS, contact_of, record_told, report, return_token, take, told
from tests.contract.shop import LEASE, Shop, shop_at
from worker import cli
from worker.cli import session
from worker.domain import reply_rules
from worker.domain.errors import DatabaseAway
from worker.domain.returned import Kind
from worker.models import Report, Status
from worker.services.sweeping import Sweeper


def test_a_sweep_applies_early_reports_and_forgets_old_ones(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    take(shop, report(Kind.FAILED, return_token(claim)), report(Kind.OTHER))
    record_told(shop, claim)
    shop.change("UPDATE report SET at = stockbell_now(-3000000) WHERE kind = 'other'")
    with capture_logs() as logs:
        Sweeper(shop.database, NotedBell(), lease=LEASE, interval=5.0).put_in_line()
    assert shop.status(claim.id) is Status.FAILED
    assert [each for each in logs if each["event"] == "mail.failed"] == [
        {"event": "mail.failed", "log_level": "warning", "request_id": str(claim.id), "code": "BOUNCED"}
    ]
    assert shop.count(Report) == 1


def test_what_reports_change_is_logged_with_ids_and_without_addresses(shop: Shop) -> None:
    dead, complains = told(shop, 2)
    with capture_logs() as logs:
        take(shop, report(Kind.DEAD, return_token(dead)), report(Kind.COMPLAINT, return_token(complains)), source="ses")
    suppressed = {(each["contact_id"], each["cause"]) for each in logs if each["event"] == "contact.suppressed"}
    assert suppressed == {
        (str(contact_of(shop, dead.id)), "bounced"),
        (str(contact_of(shop, complains.id)), "complained"),
    }
    assert [each["request_id"] for each in logs if each["event"] == "mail.failed"] == [str(dead.id)]
    assert "@" not in repr(logs).replace("***@***", "")


def test_a_database_that_is_away_is_said() -> None:
    with shop_at("postgresql://nobody@127.0.0.1:1/none") as away, pytest.raises(DatabaseAway):
        take(away, report(Kind.DEAD))


@pytest.fixture
def shop_of_commands(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop whose database the commands use."""
    parts = SimpleNamespace(
        database=shop.database, settings=SimpleNamespace(lease_seconds=LEASE), reply_rules=reply_rules.shipped()
    )
    monkeypatch.setattr(session, "ready_parts", lambda: parts)
    return shop


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_request_is_shown_with_its_receipt_and_what_came_back_in_order(shop_of_commands: Shop) -> None:
    shop = shop_of_commands
    (claim,) = told(shop)
    shop.change("UPDATE request SET receipt = '250 2.0.0 Ok: queued as 4bXq'")
    token = return_token(claim)
    take(shop, report(Kind.DELAYED, token, words="450 busy"))
    shop.change("UPDATE report SET at = stockbell_now(-60)")
    take(shop, report(Kind.DEAD, token), source="imap")
    found = json.loads(run("requests", "show", str(claim.id), "--json"))
    assert (found["receipt"], found["failureCode"]) == ("250 2.0.0 Ok: queued as 4bXq", "BOUNCED")
    assert [(each["kind"], each["words"]) for each in found["cameBack"]] == [("delayed", "450 busy"), ("dead", WORDS)]
    shown = " ".join(run("requests", "show", str(claim.id)).split())
    assert shown.index("4bXq") < shown.index("450 busy") < shown.index("the address is dead") < shown.index("by imap")
    assert str(claim.id) in run("requests", "list", "--reason", "BOUNCED")

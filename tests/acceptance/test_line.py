"""From an event to a recorded mail, through the real processes."""

import json
from email import message_from_bytes
from email.policy import default

import pytest

from tests.acceptance.stockbell import Stockbell, told_exactly_once
from tests.polling import eventually
from tests.relay import Do


def test_an_event_tells_everybody_who_waits_once_and_nobody_else(any_stockbell: Stockbell) -> None:
    program = any_stockbell
    told = program.waiting("mug-1", 120)
    program.waiting("mug-2", 5)
    program.start_all(children=2)
    program.publish(catalogItemId="mug-1", quantity=5, item=json.dumps({"name": "Blue mug", "price": "12.50"}))
    program.until(NOTIFICATION_SENT=120, RECEIVED=5)
    assert told_exactly_once(program.mails(), told)
    mail = message_from_bytes(program.relay.accepted[0].content, policy=default)
    assert "Blue mug" in str(mail["Subject"])
    assert "https://shop.example/p/mug-1" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # it has one
    sent = program.requests("--item", "mug-1")
    assert {request["autoNotified"] for request in sent} == {True}
    assert {request["waiting"] for request in program.requests("--item", "mug-2")} == {"noStock"}


def test_what_the_relay_says_of_each_recipient_decides_about_each(stockbell: Stockbell) -> None:
    stockbell.waiting("mug-1", 8)
    stockbell.relay.script("rcpt", "550 5.1.1 no such user", recipient="mug-1-1@customer.example", always=True)
    stockbell.relay.script("rcpt", "450 4.2.1 try later", recipient="mug-1-2@customer.example")
    stockbell.relay.script("dot", "554 5.6.0 bad content", recipient="mug-1-3@customer.example")
    stockbell.relay.script("dot", Do.TAKE_AND_DROP, recipient="mug-1-4@customer.example")
    stockbell.start_all()
    stockbell.publish(catalogItemId="mug-1", inStock="true")
    stockbell.until(NOTIFICATION_SENT=6, FAILED=2)
    failed = {request["email"]: request["failureCode"] for request in stockbell.requests("--status", "FAILED")}
    assert failed == {
        "mug-1-1@customer.example": "RECIPIENT_REJECTED",
        "mug-1-3@customer.example": "MESSAGE_REJECTED",
    }
    twice = [mail for mail in stockbell.relay.accepted if mail.recipient == "mug-1-4@customer.example"]
    assert len({mail.message_id for mail in twice}) == 1, "a repeated mail keeps its Message-ID"


def test_what_nobody_understands_becomes_a_dead_letter_and_stops_nothing(stockbell: Stockbell) -> None:
    told = stockbell.waiting("mug-1", 3)
    stockbell.publish(event="{not json")
    stockbell.publish(event="[" * 10_000)
    stockbell.publish(catalogItemId="mug-1")
    stockbell.publish(catalogItemId="mug-1", quantity="5" * 5000)
    stockbell.publish(catalogItemId="mug-1", quantity=1, itemUrl="javascript:alert(1)")
    stockbell.publish(catalogItemId="mug-1", quantity=1, payload="x" * 1_000_000)
    stockbell.publish(catalogItemId="mug-1", quantity=3)
    stockbell.start_all()
    stockbell.until(NOTIFICATION_SENT=3)
    assert told_exactly_once(stockbell.mails(), told)
    assert stockbell.status()["events"]["deadLetters"] == 6


def test_stale_and_repeated_events_wake_nobody(stockbell: Stockbell) -> None:
    stockbell.waiting("mug-1", 3)
    told = stockbell.waiting("mug-2", 1)
    stockbell.start_all()
    stockbell.publish(catalogItemId="mug-1", quantity=0, occurredAt="2026-01-02T00:00:00Z")
    eventually(lambda: stockbell.logs().count("event.accepted") == 1, 60)
    stockbell.publish(catalogItemId="mug-1", quantity=9, occurredAt="2026-01-01T00:00:00Z")
    for _ in range(3):
        stockbell.publish(catalogItemId="mug-2", quantity=9, occurredAt="2026-01-01T00:00:00Z")
    stockbell.until(NOTIFICATION_SENT=1)
    eventually(lambda: stockbell.logs().count('"event.') == 5)
    assert told_exactly_once(stockbell.mails(), told)
    assert {request["waiting"] for request in stockbell.requests("--item", "mug-1")} == {"noStock"}


def test_two_of_every_process_tell_nobody_twice(stockbell: Stockbell) -> None:
    told = [address for item in ("mug-1", "mug-2", "mug-3") for address in stockbell.waiting(item, 200)]
    stockbell.start_all(listeners=2, workers=2, children=2, schedulers=2)
    for item in ("mug-1", "mug-2", "mug-3") * 3:
        stockbell.publish(catalogItemId=item, quantity=5)
    stockbell.until(NOTIFICATION_SENT=600)
    assert told_exactly_once(stockbell.mails(), told)


def test_a_wrong_password_opens_the_breaker_and_fails_nobody(stockbell: Stockbell) -> None:
    told = stockbell.waiting("mug-1", 10)
    stockbell.relay.users = {"shop": "secret"}
    url = f"smtp://shop:wr0ng-passw0rd@127.0.0.1:{stockbell.relay.port}"
    stockbell.start("listen")
    stockbell.start("schedule")
    worker = stockbell.start("work", "-c", "1", SMTP_URL=url)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    eventually(lambda: stockbell.breaker().state == "open", 60)
    assert "535" in stockbell.status()["breaker"]["reason"]
    assert stockbell.until(RECEIVED=10)["FAILED"] == 0
    assert {request["waiting"] for request in stockbell.requests()} == {"relayDown"}
    worker.terminate()
    assert worker.wait(60) == 0
    stockbell.start("work", "-c", "1", SMTP_URL=url.replace("wr0ng-passw0rd", "secret"))
    stockbell.until(NOTIFICATION_SENT=10)
    assert told_exactly_once(stockbell.mails(), told)
    assert "wr0ng-passw0rd" not in stockbell.logs()


def test_addresses_stay_out_of_all_logs(stockbell: Stockbell) -> None:
    stockbell.waiting("mug-1", 5)
    stockbell.relay.script(
        "rcpt", "550 5.1.1 <mug-1-1@customer.example>: unknown", recipient="mug-1-1@customer.example"
    )
    stockbell.start_all()
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=4, FAILED=1)
    assert "mail.failed" in stockbell.logs()
    assert "customer.example" not in stockbell.logs()
    for line in filter(None, stockbell.logs().splitlines()):
        json.loads(line)


@pytest.mark.parametrize("command", [("listen",), ("work", "-c", "1"), ("schedule",)])
def test_a_process_without_its_tables_names_the_command_that_makes_them(
    stockbell: Stockbell, empty_postgres_url: str, command: tuple[str, ...]
) -> None:
    stockbell.environment["DATABASE_URL"] = empty_postgres_url
    answer = stockbell.run(*command)
    assert answer.returncode == 1
    assert "stockbell migrate" in answer.stderr
    assert "Traceback" not in answer.stderr

"""From an event to a recorded mail, through the real processes."""

import json
from email import message_from_bytes
from email.policy import default

import pytest

from tests.acceptance.stockbell import Stockbell, told_exactly_once


def test_an_event_tells_everybody_who_waits_once_and_nobody_else(stockbell: Stockbell) -> None:
    program = stockbell
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


@pytest.mark.parametrize("command", [("listen",), ("work", "-c", "1"), ("schedule",)])
def test_a_process_without_its_tables_names_the_command_that_makes_them(
    stockbell: Stockbell, empty_postgres_url: str, command: tuple[str, ...]
) -> None:
    stockbell.environment["DATABASE_URL"] = empty_postgres_url
    answer = stockbell.run(*command)
    assert answer.returncode == 1
    assert "stockbell migrate" in answer.stderr
    assert "Traceback" not in answer.stderr

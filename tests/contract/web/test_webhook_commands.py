"""Endpoints as admins make and look after them: the commands, and what is told again."""

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner, Result

from tests.contract.shop import Shop
from tests.contract.web.receiver import Office, Reply, pem, receiver
from tests.redis_server import RedisServer
from worker import cli
from worker.cli import session
from worker.domain.webhooks import Format
from worker.services import webhooks
from worker.store import admin, deliveries, endpoints
from worker.stream.sink import STREAM
from worker.web import signing

Run = Callable[..., Result]


@pytest.fixture
def run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(session, "ready_parts", lambda: SimpleNamespace(database=shop.database))
    pems = iter(("one", "two"))
    monkeypatch.setattr(signing, "new_private_pem", lambda: pem(next(pems)))

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["webhooks", *arguments])
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_an_endpoint_is_added_tried_rotated_and_removed(run: Run, shop: Shop) -> None:
    with receiver(lambda _call: Reply(200, {}, b"thanks")) as got:
        made = json.loads(run("add", got.url, "--allow-private", "--json").stdout)
        assert "taken (200)" in run("test", made["id"]).stdout
        new = run("rotate", made["id"]).stdout.strip()
        answer = json.loads(run("test", made["id"], "--json").stdout)
    assert answer == {"status": 200, "why": None, "answer": "thanks"}
    for secret in (new, made["secret"]):
        Webhook(secret).verify(got.calls[1].body, dict(got.calls[1].headers))
    listed = run("list")
    assert "whsec_" not in listed.output
    run("test", made["id"], code=1)
    assert "removed" in run("remove", made["id"]).stdout
    assert "no such endpoint" in run("remove", made["id"], code=1).stderr
    assert "no endpoints" in run("list").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://127.0.0.1:1/"], "not a public one"),
        (["https://localhost/"], "not a public one"),
        (["https://nowhere.invalid/"], "no address"),
        (["ftp://shop.example/"], "https://"),
        (["redis://127.0.0.1/0", "--format", "wix"], "standard"),
        (["redis://127.0.0.1:port/0"], "URL"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused(run: Run, arguments: list[str], words: str) -> None:
    assert words in run("add", *arguments, code=2).stderr


def test_a_password_is_not_shown(run: Run) -> None:
    run("add", "redis://:hush@127.0.0.1:1/0")
    assert "hush" not in run("list").output + run("list", "--json").output


def test_the_key_is_made_once_and_shown_as_pem(run: Run, shop: Shop) -> None:
    assert "keygen" in run("public-key", code=1).stderr
    made = run("keygen").stdout
    assert "already" in run("keygen", code=1).stderr
    assert run("public-key").stdout == made
    with receiver() as got:
        endpoint = json.loads(run("add", got.url, "--allow-private", "--format", "wix", "--json").stdout)
        run("test", endpoint["id"])
    assert jwt.decode(got.calls[0].body, made, ["RS256"])["data"]
    run("keygen", "--replace")
    assert run("public-key").stdout != made


def test_a_disabled_endpoint_is_enabled_and_told_what_it_missed(run: Run, shop: Shop) -> None:
    office = Office(shop)
    with receiver() as got:
        endpoint = office.add(got.url)
        shop.write(endpoints.disable, endpoint.id, endpoints.GONE)
        assert endpoints.GONE in run("list").stdout
        request_id = shop.sign_up()
        hint = run("enable", str(endpoint.id)).stderr
        since = hint.split("--since ")[1].strip()
        assert "to be told again: 1" in run("resync", str(endpoint.id), "--since", since).stdout
        office.tell()
        assert got.ids == [f"{request_id}.1"]
        assert "taken" in run("deliveries", str(endpoint.id)).stdout
        (shown,) = run("deliveries", str(endpoint.id), "--json").stdout.splitlines()
        assert json.loads(shown)["webhookId"] == f"{request_id}.1"
        assert "enabled already" in run("enable", str(endpoint.id)).stdout
    office.close()


def test_the_hint_begins_with_the_oldest_that_was_waiting_when_it_was_disabled(run: Run, shop: Shop) -> None:
    endpoint = shop.write(endpoints.add, "https://example.com/", Format.STANDARD, is_full=False, allows_private=False)
    id_ = str(endpoint.id)
    shop.sign_up()
    shop.change("UPDATE request SET created_date = stockbell_now(-7000)")
    shop.change("UPDATE webhook_delivery SET created_date = stockbell_now(-7200)")
    shop.write(endpoints.disable, endpoint.id, endpoints.BEHIND)
    shop.write(deliveries.tidy)
    assert "it is disabled" in run("resync", id_, "--since", "2020-01-01T00:00:00Z", code=1).stderr
    since = run("enable", id_).stderr.split("--since ")[1].strip()
    assert "to be told again: 1" in run("resync", id_, "--since", since).stdout


def test_a_resync_waits_while_too_much_waits(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "CHUNK", 2)
    endpoint = shop.write(endpoints.add, "https://example.com/", Format.STANDARD, is_full=False, allows_private=False)
    shop.write(endpoints.disable, endpoint.id, "for a moment")
    shop.sign_up_many(5)
    shop.write(endpoints.enable, endpoint.id)
    waited: list[int] = []

    def wait(behind: int) -> None:
        waited.append(behind)
        shop.change("UPDATE webhook_delivery SET due_at = NULL, done_at = stockbell_now(0)")

    assert webhooks.resync(shop.database, endpoint.id, shop.now() - timedelta(hours=1), wait, most=2) == 5
    assert waited == [2, 2]


def test_status_tells_of_endpoints_only_if_there_are_any(shop: Shop) -> None:
    assert shop.database.read(webhooks.figures) is None
    endpoint = shop.write(endpoints.add, "https://example.com/", Format.STANDARD, is_full=False, allows_private=False)
    shop.sign_up()
    found: Any = shop.database.read(webhooks.figures)
    assert (found.endpoints, found.backlog, found.disabled) == (1, 1, {})
    assert found.oldest_seconds is not None
    shop.write(endpoints.disable, endpoint.id, endpoints.FAILING)
    found = shop.database.read(webhooks.figures)
    assert found.as_json()["disabled"] == {str(endpoint.id): endpoints.FAILING}
    assert "1 disabled" in found.words


def test_a_stream_in_redis_is_told_and_caught_up_with(shop: Shop, redis_server: RedisServer) -> None:
    office = Office(shop)
    redis_server.flush()
    endpoint = office.add(redis_server.url)
    request_id = shop.sign_up()
    office.tell()
    shop.write(admin.mark_sent, [request_id])
    office.tell()
    client: Any = redis_server.client()
    told = [fields for _, fields in client.xrange(STREAM)]
    assert [fields[b"id"].decode() for fields in told] == [f"{request_id}.1", f"{request_id}.2"]
    assert json.loads(told[1][b"event"])["data"]["status"] == "NOTIFICATION_SENT"
    assert all(row.why is None for row in shop.database.read(deliveries.last, endpoint.id, 9))
    office.close()

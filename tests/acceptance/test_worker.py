"""The worker's ordinary troubles: it is stopped, Redis goes away and comes back, somebody sends rubbish."""

import json
import os
import signal
import time
import uuid
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.stockbell import LEASE, Stockbell, children, descendants, is_alive, told_exactly_once
from tests.polling import eventually
from tests.proxy import HOST, Proxy
from tests.redis_server import RedisServer
from tests.relay import Do
from worker.processes.pool_child import LEASELESS_SECONDS
from worker.queue.bell import Bell, celery_app

BELLS = "stockbell:bells"

RUBBISH = [
    "no JSON",
    b"\xff\xfe",
    "null",
    "[1, 2]",
    "{}",
    "[" * 100_000,
    '{"__type__": "uuid", "__value__": {}}',
]

THEIR_TASK: dict[str, object] = {
    "task": "stockbell.deliver",
    "args": [[]],
    "kwargs": {},
    "options": {},
    "subtask_type": None,
}


def ready(program: Stockbell, workers: int = 1) -> None:
    eventually(lambda: program.logs().count("worker.ready") == workers, 60, until="the worker is ready")


def logged(program: Stockbell) -> list[dict[str, Any]]:
    """Returns what was logged, without a line that is still being written."""
    return [json.loads(line) for line in program.logs().splitlines() if line.endswith("}")]


def count(program: Stockbell, event: str) -> int:
    return [line["event"] for line in logged(program)].count(event)


def enveloped(body: str, **headers: object) -> str:
    """Returns a message as kombu puts it into the queue."""
    return json.dumps(
        {
            "body": body,
            "content-type": headers.pop("content_type", "application/json"),
            "content-encoding": "utf-8",
            "headers": {"task": "stockbell.deliver", "id": "1", **headers},
            "properties": {"delivery_tag": str(uuid.uuid4())},
        }
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_replies_in_flight_are_waited_for_but_not_for_ever(stockbell: Stockbell, number: signal.Signals) -> None:
    stockbell.waiting("mug-1", 2)
    stockbell.relay.script("dot", Do.SILENCE, recipient="mug-1-1@customer.example")
    stockbell.start_all()
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=1, PROCESSING=1)
    worker = stockbell.processes[1]
    below = descendants(worker.pid)
    os.killpg(worker.pid, number)
    os.killpg(worker.pid, number)
    assert worker.wait(60) == 0
    # The parent waits until a child has released its pipe. The kernel does that a moment before the child is gone.
    eventually(lambda: not any(map(is_alive, below)), until="nobody is left")
    assert stockbell.counts()["PROCESSING"] == 0
    assert "Traceback" not in stockbell.logs()


def test_changed_templates_are_used_from_a_hang_up_on(stockbell: Stockbell, tmp_path: Path) -> None:
    subject = tmp_path / "mails" / "back_in_stock" / "subject.txt"
    subject.parent.mkdir(parents=True)
    subject.write_text("First")
    stockbell.start("listen")
    worker = stockbell.start("work", "-c", "1", STOCKBELL_TEMPLATE_DIR="mails")
    ready(stockbell)
    told = [stockbell.waiting(item, 1)[0] for item in ("mug-1", "mug-2", "mug-3")]
    assert _subject(stockbell, "mug-1", told[0]) == "First"
    subject.write_text("Second")
    eventually(lambda: count(stockbell, "template.changed"), until="the change is noticed")
    (child,) = children(children(worker.pid)[0])
    os.kill(child, signal.SIGKILL)  # the next one has what the first one had
    assert _subject(stockbell, "mug-2", told[1]) == "First"
    worker.send_signal(signal.SIGHUP)
    ready(stockbell, 2)
    assert _subject(stockbell, "mug-3", told[2]) == "Second"
    assert count(stockbell, "template.changed") == 1
    assert count(stockbell, "worker.started_anew") == 1
    assert count(stockbell, "worker.exited") == 0


def _subject(program: Stockbell, item: str, address: str) -> str:
    """Returns the subject of the mail that an event about an item makes."""
    program.publish(catalogItemId=item, quantity=5)
    eventually(lambda: program.mails()[address], until="the mail is there")
    (mail,) = [each for each in program.relay.accepted if each.recipient == address]
    return str(message_from_bytes(bytes(mail.content))["Subject"])


def test_whoever_has_lost_its_lease_to_a_silent_database_ends_soon(stockbell: Stockbell) -> None:
    stockbell.waiting("mug-1", 1)
    url = make_url(stockbell.environment["DATABASE_URL"])
    with Proxy(url.port or 0) as proxy:
        through = url.set(host=HOST, port=proxy.port).render_as_string(hide_password=False)
        stockbell.start("listen")
        worker = stockbell.start("work", "-c", "1", DATABASE_URL=through)
        stockbell.waiting("cup-1", 1)
        stockbell.publish(catalogItemId="cup-1", quantity=5)
        stockbell.until(NOTIFICATION_SENT=1)  # so it has its connections
        proxy.fall_silent()
        stockbell.publish(catalogItemId="mug-1", quantity=5)
        eventually(lambda: proxy.kept == 2, until="its heartbeat and its slice wait for the database")
        time.sleep(LEASE)
        worker.terminate()
        assert worker.wait(60) == 0
    (end,) = [line for line in logged(stockbell) if line["event"] == "child.cut_off"]
    assert end["after_seconds"] == LEASELESS_SECONDS


def test_a_worker_leaves_no_file_behind_even_if_its_pool_is_killed(stockbell: Stockbell, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    supervisor = stockbell.start("work", "-c", "1", TMPDIR=str(temporary))
    ready(stockbell)
    (celery,) = children(supervisor.pid)
    os.kill(celery, signal.SIGKILL)
    ready(stockbell, 2)
    supervisor.terminate()
    assert supervisor.wait(60) == 0
    assert list(temporary.iterdir()) == []


def test_that_redis_is_away_and_back_is_said_once_each(
    stockbell: Stockbell, redis_server: RedisServer, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    stockbell.waiting("mug-1", 1)
    stockbell.relay.script("dot", Do.HOLD)
    stockbell.start_all()
    worker = stockbell.start("work", "-c", "1", TMPDIR=str(temporary))
    ready(stockbell, 2)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(PROCESSING=1)
    stockbell.processes[0].kill()
    stockbell.processes[2].kill()
    redis_server.kill()
    eventually(lambda: count(stockbell, "redis.away") == 2, 60)
    stockbell.relay.release()
    stockbell.until(NOTIFICATION_SENT=1)
    redis_server.start()
    eventually(lambda: count(stockbell, "redis.back") == 2, 60)
    assert worker.poll() is None
    assert count(stockbell, "redis.away") == 2
    assert [
        line for line in logged(stockbell) if line.get("logger", "").startswith(("celery", "kombu", "py.warnings"))
    ] == []
    worker.terminate()
    assert worker.wait(60) == 0
    assert list(temporary.iterdir()) == []


def test_a_redis_that_only_reads_is_away_until_it_is_a_primary_again(
    stockbell: Stockbell, redis_server: RedisServer
) -> None:
    told = stockbell.waiting("mug-1", 1)
    with redis_server.client() as client:
        worker = stockbell.start("work", "-c", "1")
        ready(stockbell)
        (celery,) = children(worker.pid)
        client.replicaof(HOST, "1")  # while the worker waits in BRPOP
        eventually(lambda: count(stockbell, "redis.away") == 1, until="it says so")
        late = stockbell.start("work", "-c", "1")  # this worker begins with a replica
        eventually(lambda: count(stockbell, "redis.away") == 2, until="the other says so too")
        client.replicaof("NO", "ONE")
        eventually(lambda: count(stockbell, "redis.back") == 2, until="both listen")
        client.replicaof(HOST, "1")
        eventually(lambda: count(stockbell, "redis.away") == 4, until="they say so each time")
        late.terminate()
        assert late.wait(60) == 0
        client.replicaof("NO", "ONE")
        eventually(lambda: count(stockbell, "redis.back") == 3, until="the other listens")
    stockbell.start("listen")
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=1)
    assert told_exactly_once(stockbell.mails(), told)
    assert children(worker.pid) == [celery], "it never left"
    reasons = {line["reason"] for line in logged(stockbell) if line["event"] == "redis.away"}
    assert {reason.split()[0] for reason in reasons} == {"UNBLOCKED", "You"}, "amid BRPOP, and at the start"
    assert "You can't write against a read only replica." in reasons
    assert count(stockbell, "worker.exited") == 0
    assert "Traceback" not in stockbell.logs()


def test_what_is_no_bell_is_dropped_with_one_line_and_stops_nothing(
    stockbell: Stockbell, redis_server: RedisServer, tmp_path: Path
) -> None:
    rubbish = [
        *RUBBISH,
        enveloped("no JSON"),
        enveloped("[[], {}, {}]", content_type="application/x-python-serialize"),
        enveloped("[[], {}, {}]", content_type="application/x-yaml"),
        enveloped("cos\nsystem\n(S'touch owned'\ntR.", content_type="application/x-python-serialize"),
        enveloped("!!python/object/apply:os.system ['touch owned']", content_type="application/x-yaml"),
        enveloped("[[], {}, {}]", task="celery.backend_cleanup"),
        enveloped("[[], {}, {}]", task={}),
        enveloped("[[], {}, {}]", eta="2099-01-01T00:00:00Z"),
        enveloped("[[], {}, {}]", expires="2099-01-01T00:00:00Z"),
        enveloped("[[], {}, 5]"),
        *(
            enveloped(json.dumps([[], {}, {then: [THEIR_TASK]}]))
            for then in ("callbacks", "errbacks", "chain", "chord")
        ),
        enveloped('[[], {"lists": []}, {}]'),
        enveloped('[[["mug-1"]], {}, {}]'),
        enveloped('[["mug-1"], {}, {}]'),
        enveloped(json.dumps([[[str(uuid.uuid4())] * 101], {}, {}])),
        enveloped("x" * 8_000_000),
    ]
    told = stockbell.waiting("mug-1", 1)
    stockbell.start_all()
    ready(stockbell)
    with redis_server.client() as client:
        client.lpush(BELLS, *rubbish)
    eventually(lambda: count(stockbell, "bell.rejected") == len(rubbish), until="all are rejected")
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=1)
    assert told_exactly_once(stockbell.mails(), told)
    assert count(stockbell, "worker.exited") == count(stockbell, "redis.away") == 0
    assert list(tmp_path.rglob("owned")) == []


def test_a_stranger_gives_workers_no_orders(stockbell: Stockbell, redis_server: RedisServer) -> None:
    told = stockbell.waiting("mug-1", 1)
    stockbell.start_all()
    ready(stockbell)
    app = celery_app(lambda: redis_server.url)
    for order in ("shutdown", "pool_shrink", "cancel_consumer", "rate_limit", "ping"):
        app.control.broadcast(order, arguments={"queue": "bells", "n": 1})
    with redis_server.client() as client:
        assert client.publish("stockbell:/0.celery.pidbox", "rubbish") == 0, "nobody listens there"
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=1)
    assert told_exactly_once(stockbell.mails(), told)
    assert count(stockbell, "worker.exited") == 0


def test_a_busy_worker_takes_no_bell_that_another_could_answer(stockbell: Stockbell, redis_server: RedisServer) -> None:
    busy = stockbell.start("work", "-c", "1")
    ready(stockbell)
    bell = Bell(celery_app(lambda: redis_server.url))
    with stockbell.locked("request"):  # the worker can't claim while this lasts
        bell.ring([uuid.uuid4()])
        eventually(lambda: bell.queued() == 0, until="it is busy")
        bell.ring([uuid.uuid4()])
        bell.ring([uuid.uuid4()])
        (celery,) = children(busy.pid)
        os.kill(celery, signal.SIGSTOP)  # it had its chance, if it wanted a bell
        assert bell.queued() == 2
    stockbell.start("work", "-c", "1")
    eventually(lambda: bell.queued() == 0, 60, until="another worker answers")
    os.kill(celery, signal.SIGCONT)


def test_a_killed_child_is_replaced_by_one_that_answers_the_next_bell(
    stockbell: Stockbell, redis_server: RedisServer
) -> None:
    stockbell.waiting("mug-1", 1)
    stockbell.relay.script("dot", Do.HOLD)
    stockbell.start_all()
    ready(stockbell)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(PROCESSING=1)
    (celery,) = children(stockbell.processes[1].pid)
    os.kill(children(celery)[0], signal.SIGKILL)
    stockbell.relay.release()
    told = stockbell.waiting("mug-2", 1)
    stockbell.publish(catalogItemId="mug-2", quantity=5)
    eventually(lambda: stockbell.mails()[told[0]] == 1, until="the dead one's bell is not held against it")

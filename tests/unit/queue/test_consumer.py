"""What the consumer lets through: bells, and only those parts of a message that make a bell. A Redis that refuses."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import CLOSE, RUN
from celery.worker import consumer as celery_consumer
from kombu.message import Message
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ReadOnlyError, ResponseError
from structlog.testing import capture_logs

from worker.queue import consumer as consumer_module
from worker.queue.bell import DELIVER, PROBE, celery_app
from worker.queue.consumer import BadBell, Consumer, reduce_to_bell

NOTHING_FOLLOWS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(body: object, **headers: object) -> Message:
    return Message(
        body=json.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
        accept={"application/json"},
        headers={"task": DELIVER, "id": "a", **headers},
        properties={"reply_to": "them"},
        delivery_info={"exchange": "theirs"},
    )


@pytest.mark.parametrize("task", [DELIVER, PROBE])
def test_of_a_bell_its_task_and_its_arguments_are_left(task: str) -> None:
    bell = message([[["id"]], {}, NOTHING_FOLLOWS], task=task, timelimit=[0.001, None], shadow="other", group="theirs")
    reduce_to_bell(bell)
    assert bell.payload[0] == [["id"]]
    assert bell.headers == {"lang": "py", "task": task, "id": bell.headers["id"]}
    assert (bell.properties, bell.delivery_info) == ({}, {})


@pytest.mark.parametrize(
    "headers",
    [
        {"task": "celery.backend_cleanup"},
        {"task": None},
        {"task": {}},
        {"eta": "2099-01-01T00:00:00+00:00"},
        {"expires": "2099-01-01T00:00:00+00:00"},
    ],
)
def test_another_task_and_one_for_later_are_refused(headers: dict[str, Any]) -> None:
    with pytest.raises(BadBell):
        reduce_to_bell(message([[["id"]], {}, NOTHING_FOLLOWS], **headers))


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        [],
        {"args": [], "kwargs": {}},
        [{}, {}, {}],
        [[], {"lists": []}, {}],
        [[], {}, {"callbacks": [{"task": DELIVER}]}],
        [[], {}, None],
    ],
)
def test_what_is_no_call_with_plain_arguments_is_refused(body: object) -> None:
    with pytest.raises(BadBell):
        reduce_to_bell(message(body))


def test_a_message_without_headers_is_refused() -> None:
    bare = message([[], {}, {}])
    bare.headers = None
    with pytest.raises(BadBell):
        reduce_to_bell(bare)


# A Redis that lets us in and refuses us

READ_ONLY = ReadOnlyError(
    "Command # 1 (SADD a\x06) of pipeline caused error: You can't write against a read only replica."
)
LOST = ConnectionLost("Connection closed by server.")
UNBLOCKED = ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed")


class Clock:
    """A clock that moves on by what was slept."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Rounds:
    """A blueprint that does the next thing each time it is started. After the last one it ends."""

    def __init__(self, *rounds: Callable[[], object]) -> None:
        self.state = RUN
        self.restarts = 0
        self._rounds = list(rounds)

    def start(self, _consumer: Any) -> None:
        if not self._rounds:
            self.state = CLOSE
            return
        self._rounds.pop(0)()

    def restart(self, _consumer: Any) -> None:
        self.restarts += 1


class Refused(Consumer):
    """A consumer without a worker around it."""

    def __init__(self, clock: Clock) -> None:
        self.app = celery_app(lambda: "redis://127.0.0.1:1/0")
        connection = self.app.connection_for_read()
        self.connection_errors, self.channel_errors = connection.connection_errors, connection.channel_errors
        self._restart_state = SimpleNamespace(step=lambda: None)
        self.hub = None
        self.connection = "there is one"
        self.restart_count, self.first_connection_attempt = 0, False
        self.clock = clock
        self.begun: list[float] = []

    def goes_through(self, *rounds: Callable[[], object]) -> list[str]:
        """Runs the consumer through these rounds. Returns the events that it logged."""
        self.blueprint = Rounds(*(lambda each=each: self._begin(each) for each in rounds))
        with capture_logs() as logs:
            self.start()
        assert self.blueprint.restarts == len(rounds)
        return [line["event"] for line in logs]

    def _begin(self, work: Callable[[], object]) -> None:
        self.begun.append(self.clock.now)
        work()

    def refuses(self) -> None:
        raise READ_ONLY

    def leaves(self) -> None:
        raise LOST

    def listens(self, seconds: float, until: Exception = UNBLOCKED) -> None:
        self.on_ready()
        self.clock.now += seconds
        raise until


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """A consumer with a clock of its own and with Celery's own loop around connections."""
    clock = Clock()
    monkeypatch.setattr(consumer_module, "time", clock)
    for name in ("on_ready", "on_close", "on_connection_error_after_connected"):  # these need a worker
        monkeypatch.setattr(celery_consumer.Consumer, name, lambda *_: None)
    return Refused(clock)


def test_a_primary_that_becomes_a_replica_is_away_and_back(refused: Refused) -> None:
    events = refused.goes_through(
        lambda: refused.listens(60), refused.refuses, refused.refuses, lambda: refused.listens(60)
    )
    assert events == ["redis.away", "redis.back", "redis.away"]


def test_who_is_refused_again_and_again_asks_less_and_less_often(refused: Refused) -> None:
    assert refused.goes_through(*[refused.refuses] * 9) == ["redis.away"]
    assert refused.begun == [0, 0, 1, 3, 6, 10, 15, 20, 25]


def test_a_connection_that_served_for_long_is_made_anew_at_once(refused: Refused) -> None:
    refused.goes_through(*[refused.refuses] * 3, lambda: refused.listens(60), refused.refuses)
    assert refused.begun == [0, 0, 1, 3, 63]


def test_one_that_breaks_as_soon_as_it_listens_is_not_tried_at_full_speed(refused: Refused) -> None:
    refused.goes_through(*[lambda: refused.listens(0)] * 5)
    assert refused.begun == [0, 0, 1, 3, 6]


def test_a_connection_that_is_lost_is_made_anew_at_once_however_often(refused: Refused) -> None:
    refused.goes_through(*[lambda: refused.listens(0, LOST)] * 5, refused.refuses, refused.refuses)
    assert refused.begun == [0, 0, 0, 0, 0, 0, 1]


def test_a_redis_that_loses_us_before_we_listen_is_not_tried_at_full_speed(refused: Refused) -> None:
    refused.goes_through(*[refused.leaves] * 5)
    assert refused.begun == [0, 0, 1, 3, 6]


def test_of_a_refusal_what_redis_said_is_logged(refused: Refused) -> None:
    with capture_logs() as logs:
        refused.on_connection_error_before_connected(READ_ONLY)
    assert logs[0]["reason"] == "You can't write against a read only replica."

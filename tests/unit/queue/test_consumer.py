"""What the consumer lets through: a bell, and of a message nothing but a bell."""

import json
from typing import Any

import pytest
from kombu.message import Message

from worker.queue.bell import DELIVER, PROBE
from worker.queue.consumer import BadBell, reduce_to_bell

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

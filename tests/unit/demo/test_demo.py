"""The parts of the demo that need no process: its books, its output directory, and the Procfile."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from worker.demo.books import Facts, check
from worker.demo.inbox import Arrival
from worker.demo.output import prepare
from worker.demo.processes import procfile
from worker.demo.story import (
    BAG,
    CONSOLE,
    HEADSET,
    LAMP,
    MUG,
    NO_LINK,
    NO_STOCK,
    REFUSED,
    SOLD_OUT,
    TOLD,
    VISITOR,
    Ending,
    Request,
)


def request(number: int, item: str, email: str, ending: Ending, *, has_link: bool = True) -> Request:
    return Request(UUID(int=number), item, None, email, has_link, ending, "")


AT_THE_END = [
    request(1, MUG, "ada@mail.example", TOLD),
    request(2, MUG, "bo@busy.example", TOLD),
    request(3, MUG, "cem@closed.example", REFUSED),
    request(4, LAMP, "dan@mail.example", TOLD, has_link=False),
    request(5, CONSOLE, "eva@mail.example", TOLD),
    request(6, CONSOLE, "finn@mail.example", SOLD_OUT),
    request(8, BAG, VISITOR, TOLD),
    request(9, BAG, "somebody.at.a.browser@mail.example", NO_STOCK),
    request(7, HEADSET, "gita@mail.example", NO_STOCK),
]
IMPORTED = 7


def facts() -> Facts:
    """Returns the facts of a small demo that went as it should."""
    arrived = [
        Arrival(request.id, request.email, time.monotonic(), Path("a.eml"))
        for request in AT_THE_END
        if request.ending == TOLD
    ]
    return Facts(
        imported=IMPORTED,
        requests=AT_THE_END,
        first_round=[replace(request, ending=NO_LINK) if request.item == LAMP else request for request in AT_THE_END],
        retried=2,
        arrived=arrived,
        deferred=["bo@busy.example"],
        dead_letters=["quantity must be a number"],
    )


def ended(number: int, ending: Ending) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        facts.requests = [replace(r, ending=ending) if r.id.int == number else r for r in facts.requests]

    return change


def told_twice(facts: Facts) -> None:
    facts.arrived = [*facts.arrived, facts.arrived[0]]


def told_by_another_address(facts: Facts) -> None:
    facts.arrived = [replace(facts.arrived[0], recipient="eve@mail.example"), *facts.arrived[1:]]


def one_row_lost(facts: Facts) -> None:
    facts.requests = facts.requests[:-1]


def one_mail_lost(facts: Facts) -> None:
    facts.arrived = facts.arrived[:-1]


def a_good_event_buried(facts: Facts) -> None:
    facts.dead_letters = [*facts.dead_letters, "item is too long"]


def not_all_retried(facts: Facts) -> None:
    facts.retried = 1


def nobody_deferred(facts: Facts) -> None:
    facts.deferred = []


def test_the_books_balance_when_all_went_as_it_should() -> None:
    assert [wrong for found in check(facts()) for wrong in found.wrong] == []


@pytest.mark.parametrize(
    "fault",
    [
        told_twice,
        told_by_another_address,
        one_row_lost,
        one_mail_lost,
        a_good_event_buried,
        not_all_retried,
        nobody_deferred,
        pytest.param(ended(1, SOLD_OUT), id="waits without a reason"),
        pytest.param(ended(3, NO_LINK), id="failed for another reason"),
        pytest.param(ended(5, SOLD_OUT), id="sold out before the first mail"),
        pytest.param(ended(7, TOLD), id="told by a stale event"),
        pytest.param(ended(8, NO_STOCK), id="signed up on the page, and not told"),
    ],
)
def test_the_books_do_not_balance_after(fault: Callable[[Facts], None]) -> None:
    found = facts()
    fault(found)
    assert [wrong for line in check(found) for wrong in line.wrong] != []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_an_earlier_demo_s_output_is_cleared_and_nothing_else(here: Path) -> None:
    with prepare().lock:
        (here / "demo-out" / "mails" / "0001-old.eml").touch()
        (here / "demo-out" / "notes.txt").touch()
    output = prepare()
    with output.lock:
        assert output.shown == "demo-out"
        assert list(output.mails.iterdir()) == []
        assert (here / "demo-out" / "notes.txt").exists()


def test_a_directory_of_somebody_else_is_left_alone(here: Path) -> None:
    mails = here / "demo-out" / "mails"
    mails.mkdir(parents=True)
    (mails / "precious.eml").touch()
    output = prepare()
    with output.lock:
        assert output.directory != here / "demo-out"
        assert (mails / "precious.eml").exists()


def test_two_demos_at_once_don_t_share_a_directory(here: Path) -> None:
    with prepare().lock as _first:
        second = prepare()
        with second.lock:
            assert second.directory != here / "demo-out"


def test_the_processes_are_those_of_the_procfile() -> None:
    assert dict(procfile()) == {
        "listener": ["stockbell", "listen"],
        "worker": ["stockbell", "work"],
        "scheduler": ["stockbell", "schedule"],
        "web": ["stockbell", "web"],
    }

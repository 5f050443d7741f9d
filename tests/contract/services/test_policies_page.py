"""The time lines of `docs/policies.md` are true. On SQLite and PostgreSQL, with the database's clock moved."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.set_clock import shop_with_clock
from tests.contract.timelines import START, Replay, TimeLine, read

PAGE = (Path(__file__).parents[3] / "docs/policies.md").read_text(encoding="utf-8")
TIME_LINES = list(read(PAGE))
Start = Callable[[TimeLine], Replay]


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Makes a shop for a time line, in a database of its own."""
    with ExitStack() as stack:

        def begin(line: TimeLine) -> Replay:
            url = str(request.getfixturevalue(request.param))
            return Replay(stack.enter_context(shop_with_clock(url, START, monkeypatch)), line.settings)

        yield begin


def test_each_policy_has_a_time_line() -> None:
    assert {
        "So many per unit, and waves",
        "Minimum stock",
        "Settle time",
        "Digest",
        "Contact interval",
        "Priority",
    } <= {line.section for line in TIME_LINES}
    assert all(line.settings and len(line.rows) > 2 for line in TIME_LINES)


@pytest.mark.parametrize("line", TIME_LINES, ids=lambda line: line.section)
def test_a_time_line_is_true(line: TimeLine, start: Start) -> None:
    start(line).run(line.rows)


@pytest.mark.parametrize(
    ("section", "right", "wrong", "noticed"),
    [
        ("Digest", "in 2 mails", "in 3 mails", "in 2 mails"),
        ("Priority", "Carla and Ben", "Ben and Carla", "were told"),
    ],
)
def test_a_time_line_with_other_mails_or_another_order_is_noticed(
    section: str, right: str, wrong: str, noticed: str, start: Start
) -> None:
    line = next(line for line in TIME_LINES if line.section == section)
    rows = [replace(row, then=row.then.replace(right, wrong)) for row in line.rows]
    assert rows != line.rows
    with pytest.raises(AssertionError, match=noticed):
        start(line).run(rows)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("80 are told", "81 are told"),
        ("120 wait", "121 wait"),
        ("`wave`", "`queued`"),
        ("until 10:05", "until 10:06"),
        ("80 are told; ", ""),
        ("80 are told", "80 are told by and by"),
    ],
)
def test_a_time_line_that_is_not_true_is_noticed(right: str, wrong: str, start: Start) -> None:
    line = next(line for line in TIME_LINES if line.section.startswith("So many"))
    rows = [replace(row, then=row.then.replace(right, wrong)) for row in line.rows[:2]]
    assert rows != line.rows[:2]
    with pytest.raises(AssertionError):
        start(line).run(rows)

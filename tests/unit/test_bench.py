"""The arithmetic of the benchmark: percentiles, rates, the table, the plot."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.cost import toml
from tests.bench.figures import Figure, at_least, at_most, number, per_mail, percentile, steady_rate, table
from tests.bench.fit import line
from tests.bench.plot import OTHERS, OURS, bars
from tests.bench.rate import rates_of
from tests.bench.simulation import Child, mails_a_second, waits_beside_a_hot_item
from tests.bench.sizing import BLOCKS, PAGE, filled
from worker.domain.capacity import Demand, Installation, plan
from worker.domain.costs import Costs

SVG = "{http://www.w3.org/2000/svg}"


def parsed(plot: str) -> ElementTree.Element:
    return ElementTree.fromstring(plot)  # noqa: S314  # our own text


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7], 50, 7),
        ([7], 99, 7),
        ([4, 1, 3, 2], 50, 2),
        ([4, 1, 3, 2], 75, 3),
        ([4, 1, 3, 2], 76, 4),
        (range(1, 301), 50, 150),
        (range(1, 301), 99, 297),
        (range(1, 201), 99, 198),
        (range(1, 201), 100, 200),
    ],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: Sequence[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_so_many_percent_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


def test_a_steady_rate_is_that_between_the_first_and_the_last_tenth() -> None:
    slow_start, even, slow_end = [0.0, 5.0], [10 + number / 100 for number in range(96)], [20.0, 30.0]
    assert steady_rate([*slow_start, *even, *slow_end]) == pytest.approx(100)


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.0, 1.0]])
def test_where_no_time_went_by_there_is_no_rate(times: list[float]) -> None:
    assert steady_rate(times) == 0


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.456, "0.46"), (12.34, "12.3"), (99.96, "100.0"), (12345.6, "12,346")]
)
def test_a_number_shows_what_counts(value: float, text: str) -> None:
    assert number(value) == text


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert Figure("s", "n", "u", [3, 100, 1]).value == 3


@pytest.mark.parametrize(
    ("goal", "met"),
    [(at_least(1.0), True), (at_least(1.1), False), (at_most(1.0), True), (at_most(0.9), False), (None, None)],
)
def test_a_goal_is_held_against_the_median(goal: object, met: bool | None) -> None:
    assert Figure("s", "n", "u", [1.0, 9.0, 0.5], goal).is_met is met  # type: ignore[arg-type]  # parametrized


def test_the_table_shows_value_unit_goal_spread_and_note() -> None:
    figures = [
        Figure("first", "rate", "mails/s", [900, 1200, 1000], at_least(2000), "beside others"),
        Figure("first", "share", "x", [0.5]),
        Figure("second", "p99", "ms", [12.0], at_most(50)),
    ]
    assert table(figures).splitlines() == [
        "first",
        "  rate   1,000  mails/s  >= 2,000 MISSED  900 to 1,200  beside others",
        "  share   0.50  x",
        "",
        "second",
        "  p99  12.0  ms  <= 50.0 met",
    ]


def test_costs_a_mail_are_a_figure_for_each_process_that_costs_something() -> None:
    rounds = [
        {"worker child": 80.0, "scheduler": 0.1},
        {"worker child": 90.0, "scheduler": 3.0},
        {"worker child": 70.0, "scheduler": 0.2},
    ]
    assert [(figure.name, figure.value) for figure in per_mail("s", "PostgreSQL", rounds)] == [
        ("PostgreSQL: worker child", 80.0)
    ]


def test_in_the_plot_lengths_are_as_the_values() -> None:
    figures = [Figure("s", "ours", "mails/s", [1000]), Figure("s", "<theirs>", "mails/s", [500], note="another")]
    root = parsed(bars("Title & more", "machine", figures))
    _, ours, theirs = root.iter(f"{SVG}rect")
    assert float(ours.attrib["width"]) == pytest.approx(2 * float(theirs.attrib["width"]), rel=1e-3)
    assert (ours.attrib["fill"], theirs.attrib["fill"]) == (OURS, OTHERS)
    assert [text.text for text in root.iter(f"{SVG}text")] == [
        "Title & more",
        "machine",
        "ours",
        "1,000 mails/s",
        "<theirs>",
        "500 mails/s",
    ]


def test_a_plot_of_nothing_is_still_a_plot() -> None:
    assert parsed(bars("Title", "machine", [])).tag == f"{SVG}svg"


def test_rates_are_those_of_all_windows_after_the_start() -> None:
    assert rates_of([0.0, 1.0, 2.0, 3.0, 4.0, 4.5, 6.0], 1.0, 2.0) == [1.0, 1.0, 1.5, 1.0]


# Larger tables


def test_a_line_through_points_on_a_line_is_that_line() -> None:
    found = line([(1, 12), (2, 14), (5, 20)])
    assert found.at(50) == pytest.approx(110)
    assert found.error == pytest.approx(0)


def test_a_line_says_how_far_the_points_are_from_it() -> None:
    found = line([(0, 10), (1, 10), (2, 16)])
    assert found.base == pytest.approx(9)
    assert found.slope == pytest.approx(3)
    assert found.error == pytest.approx(0.2)  # 12 instead of 10


# Capacity: what the formulas say is what happens in a simulation


@pytest.mark.parametrize("connections", [1, 10, 40])
@pytest.mark.parametrize("answer_ms", [0, 5, 20, 50])
@pytest.mark.parametrize("database_ms", [0.5, 5, 20])
def test_a_child_that_is_played_sends_as_many_mails_as_the_model_says(
    connections: int, answer_ms: float, database_ms: float
) -> None:
    shipped = Costs.read()
    costs = replace(shipped, round_trips=replace(shipped.round_trips, waited=0))  # claims are not played
    there = Installation(connections, answer_ms / 1000, database_ms / 1000, children=1, batch_size=10_000)
    said = plan(Demand(1_000_000), there, costs).limit.rate
    own, answer = costs.mail.worker / 1e6, costs.round_trips.pipelined * there.relay_seconds
    commit = costs.round_trips.record * there.database_seconds
    room = max(50, 4 * connections) + connections
    assert mails_a_second(Child(connections, own, answer, commit, room)) == pytest.approx(said, rel=0.15)


@pytest.mark.parametrize(("children", "slices"), [(1, 2), (2, 1), (4, 1), (16, 1)])
def test_a_bell_beside_a_hot_item_waits_for_a_slice_or_with_one_child_for_two(children: int, slices: int) -> None:
    waits = waits_beside_a_hot_item(children, slice_seconds=0.5, every=0.5, service=0.02)
    assert 0.9 * slices * 0.5 < percentile(waits, 99) < slices * 0.5 + 0.05


# The table of costs


def test_the_table_that_is_written_is_the_one_that_is_read(tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(toml(Costs.read()))
    assert Costs.read(file) == Costs.read()


def test_the_page_about_sizing_has_the_costs_that_are_shipped() -> None:
    page = PAGE.read_text()
    assert filled(page, Costs.read()) == page, "run `python -m tests.bench.sizing`"
    assert filled(page, Costs.read()).count("<!-- end of ") == len(BLOCKS)

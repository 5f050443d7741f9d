"""The figures that were measured, and the table that shows them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import ceil
from statistics import median
from typing import Any, Literal, NamedTuple


class Goal(NamedTuple):
    """The value that a figure should reach, by the design."""

    bound: Literal[">=", "<="]
    value: float

    def is_met(self, value: float) -> bool:
        return value >= self.value if self.bound == ">=" else value <= self.value

    def __str__(self) -> str:
        return f"{self.bound} {number(self.value)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: the median of its rounds."""

    scenario: str
    name: str
    unit: str
    rounds: Sequence[float]
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.rounds)

    @property
    def is_met(self) -> bool | None:
        """Whether the figure is as good as it should be, or None if it has no goal."""
        return self.goal.is_met(self.value) if self.goal else None

    def as_json(self) -> dict[str, Any]:
        """Returns everything that is known about the figure, for a file."""
        return asdict(self) | {"value": self.value, "met": self.is_met, "goal": str(self.goal) if self.goal else None}


def at_least(value: float) -> Goal:
    return Goal(">=", value)


def at_most(value: float) -> Goal:
    return Goal("<=", value)


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that so many percent of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def steady_rate(times: Sequence[float]) -> float:
    """Returns things a second between the first and the last tenth of `times`: without the start and end of a run."""
    ordered = sorted(times)
    first, last = len(ordered) // 10, len(ordered) - 1 - len(ordered) // 10
    seconds = ordered[last] - ordered[first] if ordered else 0.0
    return (last - first) / seconds if seconds > 0 else 0.0


def number(value: float) -> str:
    """Returns a number as people read it: with three significant digits or more, and commas."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def table(figures: Sequence[Figure]) -> str:
    """Returns all figures as text, grouped by scenario."""
    blocks = []
    for scenario, group in groupby(figures, key=lambda figure: figure.scenario):
        rows = [_cells(figure) for figure in group]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        blocks.append("\n".join([scenario, *(_line(row, widths) for row in rows)]))
    return "\n\n".join(blocks) + "\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    spread = f"{number(min(figure.rounds))} to {number(max(figure.rounds))}" if len(figure.rounds) > 1 else ""
    verdict = {None: "", True: "met", False: "MISSED"}[figure.is_met]
    goal = f"{figure.goal} {verdict}" if figure.goal else ""
    return figure.name, number(figure.value), figure.unit, goal, spread, figure.note


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, value, *rest = (
        cell.rjust(width) if place == 1 else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  " + "  ".join([name, value, *rest]).rstrip()


def per_mail(scenario: str, what: str, rounds: Sequence[Mapping[str, float]]) -> list[Figure]:
    """Returns the CPU microseconds a mail of each process. Leaves out processes that took less than one."""
    figures = [
        Figure(scenario, f"{what}: {role}", "µs CPU a mail", [costs[role] for costs in rounds]) for role in rounds[0]
    ]
    return [figure for figure in figures if figure.value >= 1]

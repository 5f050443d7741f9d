"""Straight lines through measured points, to say what a larger table would cost. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Line:
    """y = base + slope * x, by least squares, and how far the points are from it."""

    base: float
    slope: float
    error: float
    """the largest distance of a point from the line, as a share of the point's value"""

    def at(self, x: float) -> float:
        return self.base + self.slope * x


def line(points: Sequence[tuple[float, float]]) -> Line:
    """Returns the line that fits these points, of which two at least must have a different x."""
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    base = mean_y - slope * mean_x
    error = max(abs(base + slope * x - y) / y if y else 0.0 for x, y in points)
    return Line(base, slope, error)

"""A bar chart as SVG, written by hand: rectangles need no library. Pure."""

from collections.abc import Sequence
from html import escape

from tests.bench.figures import Figure, number

WIDTH, ROW, LABELS, VALUES, TOP, BOTTOM = 900, 30, 330, 90, 64, 40
OURS, OTHERS = "#2f6f4f", "#8a8f98"
"""The colours of our bars and of those that ours are compared with."""


def bars(title: str, subtitle: str, figures: Sequence[Figure]) -> str:
    """Returns the chart with one bar a figure. The longest bar fills the width. A figure with a note is not ours."""
    longest = max((figure.value for figure in figures), default=0.0) or 1.0
    height = TOP + ROW * len(figures) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="14" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="28" font-size="18" font-weight="bold">{escape(title)}</text>',
        f'<text x="16" y="48" font-size="12" fill="#555">{escape(subtitle)}</text>',
        *(_bar(place, figure, longest) for place, figure in enumerate(figures)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bar(place: int, figure: Figure, longest: float) -> str:
    y, middle = TOP + ROW * place, TOP + ROW * place + ROW / 2 + 5
    width = (WIDTH - LABELS - VALUES) * figure.value / longest
    colour = OTHERS if figure.note else OURS
    value = f"{number(figure.value)} {figure.unit}"
    return (
        f'<text x="{LABELS - 10}" y="{middle:.0f}" text-anchor="end">{escape(figure.name)}</text>'
        f'<rect x="{LABELS}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>'
        f'<text x="{LABELS + width + 6:.1f}" y="{middle:.0f}" font-size="12">{escape(value)}</text>'
    )

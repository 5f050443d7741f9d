"""Dates as readers of a language write them, by CLDR (Babel)."""

from datetime import UTC, datetime

from babel.dates import format_date


def day(at: datetime, language: str) -> str:
    """Returns the day of a time, in UTC: `23 November 2026`. `language` is one that pages are offered in."""
    return format_date(at.astimezone(UTC).date(), "long", language.replace("-", "_"))

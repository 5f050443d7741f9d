"""What a form of these pages has sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fastapi import Request

MAX_FIELDS: Final = 200


@dataclass(frozen=True, slots=True)
class Posted:
    """The fields of a form, in their order. What is no text is left out."""

    pairs: Sequence[tuple[str, str]] = field(default=(), repr=False)

    def text(self, name: str) -> str:
        """Returns a field's text without blanks around it, "" if it is missing."""
        return next((value.strip() for key, value in self.pairs if key == name), "")

    def texts(self, name: str) -> list[str]:
        """Returns all that was sent under a name."""
        return [value.strip() for key, value in self.pairs if key == name]


async def read(request: Request) -> Posted:
    """Reads a form. Raises HTTPException for a body that is none."""
    form = await request.form(max_files=0, max_fields=MAX_FIELDS)
    return Posted([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


def time_of(text: str) -> datetime:
    """Returns an ISO 8601 time or date. Without a UTC offset it is UTC. Raises ValueError with what is wrong."""
    try:
        at = datetime.fromisoformat(text.upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("It must look like 2026-11-23 or 2026-11-23T09:00.") from None

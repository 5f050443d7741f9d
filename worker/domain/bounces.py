"""Judging what a report says of one recipient."""

from dataclasses import dataclass

from worker.domain.returned import Kind


@dataclass(frozen=True, slots=True)
class Said:
    """What a report says of one recipient, unjudged."""

    action: str | None
    status: str | None
    code: int | None
    words: str
    system: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What it means."""

    kind: Kind
    rule: str | None = None
    source: str | None = None
    blame: str | None = None


def judge(said: Said) -> Judged:
    """Returns what the report means for the recipient."""
    kinds = {"delayed": Kind.DELAYED, "delivered": Kind.DELIVERED, "relayed": Kind.DELIVERED}
    return Judged(kinds.get(said.action or "", Kind.FAILED))

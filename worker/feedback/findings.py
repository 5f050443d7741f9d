"""Findings: what a report says of one recipient, before it is judged.

Pure.
"""

from dataclasses import dataclass, field
from typing import Final

from worker.domain.bounces import Said
from worker.domain.returned import Kind
from worker.feedback.diagnoses import Diagnosis

RECIPIENT_LIMIT: Final = 20
"""Recipients of a report that are looked at, each of whom costs a search of the whole text. Our mails have one each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of a recipient, whom the report may not name."""

    recipient: str | None = field(repr=False)
    said: Said
    is_cut: bool = False
    """whether the reply has more lines than these"""


def finding(recipient: str | None, diagnosis: Diagnosis, action: str | None, system: str | None) -> Finding:
    """Returns a finding with what a diagnosis has."""
    said = Said(action, diagnosis.status, diagnosis.code, diagnosis.words, system, diagnosis.is_early)
    return Finding(recipient, said, diagnosis.is_cut)


_KINDS: Final = {
    "abuse": Kind.COMPLAINT,
    "fraud": Kind.COMPLAINT,
    "virus": Kind.COMPLAINT,
    "miscategorized": Kind.FEEDBACK,
    "not-spam": Kind.FEEDBACK,
    "auth-failure": Kind.FEEDBACK,
    "dmarc": Kind.FEEDBACK,
    "opt-out": Kind.UNSUBSCRIBE,
    "opt-out-list": Kind.UNSUBSCRIBE,
}


def kind_of(feedback: str) -> Kind:
    """Returns what a type of feedback report means (RFC 5965 section 7.3). An unregistered one is no complaint."""
    return _KINDS.get(feedback, Kind.FEEDBACK)

"""How well reports from the field are judged: precision and recall of what is taken for a dead address."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from worker.domain.returned import Kind
from worker.feedback.messages import read

SAMPLES = Path(__file__).with_name("bounces")
LABELS: dict[str, list[dict[str, str | bool]]] = json.loads((SAMPLES / "labels.json").read_text())
AMBIGUOUS = {"filtered", "suspend"}
"""Labels left out: a refusal after DATA whose words often are "user unknown", and accounts that may come back."""


@dataclass(frozen=True)
class Case:
    """One recipient of one sample: is he dead by its label, and what do we say?"""

    name: str
    has_form: bool
    is_dead: bool
    is_judged_dead: bool


@cache
def cases() -> tuple[Case, ...]:
    return tuple(case for name in LABELS for case in _cases(name))


def _cases(name: str) -> Iterator[Case]:
    report = read((SAMPLES / name).read_bytes())
    kinds = [returned.kind for returned in report.returned]
    kinds += [Kind.OTHER] * (len(LABELS[name]) - len(kinds))  # a recipient that was not found
    for label, kind in zip(LABELS[name], kinds, strict=False):
        if label["reason"] not in AMBIGUOUS:
            yield Case(name, report.form == "RFC 3464", label["dead"] is True, kind is Kind.DEAD)


def wrong(has_form: bool) -> list[str]:
    return [case.name for case in cases() if case.has_form is has_form and case.is_dead is not case.is_judged_dead]


@pytest.mark.parametrize(
    ("has_form", "precision", "recall"), [(True, 0.95, 0.88), (False, 0.95, 0.75)], ids=["RFC 3464", "texts"]
)
def test_dead_addresses_are_found_and_others_left_alone(has_form: bool, precision: float, recall: float) -> None:
    counts = Counter((case.is_dead, case.is_judged_dead) for case in cases() if case.has_form is has_form)
    right, missed, false = counts[True, True], counts[True, False], counts[False, True]
    assert right > 20
    assert right / (right + false) >= precision, wrong(has_form)
    assert right / (right + missed) >= recall, wrong(has_form)


def test_every_sample_is_labelled_and_has_its_own_line_ends() -> None:
    octets = {path.name: path.read_bytes() for path in SAMPLES.glob("*.eml")}
    assert octets.keys() == LABELS.keys()
    assert any(b"\r\n" in each for each in octets.values())
    assert any(b"\r" not in each for each in octets.values())

"""Of a report about several recipients, what counts for a mail that has one."""

import pytest

from worker.domain.returned import Clues, Kind, Report, Returned

OURS = "jane@customer.example"
DEAD, FAILED, DELAYED, DELIVERED = Kind.DEAD, Kind.FAILED, Kind.DELAYED, Kind.DELIVERED


def said(*entries: tuple[str | None, Kind]) -> Kind:
    report = Report([Returned(kind, recipient=recipient) for recipient, kind in entries])
    return report.about(lambda address: address == OURS).kind


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("recipient", [OURS, "other@customer.example", None])
def test_a_report_about_one_recipient_counts_whoever_that_is(recipient: str | None, kind: Kind) -> None:
    assert said((recipient, kind)) is kind


@pytest.mark.parametrize("kind", [DEAD, FAILED, DELAYED, DELIVERED])
def test_what_it_says_of_our_recipient_goes_before_all_others(kind: Kind) -> None:
    others = [("a@x.example", other) for other in (DEAD, FAILED, DELAYED, DELIVERED)]
    assert said(*others, (OURS, kind)) is kind


@pytest.mark.parametrize(
    ("kinds", "counts"),
    [
        ((DEAD, DEAD), DEAD),
        ((DEAD, FAILED), FAILED),
        ((FAILED, DEAD, DELAYED), DELAYED),
        ((DEAD, DELIVERED), DELIVERED),
        ((FAILED, Kind.OTHER), FAILED),
        ((DEAD, Kind.COMPLAINT), Kind.COMPLAINT),
        ((Kind.UNSUBSCRIBE, Kind.AUTO_REPLY), Kind.UNSUBSCRIBE),
    ],
)
def test_where_none_is_ours_the_mildest_fate_counts(kinds: tuple[Kind, ...], counts: Kind) -> None:
    assert said(*((f"{n}@alias.example", kind) for n, kind in enumerate(kinds))) is counts


def test_a_report_about_nobody_is_none() -> None:
    assert said() is Kind.OTHER


def test_clues_do_not_show_tokens() -> None:
    shown = repr(Report([], Clues(["ab" * 23], ["1@shop.example"])))
    assert "ab" * 23 not in shown
    assert "shop.example" not in shown

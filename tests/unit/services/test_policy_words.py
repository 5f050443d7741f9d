"""Sending policies in words: a sentence for each that is on, and whose each one of an item is."""

import pytest

from worker.domain.policies import ALL, NO_POLICIES, Own, Policies
from worker.services.policy_words import policy_lines, shop_lines


@pytest.mark.parametrize(
    ("shop", "lines"),
    [
        (NO_POLICIES, []),
        (Policies(assumed_quantity=5), []),
        (Policies(min_quantity=3), ["From 3 pieces on an item is in stock."]),
        (
            Policies(per_unit=2, wave_seconds=86_400.0, assumed_quantity=5),
            [
                "2 customers are told for each piece, in waves: "
                "when all seats are taken, the next one begins 1 d later.",
                "Where an event says no quantity, 5 pieces are assumed.",
            ],
        ),
        (
            Policies(per_unit=1, wave_seconds=0.0, assumed_quantity=1, settle_seconds=600.0),
            [
                "1 customer is told for each piece, in waves: when all seats are taken, the next one begins at once.",
                "Where an event says no quantity, 1 piece is assumed.",
                "Nobody is told before an item has been in stock for 10 min.",
            ],
        ),
        (
            Policies(digest=True, contact_interval=86_400.0),
            [
                "What a customer can be told of now goes in one mail, at most 20 items.",
                "A customer gets at most one mail in 1 d.",
            ],
        ),
        (Policies(settle_seconds=5.0), ["Nobody is told before an item has been in stock for 5 s."]),
        (
            Policies(request_ttl_days=90, keep_told_days=1, keep_failed_days=30),
            [
                "Who has waited for 90 days expires.",
                "Who was told is deleted 1 day later.",
                "Who FAILED is deleted 30 days later.",
            ],
        ),
    ],
)
def test_each_policy_of_the_shop_that_is_on_has_a_sentence(shop: Policies, lines: list[str]) -> None:
    assert shop_lines(shop) == lines


def test_each_policy_of_an_item_says_whose_it_is() -> None:
    own = Own(per_unit=ALL, wave_seconds=90.5)
    found = policy_lines(Policies(per_unit=2, settle_seconds=10.0).of(own), own)
    assert [(each.label, each.words, each.whose, each.plain) for each in found] == [
        ("in stock from", "1 piece", "the shop's", ""),
        ("told for each piece", "everybody", "its own", "all"),
        ("between waves", "1 min 30 s", "its own", "90.5"),
        ("settles for", "10 s", "the shop's", ""),
    ]

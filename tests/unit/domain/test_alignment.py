"""Which domains are one organization's."""

import pytest

from worker.domain.alignment import are_aligned, is_below, organization


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("shop.example", "shop.example"),
        ("Mail.Shop.Example.", "shop.example"),
        ("a.b.shop.co.uk", "shop.co.uk"),
        ("shop.co.uk", "shop.co.uk"),
        ("co.uk", "co.uk"),
        ("shop.or.at", "shop.or.at"),
        ("com.de", "com.de"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_the_organization_is_below_the_public_suffix(domain: str, expected: str) -> None:
    assert organization(domain) == expected


def test_domains_of_one_organization_are_aligned() -> None:
    assert are_aligned("bounces.shop.example", "mail.SHOP.example")
    assert not are_aligned("shop.example", "shop.example.evil.example")
    assert not are_aligned("one.co.uk", "other.co.uk")
    assert not are_aligned("shop.example", "amazonses.com")


def test_below_is_by_whole_labels() -> None:
    assert is_below("a.Shop.example", "shop.example")
    assert is_below("shop.example", "shop.example")
    assert not is_below("myshop.example", "shop.example")

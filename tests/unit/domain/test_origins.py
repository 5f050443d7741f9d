"""Whether a page of ours sent a request: what browsers send is listed in WEB.md 3.3."""

import pytest

from worker.domain.origins import is_from_us, origin_of

OWN = ["https://bell.shop.example"]


@pytest.mark.parametrize(
    ("sites", "origins"),
    [
        (["same-origin"], ["https://bell.shop.example"]),
        (["same-origin"], ["null"]),
        (["same-origin"], []),
        ([], ["https://bell.shop.example"]),
        ([], ["HTTPS://Bell.Shop.Example:443"]),
    ],
)
def test_a_form_of_ours_is_taken(sites: list[str], origins: list[str]) -> None:
    assert is_from_us(sites, origins, OWN)


@pytest.mark.parametrize(
    ("sites", "origins"),
    [
        ([], []),
        ([], ["null"]),
        ([], [""]),
        ([], ["https://evil.example"]),
        ([], ["http://bell.shop.example"]),
        ([], ["https://bell.shop.example:8443"]),
        ([], ["https://bell.shop.example.evil.example"]),
        ([], ["https://bell.shop.example/"]),
        ([], ["https://bell.shop.example", "https://bell.shop.example"]),
        (["same-site"], ["https://bell.shop.example"]),
        (["cross-site"], ["https://bell.shop.example"]),
        (["none"], ["https://bell.shop.example"]),
        (["same-origin", "cross-site"], ["https://bell.shop.example"]),
        ([""], ["https://bell.shop.example"]),
    ],
)
def test_any_other_is_refused(sites: list[str], origins: list[str]) -> None:
    assert not is_from_us(sites, origins, OWN)


def test_a_host_that_is_none_is_nobodys_origin() -> None:
    assert not is_from_us([], ["null"], ["http://"])
    assert not is_from_us([], [""], ["http://a b"])
    assert origin_of("http://[::1]:80") == "http://[::1]"

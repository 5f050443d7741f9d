"""Where we may be made to call, and where not (SSRF)."""

import pytest

from worker.domain.errors import BadUrl
from worker.domain.outgoing_urls import checked_endpoint, is_public, refusal, without_password


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.1", "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1"),
        *("3fff::1", "5f00::1", "100:0:0:1::1", "4000::1", "e000::1"),
    ],
)
def test_others_are_not_in_whatever_form(address: str) -> None:
    assert not is_public(address)
    assert refusal(address, allows_private=False, is_plain=False)
    assert refusal(address, allows_private=True, is_plain=False) is None


def test_http_leads_to_this_machine_only_even_if_private_networks_are_allowed() -> None:
    assert refusal("10.0.0.1", allows_private=True, is_plain=True)
    assert refusal("127.0.0.1", allows_private=False, is_plain=True)
    assert refusal("127.0.0.1", allows_private=True, is_plain=True) is None


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://shop.example", "https://shop.example/"),
        ("HTTPS://Shop.Example:8443/hook?a=%20b", "https://shop.example:8443/hook?a=%20b"),
        ("https://1.1.1.1/x", "https://1.1.1.1/x"),
        ("https://[2606:4700::1111]:444/x", "https://[2606:4700::1111]:444/x"),
        ("redis://:secret@10.0.0.1:6379/0", "redis://:secret@10.0.0.1:6379/0"),
    ],
)
def test_urls_that_may_be_told(url: str, checked: str) -> None:
    assert checked_endpoint(url, allows_private=False) == checked


@pytest.mark.parametrize(
    ("url", "words"),
    [
        *((f"{scheme}://shop.example/", "https://") for scheme in ("ftp", "file", "gopher", "ws", "unix")),
        *(("shop.example/hook", "https://"), ("", "https://"), ("https:///hook", "host"), ("//shop.example/", "https")),
        ("http://shop.example/", "must be https"),
        ("https://user:pw@shop.example/", "user"),
        ("https://shop.example@127.0.0.1/", "user"),
        ("https://shop.example/#a", "fragment"),
        ("https://shop.example:0/", "port"),
        ("https://shop.example:99999/", "port"),
        ("https://shop.example/a b", "spaces"),
        ("https://shop.example/a\r\nHost: b", "control"),
        ("https://shöp.example/", "ASCII"),
        ("https://shop.example/" + "x" * 2000, "2,000"),
        *(
            (f"https://{host}/", "usual form")
            for host in ("2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0x7f000001.")
        ),
        *((f"https://{host}/", "not a public") for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1")),
        ("http://localhost.shop.example/", "must be https"),
    ],
)
def test_urls_that_may_not_be_told_are_refused_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(BadUrl, match=words):
        checked_endpoint(url, allows_private=False)


def test_private_addresses_may_be_allowed_but_http_stays_here() -> None:
    assert checked_endpoint("https://10.0.0.1/x", allows_private=True)
    assert checked_endpoint("http://localhost:8080/x", allows_private=True)
    with pytest.raises(BadUrl):
        checked_endpoint("http://10.0.0.1/x", allows_private=True)


def test_passwords_are_not_shown() -> None:
    assert without_password("redis://me:secret@10.0.0.1:6379/0") == "redis://***@10.0.0.1:6379/0"
    assert "pw" not in without_password("rediss://10.0.0.1/0?ssl_keyfile=/k.pem&ssl_password=pw")
    assert "pw" not in without_password("redis+sentinel://10.0.0.1/main/0?sentinel_password=pw")
    assert without_password("https://shop.example/a@b") == "https://shop.example/a@b"

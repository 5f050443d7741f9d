"""Which clients count as one."""

import pytest

from worker.web import limits


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.1", "203.0.113.1", True),
        ("203.0.113.1", "203.0.113.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_client_is_an_address_or_64_bits_of_ipv6(one: str, other: str, is_same: bool) -> None:
    assert (limits.network_of(one) == limits.network_of(other)) is is_same

"""Authentication-Results and DKIM-Signature, as hosts write them and as attackers might."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.feedback.authentication import Result, Results, parse_results, signatures

GMAIL = (
    "mx.google.com;       dkim=pass header.i=@shop.example header.s=s1 header.b=abc;       "
    "spf=pass (google.com: domain of b+1@shop.example designates 192.0.2.1; as (permitted) sender) "
    "smtp.mailfrom=b+1@shop.example;       dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=shop.example"
)
EXCHANGE = (
    "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=shop.example; dkim=pass (signature was verified) "
    "header.d=shop.example;dmarc=pass action=none header.from=shop.example;compauth=pass reason=100"
)


def test_gmails_field_is_read() -> None:
    assert parse_results(GMAIL) == Results(
        "mx.google.com",
        [
            Result("dkim", "pass", {"header.i": "@shop.example", "header.s": "s1", "header.b": "abc"}),
            Result("spf", "pass", {"smtp.mailfrom": "b+1@shop.example"}),
            Result("dmarc", "pass", {"header.from": "shop.example"}),
        ],
    )


def test_exchange_leaves_its_name_out() -> None:
    found = parse_results(EXCHANGE)
    assert found.host == ""
    assert [(each.method, each.value) for each in found.results] == [
        ("spf", "pass"),
        ("dkim", "pass"),
        ("dmarc", "pass"),
        ("compauth", "pass"),
    ]


@pytest.mark.parametrize(
    ("value", "host", "results"),
    [
        ("example.org 1; none", "example.org", []),
        ('"mx; one" ; spf=PASS', "mx; one", [("spf", "pass")]),
        ("(a (nested; dkim=pass) comment) MX.example (v)  1 ; spf / 1 = fail (x)", "mx.example", [("spf", "fail")]),
        ('mx; dkim=fail reason="; dkim=pass header.d=shop.example"', "mx", [("dkim", "fail")]),
        ("mx; dkim=fail (bad \\) ; dkim=pass) header.d=x", "mx", [("dkim", "fail")]),
        ("mx; dkim=fail (never closed; dkim=pass header.d=shop.example", "mx", [("dkim", "fail")]),
        ('mx; dkim=fail reason="(" ; spf=pass', "mx", [("dkim", "fail"), ("spf", "pass")]),
        ('mx; dkim=fail (") ; spf=pass', "mx", [("dkim", "fail"), ("spf", "pass")]),
        ("mx; dkim=passing-by; spf=pass!", "mx", [("dkim", "")]),
        ("", "", []),
        (";;;", "", []),
        ("mx; =pass; dkim=; dkim pass", "mx", []),
    ],
)
def test_comments_and_quoted_strings_say_nothing(value: str, host: str, results: list[tuple[str, str]]) -> None:
    found = parse_results(value)
    assert found.host == host
    assert [(each.method, each.value) for each in found.results] == [each for each in results if each[1]]


def test_a_property_may_be_quoted() -> None:
    [result] = parse_results('mx; spf=pass smtp.mailfrom="a\\"b"@x policy . rule = "x y"').results
    assert result.properties["policy.rule"] == "x y"


def test_results_are_bounded() -> None:
    assert len(parse_results("mx" + "; dkim=pass" * 1_000).results) == 50


@given(st.text(alphabet='ab=;.()"\\/ \t@1', max_size=60))
def test_anything_is_read(value: str) -> None:
    parse_results(value)


def test_a_signature_is_read_and_a_broken_one_is_left_out() -> None:
    values = [
        "v=1; a=rsa-sha256; d=Shop.example; s=s1;\r\n h=From : To:\r\n List-Unsubscribe; bh=; b=x",
        "v=1; d",
        "d=x",
    ]
    first, second = signatures(iter(values))
    assert (first.domain, first.selector) == ("shop.example", "s1")
    assert first.covers == {"from", "to", "list-unsubscribe"}
    assert second.covers == {""}

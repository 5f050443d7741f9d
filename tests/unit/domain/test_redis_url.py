"""The URL of a Redis behind Sentinel: every form that it may have, and no password in clear text or in errors."""

import re

import pytest

from worker.domain.redis_url import FORM, Login, Sentinels, sentinels_of

SECRET = "hunter2"


def parsed(url: str) -> Sentinels:
    sentinels = sentinels_of(url)
    assert sentinels
    return sentinels


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        ("redis+sentinel://a/shop", [("a", 26379)], 0),
        ("redis+sentinel://a/shop/", [("a", 26379)], 0),
        ("redis+sentinel://a:1/shop/2", [("a", 1)], 2),
        ("redis+sentinel://a:1,b,c:65535/shop/15", [("a", 1), ("b", 26379), ("c", 65535)], 15),
        ("redis+sentinel://a:1, b:2/shop", [("a", 1), ("b", 2)], 0),
        (
            "redis+sentinel://[::1]:1,[2001:DB8::2],10.0.0.3/shop",
            [("::1", 1), ("2001:db8::2", 26379), ("10.0.0.3", 26379)],
            0,
        ),
        (
            "redis+sentinel://sentinel_1.internal,münchen.example/shop",
            [("sentinel_1.internal", 26379), ("xn--mnchen-3ya.example", 26379)],
            0,
        ),
        ("redis+sentinel://u:p@a:1,b:2/my.shop_1-x/0?sentinel_password=x", [("a", 1), ("b", 2)], 0),
    ],
)
def test_hosts_and_database(url: str, hosts: list[tuple[str, int]], database: int) -> None:
    sentinels = parsed(url)
    assert list(sentinels.hosts) == hosts
    assert sentinels.database == database


def test_the_service_comes_first_even_if_it_looks_like_a_number() -> None:
    assert parsed("redis+sentinel://a/my.shop_1-X/0").service == "my.shop_1-X"
    assert parsed("redis+sentinel://a/7/3") == Sentinels((("a", 26379),), "7", 3)


def test_tls_is_for_the_scheme_with_two_s() -> None:
    assert parsed("rediss+sentinel://a/shop").is_encrypted
    assert not parsed("redis+sentinel://a/shop").is_encrypted


@pytest.mark.parametrize(
    "url",
    [
        "redis://a",
        "rediss://u:p@a:1/0",
        "redis://:p%2C%3B@[::1]:6379/0",
        "rediss://a/0?",
        "rediss://a/0?ssl_ca_certs=/etc/sentinel/ca.pem",
        "rediss://a/0?ssl_certfile=/a.pem&ssl_keyfile=/b.pem&ssl_password=p%26&ssl_ca_path=/etc/ssl",
        "rediss://a/0?ssl_cert_reqs=required&ssl_check_hostname=true",
    ],
)
def test_one_server_has_no_sentinels(url: str) -> None:
    assert sentinels_of(url) is None


@pytest.mark.parametrize(
    ("user", "login"),
    [
        ("", {"username": None, "password": None}),
        ("shop:p@", {"username": "shop", "password": "p"}),
        (":p@", {"username": None, "password": "p"}),
        ("sh%40op:p%40%2F%3A%2C%3B%25%20%C3%A4@", {"username": "sh@op", "password": "p@/:,;% ä"}),
        ("shop:a:b@c,d@", {"username": "shop", "password": "a:b@c,d"}),
    ],
)
def test_user_and_password_are_those_of_the_servers(user: str, login: dict[str, str | None]) -> None:
    sentinels = parsed(f"redis+sentinel://{user}a,b/shop")
    assert sentinels.login.as_options() == login
    assert sentinels.sentinel_login == Login(), "the sentinels are not told the servers' password"
    assert [host for host, _ in sentinels.hosts] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "login"),
    [
        ("?", {"username": None, "password": None}),
        ("?sentinel_password=p%26%3D%40+", {"username": None, "password": "p&=@+"}),
        ("?sentinel_password=p&sentinel_username=s%40x", {"username": "s@x", "password": "p"}),
        ("?sentinel_username=&sentinel_password=", {"username": None, "password": None}),
    ],
)
def test_the_sentinels_may_want_a_login_of_their_own(options: str, login: dict[str, str | None]) -> None:
    sentinels = parsed(f"redis+sentinel://u:p@a/shop/0{options}")
    assert sentinels.sentinel_login.as_options() == login


WRONG = {
    # what other programs and libraries take
    FORM: [
        f"sentinel://:{SECRET}@a:26379",
        f"sentinel://:{SECRET}@a:26379;sentinel://:{SECRET}@b:26379",
        f"redis-sentinel://{SECRET}@a:26379,b:26379/0#mymaster",
        f"redis-sentinel://a:26379,b?sentinelMasterId={SECRET}",
        f"rediss-sentinel://a/{SECRET}",
        f"valkey+sentinel://a/{SECRET}",
        f"Redis+Sentinel://a/{SECRET}",
        f"redis+sentinel://:{SECRET}@a:26379;redis+sentinel://:{SECRET}@b:26379/shop",
        f"redis+sentinel://:{SECRET}@a;b/shop",
        f"redis+sentinel://:{SECRET}@a,b/0",
        f"redis+sentinel://:{SECRET}@a,b",
        f"redis+sentinel://:{SECRET}@a,b/",
        f"redis+sentinel://:{SECRET}@a,b//0",
        f"redis+sentinel://:{SECRET}@a,b?service_name=shop",
        f"redis+sentinel://:{SECRET}@a,b/0?serviceName=shop",
        f"redis+sentinel://:{SECRET}@a,b/shop?master_name=shop",
        f"redis+sentinel://:{SECRET}@a,b/0#shop",
        f"redis+sentinel://:{SECRET}@a,b/0/shop",
        f"redis+sentinel://:{SECRET}@a,b/shop/0/1",
        f"redis+sentinel://:{SECRET}@a,b/sh op/0",
        f"redis+sentinel://:{SECRET}@a,b/shop/x",
        f"redis://:{SECRET}@a:26379/0?service_name=shop",
        f"redis://:{SECRET}@a:26379/0?sentinel=shop",
        f"redis://:{SECRET}@a:26379,b:26379/0",
    ],
    "each host with a port": [
        f"redis+sentinel://:{SECRET}@/shop",
        f"redis+sentinel://:{SECRET}@a,,b/shop",
        f"redis+sentinel://:{SECRET}@a,b,/shop",
        f"redis+sentinel://:{SECRET}@a:0/shop",
        f"redis+sentinel://:{SECRET}@a:65536/shop",
        f"redis+sentinel://:{SECRET}@a:x/shop",
        f"redis+sentinel://:{SECRET}@a:/shop",
        f"redis+sentinel://:{SECRET}@::1/shop",
        f"redis+sentinel://:{SECRET}@[::1/shop",
        f"redis+sentinel://:{SECRET}@[]/shop",
    ],
    "must name a host": [f"redis+sentinel://:{SECRET}@a b/shop", f"redis+sentinel://:{SECRET}@-a/shop"],
    "not an IPv6 address": [f"redis+sentinel://:{SECRET}@[::g]/shop"],
    "begins with a :": [f"redis+sentinel://{SECRET}@a/shop", f"redis+sentinel://{SECRET}:@a/shop"],
    "these options once": [
        f"redis+sentinel://a/shop?password={SECRET}",
        f"redis+sentinel://a/shop?sentinel_password={SECRET}&sentinel_password=x",
        f"redis+sentinel://a/shop?{SECRET}",
        f"redis+sentinel://a/shop?ssl_cert_reqs=none&sentinel_password={SECRET}",
    ],
    "always verified": [
        f"rediss://:{SECRET}@a/0?ssl_cert_reqs={value}"
        for value in (
            "none",
            "CERT_NONE",
            "optional",
            "CERT_REQUIRED",
            "",
            f"{SECRET}",
            "None",
            "required&ssl_cert_reqs=none",
        )
    ]
    + [
        f"rediss://:{SECRET}@a/0?ssl_check_hostname=false",
        f"rediss://:{SECRET}@a/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=0",
        f"rediss://:{SECRET}@a/0?ssl%5Fcert_reqs=none",
        f"rediss://:{SECRET}@a/0?ssl_cert_reqs",
        f"redis://:{SECRET}@a/0?ssl_cert_reqs=none",
    ],
    "only with rediss://, each once": [
        f"redis://:{SECRET}@a/0?ssl_ca_certs=/ca.pem",
        f"redis://:{SECRET}@a/0?ssl_cert_reqs=required",
        f"redis://a/0?{SECRET}=1",
        f"redis://a/0?{SECRET}",
        f"redis://:{SECRET}@a/0?db=3",
        f"redis://:{SECRET}@a/0?decode_responses=true",
        f"rediss://:{SECRET}@a/0?protocol=3",
        f"rediss://:{SECRET}@a/0?socket_timeout=5",
        f"rediss://:{SECRET}@a/0?ssl=true",
        f"rediss://:{SECRET}@a/0?ssl_min_version=771",
        f"rediss://:{SECRET}@a/0?ssl_ca_certs=/a.pem&ssl_ca_certs=/b.pem",
    ],
    "with its sentinel_username": [f"redis+sentinel://a/shop?sentinel_username={SECRET}"],
    "UTF-8": [f"redis+sentinel://:{SECRET}%ff@a/shop"],
    "control character": [f"redis+sentinel://:{SECRET}%00@a/shop"],
    "a cluster is not supported": [f"redis+cluster://{SECRET}@a", f"valkey://{SECRET}@a", SECRET],
}


@pytest.mark.parametrize(("words", "url"), [(words, url) for words, urls in WRONG.items() for url in urls])
def test_a_wrong_form_is_one_line_that_shows_the_right_one_and_no_secret(words: str, url: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        sentinels_of(url)
    said = str(refused.value)
    assert SECRET not in said
    assert "\n" not in said


def test_no_password_is_shown() -> None:
    shown = repr(parsed(f"redis+sentinel://u:{SECRET}@a/shop?sentinel_username=s&sentinel_password={SECRET}1"))
    assert SECRET not in shown

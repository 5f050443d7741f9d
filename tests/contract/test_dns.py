"""`doctor --dns`: what records of the DNS mean for our mail, asked from a real server on this machine."""

import base64
from collections.abc import Mapping, Sequence

import dns.resolver
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.dns_server import FAILS, SILENT, DnsServer
from worker.dns_records import Dns, NameServer, parse_name_server
from worker.domain.errors import DnsAway
from worker.services.dns_checks import Domains, examine

SHOP = Domains("shop.example", "shop.example")
GOOD = {
    "shop.example TXT": ['"v=spf1 include:relay.example -all"', '"google-site-verification=x"'],
    "relay.example TXT": ['"v=spf1 ip4:192.0.2.0/24 ~all"'],
    "_dmarc.shop.example TXT": ['"v=DMARC1; p=reject; rua=mailto:x@shop.example"'],
    "shop.example MX": ["10 mx.shop.example."],
    "mx.shop.example AAAA": ["2001:db8::1"],
}


def looked_up(
    records: Mapping[str, Sequence[str]],
    domains: Domains = SHOP,
    troubles: Mapping[str, str] | None = None,
    seconds: float = 2.0,
) -> dict[str, tuple[bool | None, str]]:
    with DnsServer(records, troubles) as server:
        found = list(examine(Dns(server.place, seconds), domains))
    assert all(finding.text.isprintable() for finding in found)
    return {finding.name: (finding.is_well, finding.text) for finding in found}


def test_a_good_domain_is_well() -> None:
    assert looked_up(GOOD) == {
        "spf": (True, "shop.example has a record that needs 1 of 10 lookups and ends in -all; does it name the relay?"),
        "dmarc": (True, "_dmarc.shop.example says p=reject"),
        "mx": (True, "shop.example takes replies at mx.shop.example"),
    }


def test_a_domain_without_records_is_ill() -> None:
    found = looked_up({}, Domains("shop.example", "bounces.shop.example", ["s1"]))
    assert list(found) == ["spf", "dmarc", "dkim s1", "mx", "mx bounces"]
    assert {is_well for is_well, _ in found.values()} == {False}


@pytest.mark.parametrize(
    ("texts", "is_well", "words"),
    [
        (["v=spf1 -all", "v=spf1 ~all"], False, "2 SPF records"),
        (["v=spf1 +all"], False, "anybody"),
        (["v=spf1 all"], False, "anybody"),
        (["v=spf1 ip4:192.0.2.1 ?all"], True, "forbids nobody"),
        (
            ["v=spf1 mx a:x.example/24 ptr exists:%{i}.x.example ip6:2001:db8::/32"],
            True,
            "4 of 10 lookups and ends in no all",
        ),
        (["v=SPF1 A MX -ALL"], True, "2 of 10 lookups and ends in -all"),
        (["v=spf1 redirect=relay.example"], True, "1 of 10 lookups and ends in a redirect"),
        (["v=spf1 -all redirect=gone.example"], True, "0 of 10"),
        (["v=spf1 -all +all nonsense"], True, "ends in -all"),
        (["v=spf1 include:gone.example -all"], False, "gone.example has no SPF records"),
        (["v=spf1 include:shop.example -all"], False, "over 10 lookups"),
        (["v=spf1 a a a a a a a a a a a -all"], False, "over 10 lookups"),
        (["v=spf1 include:%{d}.x.example -all"], True, "1 of 10"),
        (["v=spf1 ipv4:192.0.2.1 -all"], False, "unknown term ipv4:192.0.2.1"),
        (["v=spf10 -all"], False, "no SPF records"),
        (["x" * 200 + '" "' + "y" * 200], False, "no SPF records"),
    ],
)
def test_spf(texts: list[str], is_well: bool, words: str) -> None:
    records = GOOD | {"shop.example TXT": [f'"{text}"' for text in texts]}
    found = looked_up(records)["spf"]
    assert (found[0], words in found[1]) == (is_well, True), found


def test_a_record_of_several_strings_is_one_text() -> None:
    assert looked_up(GOOD | {"shop.example TXT": ['"v=spf1 -a" "ll"']})["spf"][0] is True


def test_spf_is_about_the_return_path() -> None:
    domains = Domains("shop.example", "bounces.relay.example")
    found = looked_up(GOOD | {"bounces.relay.example TXT": ['"v=spf1 -all"']}, domains)
    assert found["spf"][1].startswith("bounces.relay.example has a record")
    assert found["dmarc"] == (
        True,
        "_dmarc.shop.example says p=reject; SPF can't count, since bounces go to bounces.relay.example: DKIM has to",
    )


@pytest.mark.parametrize(
    ("texts", "is_well", "words"),
    [
        (["v=DMARC1; p=none"], True, "only watches"),
        (["v=DMARC1;p=Quarantine;"], True, "p=quarantine"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], False, "2 records"),
        (["v=DMARC1"], False, "no policy"),
        (["v=DMARC1; p=all"], False, "no policy"),
        (["v=DMARC1; p"], False, "name=value"),
        (["other"], False, "no DMARC record"),
    ],
)
def test_dmarc(texts: list[str], is_well: bool, words: str) -> None:
    found = looked_up(GOOD | {"_dmarc.shop.example TXT": [f'"{text}"' for text in texts]})["dmarc"]
    assert (found[0], words in found[1]) == (is_well, True), found


def test_dmarc_is_found_at_the_organization_and_no_higher() -> None:
    domains = Domains("a.b.shop.example", "shop.example")
    with DnsServer(GOOD | {"_dmarc.shop.example TXT": ['"v=DMARC1; p=reject; sp=none; aspf=s"']}) as server:
        found = {each.name: each.text for each in examine(Dns(server.place), domains)}
    assert found["dmarc"].startswith("_dmarc.shop.example says p=none, which only watches; SPF can't count")
    with DnsServer({}) as server:
        list(examine(Dns(server.place), domains))
    assert [name for name in server.asked if name.startswith("_dmarc")] == [
        "_dmarc.a.b.shop.example txt",
        "_dmarc.b.shop.example txt",
        "_dmarc.shop.example txt",
    ]


def rsa_text(bits: int) -> str:
    public = rsa.generate_private_key(65537, bits).public_key()
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


SHORT, LONG = rsa_text(1024), rsa_text(2048)
BARE = base64.b64encode(
    rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
).decode()
TOO_SHORT = base64.b64encode(b"\x30\x46\x02\x41\x00\x80" + bytes(63) + b"\x02\x01\x03").decode()
ED25519 = base64.b64encode(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


@pytest.mark.parametrize(
    ("texts", "is_well", "words"),
    [
        ([f"v=DKIM1; k=rsa; p={LONG}"], True, "2,048 bits"),
        ([f"p={SHORT}"], True, "1,024 bits; 2,048 are recommended"),
        ([f"p={TOO_SHORT}"], False, "512 bits; too short"),
        ([f"p={BARE}"], True, "2,048 bits"),
        ([f"v=DKIM1; k=ed25519; p={ED25519}"], True, "Ed25519"),
        ([f"v=DKIM1; t=s:y; p={SHORT}"], False, "test"),
        (["v=DKIM1; p="], False, "revoked"),
        (["v=DKIM1; k=rsa"], False, "no key"),
        ([f"v=DKIM1; k=dsa; p={SHORT}"], False, "unknown type"),
        ([f"p={SHORT[:60]}"], False, "can't be read"),
        (["p=!"], False, "can't be read"),
        (["k=ed25519; p=AAAA"], False, "Ed25519"),
        (["hello"], False, "name=value"),
        ([f"p={SHORT}", f"p={ED25519}"], False, "2 records"),
        ([], False, "no records"),
    ],
)
def test_dkim(texts: list[str], is_well: bool, words: str) -> None:
    pieces = ['" "'.join(text[at : at + 200] for at in range(0, len(text), 200)) for text in texts]
    key = {"s1._domainkey.shop.example TXT": [f'"{piece}"' for piece in pieces]} if texts else {}
    found = looked_up(GOOD | key, Domains("shop.example", "shop.example", ["s1"]))["dkim s1"]
    assert (found[0], words in found[1]) == (is_well, True), found


@pytest.mark.parametrize(
    ("records", "is_well", "words"),
    [
        ({"shop.example MX": ["0 ."]}, False, "its MX is a dot"),
        ({"shop.example MX": ["10 gone.example.", "20 mx.shop.example."]}, True, "takes bounces"),
        ({"shop.example MX": ["10 gone.example."]}, False, "no MX of"),
        ({"shop.example A": ["192.0.2.1"]}, True, "its own address"),
        ({}, False, "neither MX nor address"),
    ],
)
def test_where_bounces_go(records: dict[str, list[str]], is_well: bool, words: str) -> None:
    others = {name: texts for name, texts in GOOD.items() if name != "shop.example MX"}
    found = looked_up(others | records, Domains("other.example", "shop.example"))["mx bounces"]
    assert (found[0], words in found[1]) == (is_well, True), found


@pytest.mark.parametrize(("trouble", "words"), [(SILENT, "no answer within 0.2 s"), (FAILS, "failed, or refused")])
def test_a_server_that_does_not_answer_is_one_line_and_no_verdict(trouble: str, words: str) -> None:
    found = looked_up(GOOD, troubles={"shop.example": trouble}, seconds=0.2)
    assert found["spf"][0] is None
    assert words in found["spf"][1]
    assert found["dmarc"][0] is True


@pytest.mark.parametrize("name", ["x" * 64 + ".example", "a..example", "x." * 200 + "example", "\ud800.example"])
def test_a_name_that_is_none_is_no_traceback(name: str) -> None:
    with DnsServer({}) as server, pytest.raises(DnsAway):
        Dns(server.place).texts(name)


def test_a_machine_without_a_resolver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "__init__", none)
    with pytest.raises(DnsAway, match="no DNS server"):
        Dns().texts("shop.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", NameServer("192.0.2.1", 53)),
        ("192.0.2.1:5353", NameServer("192.0.2.1", 5353)),
        ("2001:db8::1", NameServer("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", NameServer("2001:db8::1", 5353)),
    ],
)
def test_a_server_is_an_address_with_or_without_a_port(text: str, expected: NameServer) -> None:
    assert parse_name_server(text) == expected


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:٣"])
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an IP address"):
        parse_name_server(text)

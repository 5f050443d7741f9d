"""What the DNS says of our domains: whether receivers can authenticate our mail, and whether bounces find us."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from worker.dns_records import Dns
from worker.domain.alignment import are_aligned, organization
from worker.domain.errors import DnsAway
from worker.domain.replies import one_line
from worker.domain.rsa_keys import rsa_bits
from worker.domain.spf import LOOKUP_LIMIT, SpfRecord, is_spf, parse_spf
from worker.domain.tag_lists import parse_tags, without_blanks
from worker.services.doctor import Finding

LEAST_BITS: Final = 1024
GOOD_BITS: Final = 2048
"""Gmail takes RSA keys of 1,024 bits and more, and recommends 2,048 (support.google.com/a/answer/81126)."""
_PARENTS: Final = 5
"""Parents of a domain at which a DMARC record is looked for."""
_HOSTS: Final = 5
"""Hosts of a domain's MX whose addresses are looked for."""
_MACRO: Final = "%"
_ED25519_OCTETS: Final = 32

_Look = tuple[bool, str]


@dataclass(frozen=True, slots=True)
class Domains:
    """Whose records are looked up."""

    author: str
    """the domain of From"""
    return_path: str
    """the domain that bounces go to, which SPF is about"""
    selectors: Sequence[str] = ()
    """the names of the keys that the relay signs with"""


def examine(dns: Dns, domains: Domains) -> Iterator[Finding]:
    """Yields one finding per check. One that could not be looked up is neither good nor bad."""
    author, back = domains.author, domains.return_path
    yield _finding("spf", lambda: _spf(dns, back))
    yield _finding("dmarc", lambda: _dmarc(dns, domains))
    for selector in domains.selectors:
        yield _finding(f"dkim {selector}", partial(_dkim, dns, f"{selector}._domainkey.{author}"))
    yield _finding("mx", lambda: _takes_mail(dns, author, "replies"))
    if back != author:
        yield _finding("mx bounces", lambda: _takes_mail(dns, back, "bounces"))


def _finding(name: str, look: Callable[[], _Look]) -> Finding:
    try:
        is_well, text = look()
    except DnsAway as away:
        return Finding(name, None, f"not checked: {one_line(str(away))}")
    return Finding(name, is_well, one_line(text))


# SPF (RFC 7208)


def _spf(dns: Dns, domain: str) -> _Look:
    try:
        record = _spf_record(dns, domain)
        lookups = _lookups(dns, record)
    except ValueError as wrong:
        return False, str(wrong)
    if lookups > LOOKUP_LIMIT:
        return False, f"{domain} needs over {LOOKUP_LIMIT} lookups, at which receivers give up"
    if record.everybody == "+":
        return False, f"{domain} lets anybody send (+all)"
    end = f"{record.everybody}all" if record.everybody else "a redirect" if record.redirects else "no all"
    weak = ", which forbids nobody" if end in ("?all", "no all") else ""
    needs = f"{domain} has a record that needs {lookups} of {LOOKUP_LIMIT} lookups"
    return True, f"{needs} and ends in {end}{weak}; does it name the relay?"


def _spf_record(dns: Dns, domain: str) -> SpfRecord:
    """Raises ValueError if there is not exactly one that can be understood."""
    found = [text for text in dns.texts(domain) if is_spf(text)]
    if len(found) != 1:
        raise ValueError(f"{domain} has {len(found) or 'no'} SPF records, and has to have one")
    try:
        return parse_spf(found[0])
    except ValueError as wrong:
        raise ValueError(f"{domain} {wrong}") from None


def _lookups(dns: Dns, record: SpfRecord) -> int:
    """Counts the lookups of a record and of those that it includes, until there are too many."""
    count, waiting = record.lookups, list(record.follows)
    while waiting and count <= LOOKUP_LIMIT:
        domain = waiting.pop(0)
        if _MACRO not in domain:
            included = _spf_record(dns, domain)
            count += included.lookups
            waiting += included.follows
    return count


# DMARC (RFC 7489)


def _dmarc(dns: Dns, domains: Domains) -> _Look:
    domain = domains.author
    for at in _with_parents(domain):
        found = [text for text in dns.texts(f"_dmarc.{at}") if text.replace(" ", "").lower().startswith("v=dmarc1")]
        if len(found) > 1:
            return False, f"_dmarc.{at} has {len(found)} records, and receivers take none of them"
        if found:
            return _dmarc_record(found[0], at, domains)
    return False, f"{domain} has no DMARC record (_dmarc.{domain})"


def _with_parents(domain: str) -> list[str]:
    """Returns the domain, and those above it down to the organization's, the longest first."""
    labels = domain.split(".")
    least = organization(domain).count(".") + 1
    return [".".join(labels[start:]) for start in range(max(len(labels) - least, 0) + 1)][: _PARENTS + 1]


def _dmarc_record(text: str, at: str, domains: Domains) -> _Look:
    try:
        tags = parse_tags(text)
    except ValueError as wrong:
        return False, f"_dmarc.{at} {wrong}"
    policy = (tags.get("sp") if at != domains.author else None) or tags.get("p", "")
    if policy.lower() not in ("none", "quarantine", "reject"):
        return False, f"_dmarc.{at} has no policy (p=none, quarantine or reject)"
    watching = ", which only watches" if policy.lower() == "none" else ""
    return True, f"_dmarc.{at} says p={policy.lower()}{watching}{_spf_cannot_count(tags.get('aspf', 'r'), domains)}"


def _spf_cannot_count(mode: str, domains: Domains) -> str:
    author, back = domains.author, domains.return_path
    if author == back if mode.lower() == "s" else are_aligned(author, back):
        return ""
    return f"; SPF can't count, since bounces go to {back}: DKIM has to"


# DKIM (RFC 6376)


def _dkim(dns: Dns, name: str) -> _Look:
    found = dns.texts(name)
    if len(found) != 1:
        return False, f"{name} has {len(found) or 'no'} records, and has to have one"
    try:
        tags = parse_tags(found[0])
    except ValueError as wrong:
        return False, f"{name} {wrong}"
    if "p" not in tags:
        return False, f"{name} has no key (p=)"
    try:
        key = base64.b64decode(without_blanks(tags["p"]), validate=True)
        return _key(name, tags.get("k", "rsa").lower(), key, "y" in tags.get("t", "").split(":"))
    except ValueError:
        return False, f"{name} has a key that can't be read"


def _key(name: str, type_: str, key: bytes, is_test: bool) -> _Look:
    if not key:
        return False, f"{name} was revoked: its key is empty"
    if is_test:
        return False, f"{name} says that it is a test (t=y): receivers take the mail for unsigned"
    if type_ == "ed25519":
        return len(key) == _ED25519_OCTETS, f"{name} has an Ed25519 key, which few receivers know: sign with RSA too"
    if type_ != "rsa":
        return False, f"{name} has a key of an unknown type"
    bits = rsa_bits(key)
    advice = "" if bits >= GOOD_BITS else f"; {GOOD_BITS:,} are recommended" if bits >= LEAST_BITS else "; too short"
    return bits >= LEAST_BITS, f"{name} has an RSA key of {bits:,} bits{advice}"


# Where answers and bounces go (RFC 5321 section 5.1, RFC 7505)


def _takes_mail(dns: Dns, domain: str, what: str) -> _Look:
    hosts = dns.exchangers(domain)
    if hosts == ["."]:
        return False, f"{domain} takes no mail (its MX is a dot): {what} are lost"
    if not hosts:
        if dns.has_address(domain):
            return True, f"{domain} has no MX; its own address takes the {what}"
        return False, f"{domain} has neither MX nor address: {what} are lost"
    if any(dns.has_address(host) for host in hosts[:_HOSTS]):
        return True, f"{domain} takes {what} at {hosts[0]}"
    return False, f"no MX of {domain} has an address: {what} are lost"

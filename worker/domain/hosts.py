"""Hosts and credentials, as all URLs of settings have them. Error texts never contain the value."""

import re
import unicodedata
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import idna
from pydantic import SecretStr

FORM: Final = "user:password@host:port"
# Not a strict host name: container networks use underscores.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")


def split_url(url: str) -> SplitResult:
    """Splits a URL whose parts are still encoded. Raises ValueError."""
    # urlsplit silently deletes CR, LF and TAB, and its errors quote the value.
    if has_control(url) or " " in url:
        raise ValueError("must not contain spaces or control characters (percent-encode them)")
    try:
        parts = urlsplit(url)
        if parts.port != 0:
            return parts
    except ValueError:
        pass  # its text contains the value
    raise ValueError(f"must be {FORM} with a port from 1 to 65535 (percent-encode / ? # @ : in a password)")


def credentials(parts: SplitResult) -> tuple[str | None, SecretStr | None]:
    """Returns user and password, percent-decoded: both, or neither. Raises ValueError."""
    if parts.username is None and parts.password is None:
        return None, None
    username, password = decoded(parts.username), decoded(parts.password)
    if not username or not password:
        raise ValueError("must have both a user and a password, or neither")
    return username, SecretStr(password)


def is_loopback(host: str) -> bool:
    """Whether a host of `host_of` is this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(text: str) -> str:
    """Returns a host name as A-labels, or an IP address; one of IPv6 comes without its brackets. Raises ValueError."""
    if ":" in text:
        return _ipv6(text)
    if text and not text.isascii():
        text = _a_label(text)
    if len(text) > 253 or not _HOST_NAME.fullmatch(text):
        raise ValueError(f"must name a host: {FORM}")
    return text


def decoded(part: str | None) -> str:
    """Returns a percent-decoded user or password. Raises ValueError."""
    try:
        text = unquote(part or "", errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has a user or password that is not UTF-8 once percent-decoded") from None
    if has_control(text):
        raise ValueError("has a control character in the user or password")
    return text


def has_control(text: str) -> bool:
    """Whether a text has control characters, line ends or surrogates."""
    return any(unicodedata.category(char) in {"Cc", "Zl", "Zp", "Cs"} for char in text)


def _ipv6(host: str) -> str:
    try:
        return str(IPv6Address(host))
    except ValueError:
        raise ValueError("has something in [] that is not an IPv6 address") from None


def _a_label(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("has a host that is not a valid internationalised name") from None

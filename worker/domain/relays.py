"""Relays and the sender: the parsed values of SMTP_URL and MAIL_FROM.

Pure and independent of `config`, so that `smtp` and `mail` can use them. Error texts never contain the value, because
it may hold a password.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import SecretStr

from worker.domain.hosts import FORM, credentials, has_control, host_of, is_loopback, split_url

Security = Literal["plain", "starttls", "tls"]

_SECURITY: Final[dict[str, Security]] = {
    "smtp": "plain",
    "smtp+starttls": "starttls",
    "smtps": "tls",
}
_SCHEMES: Final = {security: scheme for scheme, security in _SECURITY.items()}
_PORTS: Final[dict[Security, int]] = {"plain": 25, "starttls": 587, "tls": 465}

_MAILBOX: Final = re.compile(r"\s*(?P<name>[^<>]*?)\s*<\s*(?P<address>[^<>\s]+)\s*>\s*")
_QUOTED: Final = re.compile(r'"(?P<inner>(?:[^"\\]|\\.)*)"')
_NAME_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Relay:
    """The SMTP server that mail is handed to.

    `plain` never encrypts, `starttls` requires STARTTLS (RFC 3207), `tls` encrypts from the first
    byte (RFC 8314). Raises ValueError if a password would leave this machine unencrypted.
    """

    host: str
    port: int
    security: Security
    username: str | None = field(default=None, repr=False)
    password: SecretStr | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.password is not None and self.security == "plain" and not self.is_loopback:
            raise ValueError(
                "would send its password unencrypted: use smtp+starttls:// or smtps://"
                " (smtp:// with a password is for localhost, 127.0.0.0/8 and ::1 only)"
            )

    def __str__(self) -> str:
        """The URL without credentials, for logs and error texts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_SCHEMES[self.security]}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the relay is on this machine."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A sender: a display name (may be empty) and an ASCII address (RFC 5322 mailbox)."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """The domain of the address, as an A-label."""
        return self.address.rpartition("@")[2]


def parse_relays(urls: str) -> tuple[Relay, ...]:
    """Parses one relay, or several separated by commas, in the order in which they are tried.

    Spaces around commas are allowed. A comma in a password is written as %2C. Raises ValueError, whose text has the
    number of the wrong relay.
    """
    parts = urls.split(",")
    if len(parts) == 1:
        return (parse_relay(urls),)
    relays = tuple(_numbered(number, part.strip(" ")) for number, part in enumerate(parts, 1))
    for number, relay in enumerate(relays, 1):
        if str(relay) in map(str, relays[: number - 1]):
            raise ValueError(f"{_place(number)} names a server that is already in the list")
    return relays


def _numbered(number: int, url: str) -> Relay:
    try:
        return parse_relay(url)
    except ValueError as error:
        raise ValueError(f"{_place(number)} {error}") from None


def _place(number: int) -> str:
    return f"(relay {number} of the list; a comma in a password is %2C)"


def parse_relay(url: str) -> Relay:
    """Parses `smtp://`, `smtp+starttls://` or `smtps://` followed by `user:password@host:port`.

    User and password are percent-decoded. The default ports are 25, 587 and 465. Raises ValueError.
    """
    parts = split_url(url)
    security = _SECURITY.get(parts.scheme)
    if security is None:
        raise ValueError("must begin with smtp://, smtp+starttls:// or smtps://")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"must be {FORM}, nothing more (percent-encode / ? # in a password)")
    username, password = credentials(parts)
    port = _PORTS[security] if parts.port is None else parts.port
    return Relay(host_of(parts.hostname or ""), port, security, username, password)


def parse_mailbox(text: str) -> Mailbox:
    """Parses `Shop <shop@shop.example>`, `"Shop, Inc." <...>` or a bare address.

    The domain is converted to A-labels; the local part must be ASCII. Raises ValueError.
    """
    if has_control(text):
        raise ValueError("must not contain control characters")
    match = _MAILBOX.fullmatch(text)
    name, address = (match["name"], match["address"]) if match else ("", text.strip())
    return Mailbox(_name(name), _address(address))


def _name(name: str) -> str:
    quoted = _QUOTED.fullmatch(name)
    plain = re.sub(r"\\(.)", r"\1", quoted["inner"]) if quoted else name
    if len(plain) > _NAME_LIMIT:
        raise ValueError(f"has a name of over {_NAME_LIMIT} characters")
    return plain.strip()


def _address(address: str) -> str:
    try:
        # test_environment allows the reserved .test domain, which is harmless in a sender.
        valid = validate_email(address, check_deliverability=False, allow_smtputf8=False, test_environment=True)
    except EmailNotValidError:
        raise ValueError("must be an address, like Shop <shop@shop.example>") from None
    return f"{valid.local_part}@{valid.ascii_domain}"

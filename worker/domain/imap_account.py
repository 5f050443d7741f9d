"""A mailbox on an IMAP server: the parsed value of STOCKBELL_BOUNCE_IMAP.

Pure. Error texts never contain the value, because it holds a password.
"""

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from pydantic import SecretStr

from worker.domain.hosts import credentials, decoded, host_of, is_loopback, split_url

Security = Literal["plain", "starttls", "tls"]

INBOX: Final = "INBOX"
_SECURITY: Final[dict[str, Security]] = {"imap": "plain", "imap+starttls": "starttls", "imaps": "tls"}
_SCHEMES: Final = {security: scheme for scheme, security in _SECURITY.items()}
_PORTS: Final[dict[Security, int]] = {"plain": 143, "starttls": 143, "tls": 993}
_FORM: Final = "imaps://user:password@host:port/Folder"


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """Who logs in where, and which folder is read.

    `plain` never encrypts, and is for this machine only; `starttls` requires STARTTLS (RFC 9051 section 6.2.1), `tls`
    encrypts from the first byte (RFC 8314). Raises ValueError if the password would leave this machine unencrypted.
    """

    host: str
    port: int
    security: Security
    username: str = field(repr=False)
    password: SecretStr = field(repr=False)
    folder: str = INBOX

    def __post_init__(self) -> None:
        if self.security == "plain" and not is_loopback(self.host):
            raise ValueError(
                "would send its password unencrypted: use imaps:// or imap+starttls://"
                " (imap:// is for localhost, 127.0.0.0/8 and ::1 only)"
            )

    def __str__(self) -> str:
        """The URL without credentials, for logs and error texts."""
        return self._url("")

    @property
    def key(self) -> str:
        """The URL without the password, under which the database keeps how far the folder was read."""
        return self._url(f"{quote(self.username, safe='')}@")

    def _url(self, user: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_SCHEMES[self.security]}://{user}{host}:{self.port}/{quote(self.folder)}"


def parse_imap_account(url: str) -> ImapAccount:
    """Parses `imaps://`, `imap+starttls://` or `imap://` followed by `user:password@host:port/Folder`.

    User, password and folder are percent-decoded. The default ports are 993 and 143, the default folder is INBOX.
    Raises ValueError.
    """
    parts = split_url(url)
    security = _SECURITY.get(parts.scheme)
    if security is None:
        raise ValueError("must begin with imaps://, imap+starttls:// or imap://")
    if parts.query or parts.fragment:
        raise ValueError(f"must be {_FORM}, nothing more (percent-encode / ? # in a password)")
    username, password = credentials(parts)
    if username is None or password is None:
        raise ValueError(f"must have a user and a password: {_FORM}")
    port = _PORTS[security] if parts.port is None else parts.port
    folder = decoded(parts.path.removeprefix("/")) or INBOX
    return ImapAccount(host_of(parts.hostname or ""), port, security, username, password, folder)

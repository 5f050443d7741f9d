"""The return path: the envelope sender of a mail, where its bounces go (RFC 5321 section 4.4).

Pure. With a token in it, each mail has a return path of its own (RFC 5233: what follows the plus is a detail), and a
bounce names the mail by the address that it is sent to.
"""

from dataclasses import dataclass
from typing import Final

from worker.domain.relays import parse_mailbox

PLACE: Final = "{token}"
_LOCAL_LIMIT: Final = 64
"""Octets of a local part (RFC 5321 section 4.5.3.1.1)."""
_SAMPLE: Final = "x" * 46
"""As long as a token (`tokens.Tokens.for_return`), so that a return path that becomes too long is noticed early."""


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """What stands before and after the token. Without a token (`after` is None) `before` is the whole address."""

    before: str
    after: str | None = None

    @property
    def has_token(self) -> bool:
        """Whether each mail has a return path of its own."""
        return self.after is not None

    def with_token(self, token: str) -> str:
        """Returns the address with this token. One without a place for it is returned as it is."""
        return self.before if self.after is None else f"{self.before}{token}{self.after}"


def parse_return_path(text: str) -> ReturnPath:
    """Parses `bounces@shop.example` or `bounces+{token}@shop.example`. Raises ValueError."""
    before, place, after = text.partition(PLACE)
    if set("{}") & set(before + after) or not (after or not place):
        raise ValueError("must be like bounces+{token}@shop.example, or without +{token}")
    mailbox = parse_mailbox(f"{before}{_SAMPLE}{after}" if place else text)
    if mailbox.name or (place and not (before and after.count("@") == 1)):
        raise ValueError("must be an address alone, with {token} before its @ and after something else")
    if len(before.strip()) + len(_SAMPLE) > _LOCAL_LIMIT and place:
        raise ValueError(f"must have at most {_LOCAL_LIMIT - len(_SAMPLE)} characters before {{token}}")
    return ReturnPath(before.strip(), after.strip()) if place else ReturnPath(mailbox.address)

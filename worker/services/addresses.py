"""Validates incoming e-mail addresses with email-validator, without DNS queries."""

import re
from typing import Final

from worker.domain.errors import BadAddress

# A fast path for nearly all addresses, at a tenth of email-validator's cost. It accepts a subset: ASCII dot-atoms, no
# double hyphens (they could mark an A-label), and a top-level domain of letters.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN: Final = re.compile(rf"(?=.{{1,64}}@)({_ATOM}(?:\.{_ATOM})*)@((?!.*--)(?:{_LABEL}\.)+([A-Za-z]{{2,63}}))")
_PLAIN_LENGTH: Final = 200
_MOST_LENGTH: Final = 320
"""No address is longer (64 and 255 with the @), and what is looked for in others takes the square of their length."""
_SPECIAL: Final = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test"})

_WRONG: Final = (
    ("it begins with mailto:", re.compile("^mailto:", re.IGNORECASE)),
    ("it has several addresses", re.compile(r"@.*[,;\s].*@", re.DOTALL)),
    ("its part before the @ is quoted", re.compile('^".*"@')),
    ("it has a name beside the address", re.compile("[<>]")),
    (
        "it has an invisible character",
        re.compile("[\xa0\xad\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"),
    ),
    ("it has a blank", re.compile(r"\s")),
    ("it has a dot at a place where none may be", re.compile(r"^\.|\.\.|\.@|@\.|\.$")),
)
"""What programs do to addresses, in the order in which it is looked for."""


def checked_address(raw: object) -> str:
    """Returns the address in normal form: Unicode NFC, with the domain in lower case and in Unicode.

    A local part may contain non-ASCII characters: it is valid, but Stockbell can't send to it yet.
    Raises BadAddress. Its text never contains the address.
    """
    if not isinstance(raw, str):
        raise BadAddress("email must be text")
    plain = _PLAIN.fullmatch(raw)
    if plain and len(raw) <= _PLAIN_LENGTH and plain[3].lower() not in _SPECIAL:
        return f"{plain[1]}@{plain[2].lower()}"
    return _validated(raw)


def _validated(raw: str) -> str:
    # The import takes 0.1 s, and most commands do not need it.
    from email_validator import EmailNotValidError, validate_email

    if len(raw) > _MOST_LENGTH:
        raise BadAddress("email is not a valid address: it is too long")
    if "@" not in raw:
        raise BadAddress("email has no @")
    try:
        # test_environment allows the reserved domain .test, as for MAIL_FROM. That is harmless.
        valid = validate_email(raw, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise BadAddress(f"email is not a valid address{_why(raw)}") from None
    return valid.normalized


def _why(raw: str) -> str:
    """Says what is wrong with a text that is no address, as far as it is something that programs often do."""
    return next((f": {why}" for why, found in _WRONG if found.search(raw)), "")

"""E-mail addresses as they come in: checked by email-validator, without asking the DNS."""

import re
from typing import Final

from worker.domain.errors import BadAddress

# What nearly all addresses look like, found at a tenth of email-validator's cost. A part of what it
# accepts: ASCII dot-atoms, no hyphens that could begin an A-label, a top-level domain of letters.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN: Final = re.compile(rf"(?=.{{1,64}}@)({_ATOM}(?:\.{_ATOM})*)@((?!.*--)(?:{_LABEL}\.)+([A-Za-z]{{2,63}}))")
_PLAIN_LENGTH: Final = 200
_SPECIAL: Final = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test"})


def checked_address(raw: object) -> str:
    """The address in its normal form: Unicode NFC, its domain in lower case and as Unicode.

    Parts before the @ that are not ASCII are let in: they are valid, only not yet to be sent to.
    Raises BadAddress; the text never contains the address.
    """
    if not isinstance(raw, str):
        raise BadAddress("email must be text")
    plain = _PLAIN.fullmatch(raw)
    if plain and len(raw) <= _PLAIN_LENGTH and plain[3].lower() not in _SPECIAL:
        return f"{plain[1]}@{plain[2].lower()}"
    return _validated(raw)


def _validated(raw: str) -> str:
    # Takes 0.1 s to import, and most commands never need it.
    from email_validator import EmailNotValidError, validate_email

    if "@" not in raw:
        raise BadAddress("email has no @")
    try:
        # test_environment lets the reserved domain .test in, as for MAIL_FROM: it harms nobody.
        valid = validate_email(raw, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise BadAddress("email is not a valid address") from None
    return valid.normalized

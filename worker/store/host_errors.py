"""Why no host of PostgreSQL can be used: one line about all of them, without user, password and values of options.

libpq gives no codes for errors before the login is complete, so its words decide. They are those of its source,
`fe-connect.c` and `fe-secure-openssl.c`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from worker.domain.errors import DatabaseAway, DatabaseUnfit

__all__ = ["ONLY_READS", "Unusable", "unusable"]

ONLY_READS = "only reads (a standby, or default_transaction_read_only is on)"


class Kind(Enum):
    """What may make a host usable."""

    AWAY = "time"
    READS = "a promotion"
    WRONG = "another setting, or a mended server"


# What libpq says (an expression), and what is told. The first row that is found decides.
_RULES = {
    Kind.READS: {re.escape(ONLY_READS): ONLY_READS},
    Kind.WRONG: {
        "does not match host name": "its certificate is for another name",
        "certificate verify failed": "its certificate has expired, or no authority that we trust has signed it",
        "does not support SSL": "it offers no TLS, and sslmode asks for it",
        "root certificate file .* does not exist": "to verify it, name the file of its authority as sslrootcert",
        "read root certificate file": "the file of sslrootcert holds no certificate",
        "weak sslmode": "sslrootcert=system needs sslmode=verify-full",
        "has group or world access": "others may read the file of sslkey: set its mode to 0600",
        "(?:private key|certificate) file|does not match private key": "sslcert and sslkey can't be used",
        'invalid integer value .* for connection option "(.*)"': r"the value of \1 must be a whole number",
        "bad value for (connect_timeout)": r"the value of \1 must be a whole number",
        "unsupported startup parameter.*?: (.*)": r"a pooler refuses an option of the URL or of PGOPTIONS: \1",
        r"invalid (\w+) value": r"the value of \1 is none that PostgreSQL knows",
    },
    Kind.AWAY: {"connection timeout expired": "no answer in time (connect_timeout)"},
}
_PREFIX = re.compile(
    r"(?:connection failed: |connection is bad: )?(?:connection to server .*? failed: )?(?:FATAL: +)?"
    r"(?:failed to resolve host '.*?': \[Errno -?\d+\] )?"
)
_USER = re.compile(r'\b(user|role) ".*?"')


@dataclass(frozen=True, slots=True)
class Unusable:
    """A host, and why no connection came about."""

    host: str
    error: Exception


def unusable(refusals: Sequence[Unusable], setting: str) -> DatabaseAway:
    """Returns one error about all hosts of the URL in `setting`.

    It is DatabaseUnfit if time alone will not help. Several hosts that all only read are away: one of them is about
    to be promoted.
    """
    readings = [_read(refusal.error) for refusal in refusals]
    kinds = {kind for _words, kind in readings}
    hosts: dict[str, list[str]] = {}
    for refusal, (words, _kind) in zip(refusals, readings, strict=True):
        hosts.setdefault(words, []).append(refusal.host)
    line = "; ".join(f"{' and '.join(filter(None, names))}: {words}".lstrip(": ") for words, names in hosts.items())
    if Kind.AWAY in kinds or (kinds == {Kind.READS} and len(refusals) > 1):
        return DatabaseAway(line)
    return DatabaseUnfit(f"{setting} can't be used: {line}")


def _read(error: Exception) -> tuple[str, Kind]:
    words = (str(error).strip().splitlines() or ["no answer"])[0]
    for kind, rules in _RULES.items():
        for expression, plain in rules.items():
            if found := re.search(expression, words):
                return found.expand(plain), kind
    return _USER.sub(r"\1 ***", _PREFIX.sub("", words, count=1)), Kind.AWAY

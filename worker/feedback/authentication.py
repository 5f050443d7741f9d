"""Authentication-Results (RFC 8601) and DKIM-Signature (RFC 6376): what a receiver found, and what was signed.

Pure. Anybody may have written these fields: only those of the receiver's own host count, and its are on top.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.domain.tag_lists import parse_tags, without_blanks

RESULT_LIMIT: Final = 50
"""Results of one field that are read."""

_METHOD: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)(?:\s*/\s*[0-9]+)?\s*=\s*([A-Za-z]+)(?=\s|\Z)")
_PROPERTY: Final = re.compile(r"""([A-Za-z]+)\s*\.\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))""")
_HOST: Final = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;="]+))(?:\s+[0-9]+)?\s*""")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Result:
    """One result: spf, dkim, dmarc ... is pass, fail, none ..., both in lower case, of what."""

    method: str
    value: str
    properties: Mapping[str, str]
    """such as header.d, smtp.mailfrom and header.from"""


@dataclass(frozen=True, slots=True)
class Results:
    """What one host found. Exchange leaves its name out: then `host` is empty."""

    host: str
    results: Sequence[Result]


def parse_results(value: str) -> Results:
    """Parses the value of Authentication-Results. What can't be understood in it is left out."""
    first, *rest = _statements(value)
    host = _HOST.fullmatch(first)
    statements = rest if host else [first, *rest]
    results = (found for each in statements[:RESULT_LIMIT] if (found := _result(each)))
    return Results(_unquoted(host[1], host[2]).lower() if host else "", list(results))


def _statements(value: str) -> list[str]:
    """Splits a value at its semicolons, without its comments. Both mean nothing in a quoted string."""
    found = [""]
    depth, is_quoted, is_escaped = 0, False, False
    for char in value:
        if is_escaped:
            is_escaped = False
        elif char == "\\" and (is_quoted or depth):
            is_escaped = True
        elif char == '"' and not depth:
            is_quoted = not is_quoted
        elif char == "(" and not is_quoted:
            depth += 1
        elif char == ")" and depth and not is_quoted:
            depth -= 1
            found[-1] += " "
            continue
        elif char == ";" and not depth and not is_quoted:
            found.append("")
            continue
        if not depth:
            found[-1] += char
    return found


def _result(statement: str) -> Result | None:
    match = _METHOD.match(statement)
    if match is None:
        return None
    properties = {
        f"{each[1]}.{each[2]}".lower(): _unquoted(each[3], each[4])
        for each in _PROPERTY.finditer(statement, match.end())
    }
    return Result(match[1].lower(), match[2].lower(), properties)


def _unquoted(quoted: str | None, plain: str | None) -> str:
    return _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else plain or ""


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM signature: whose it is, by which key, and the fields that it covers, in lower case."""

    domain: str
    selector: str
    covers: frozenset[str]


def signatures(values: Iterator[str]) -> Iterator[Signature]:
    """Yields the signatures that can be understood."""
    for value in values:
        try:
            tags = parse_tags(value)
        except ValueError:
            continue
        covers = frozenset(name.lower() for name in without_blanks(tags.get("h", "")).split(":"))
        yield Signature(tags.get("d", "").lower(), tags.get("s", ""), covers)

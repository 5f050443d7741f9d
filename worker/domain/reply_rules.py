"""What relays' replies mean: who is to blame for a refusal, as far as a table knows it.

The knowledge is data: `replies.toml` has one row for each known reply, with its source. Ops may add a file of their
own, whose rows come first. The first row that matches decides. A reply that no row knows is judged by evidence
elsewhere.

A phrase is compared by its words: only letters and digits count, in any case. So an index can find the few phrases that
may match by one word each, and looking up a reply takes a few microseconds, whatever the number of rows.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from worker.domain.errors import BadRules
from worker.domain.replies import Reply, Stage, parse_reply

SHIPPED: Final = Path(__file__).with_name("replies.toml")

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_CODE: Final = re.compile(r"[45.][0-9.]{2}(\|[45.][0-9.]{2})*")
_ENHANCED: Final = re.compile(r"[45*](\.([0-9]{1,3}|\*)){2}(\|[45*](\.([0-9]{1,3}|\*)){2})*")
# An enhanced code somewhere in a text, but no part of an IP address or a version.
_INNER_ENHANCED: Final = re.compile(r"(?<![\w.])([45])\.[0-9]{1,3}\.[0-9]{1,3}(?!\.?\w)")
_CODES: Final = [f"{code}" for code in range(400, 600)]
_REMEMBERED: Final = 4096
"""How many combinations of stage and codes are remembered with the row for them. A relay uses a few dozen."""


class Blame(StrEnum):
    """Who is to blame for a refusal."""

    ACCOUNT = "account"
    """Our account, login, sender, or our host's address or reputation. Nothing can be sent until ops mend it."""
    QUOTA = "quota"
    """Our account has sent enough for some hours or a day."""
    RELAY = "relay"
    """The relay: its own trouble."""
    CONNECTION = "connection"
    """Only this connection, which is over. The next mail can go out at once on a new one."""
    CONNECTIONS = "connections"
    """The number of our connections at once."""
    PACE = "pace"
    """The number of mails or recipients, per time or per session."""
    MESSAGE = "message"
    """This message."""
    RECIPIENT = "recipient"
    """This recipient, for good and with certainty."""
    MAILBOX = "mailbox"
    """This recipient, for now: full, over a limit of his own, disabled for a time."""
    UNCLEAR = "unclear"
    """The words may mean us as well as this recipient or message."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. The patterns are explained at the top of `replies.toml`."""

    name: str
    code: str
    blames: Blame
    enhanced: str | None = None
    words: tuple[str, ...] = ()
    stages: frozenset[Stage] = frozenset(Stage)
    source: str = ""
    """The RFC with its section, or the provider's page."""
    examples: tuple[str, ...] = ()
    """Whole replies for which this row decides."""
    file: str = SHIPPED.name


class ReplyRules:
    """The rows in the order in which they are tried, with an index of their words."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Final = tuple(rules)
        self._rows = [_row(number, rule) for number, rule in enumerate(self.rules)]
        self._by_word, self._wordless = _indexed(self.rules, self._rows)
        self._first_bare = lru_cache(_REMEMBERED)(self._look_for_bare)

    def match(self, stage: Stage, reply: Reply) -> Rule | None:
        """Returns the first row that matches, or None if the table does not know this reply."""
        text = _folded(reply)
        enhanced = reply.enhanced or _inner_enhanced(reply, text)
        first = self._first_bare(stage, reply.code, enhanced)
        for phrases in (*filter(None, map(self._by_word.get, text.split())), self._wordless):
            for phrase in phrases:
                row = phrase.row
                if row.number >= first:
                    break
                if row.suits(stage, reply.code, enhanced) and phrase.is_in(text):
                    first = row.number
                    break
        return self.rules[first] if first < len(self.rules) else None

    def _look_for_bare(self, stage: Stage, code: int, enhanced: str | None) -> int:
        """Returns the number of the first row without words that matches, or the number of rows."""
        bare = (row.number for row in self._rows if row.is_bare and row.suits(stage, code, enhanced))
        return next(bare, len(self._rows))


@dataclass(frozen=True, slots=True)
class _Row:
    """What has to be compared for one rule, beside its words."""

    number: int
    stages: frozenset[Stage]
    codes: frozenset[int]
    enhanced: re.Pattern[str] | None
    is_bare: bool

    def suits(self, stage: Stage, code: int, enhanced: str | None) -> bool:
        if code not in self.codes or stage not in self.stages:
            return False
        return self.enhanced is None or (enhanced is not None and self.enhanced.fullmatch(enhanced) is not None)


@dataclass(frozen=True, slots=True)
class _Phrase:
    """One phrase of a row: the pieces between its asterisks, folded. A blank at an edge is the edge of a word."""

    row: _Row
    pieces: tuple[bytes, ...]

    def is_in(self, text: bytes) -> bool:
        place = 0
        for piece in self.pieces:
            found = text.find(piece, place)
            if found < 0:
                return False
            place = found + len(piece) - piece.endswith(b" ")
        return True


_Index: TypeAlias = dict[bytes, tuple[_Phrase, ...]]


def _row(number: int, rule: Rule) -> _Row:
    codes = re.compile(rule.code)
    return _Row(
        number,
        rule.stages,
        frozenset(int(code) for code in _CODES if codes.fullmatch(code)),
        re.compile(rule.enhanced.replace(".", r"\.").replace("*", r"\d+")) if rule.enhanced else None,
        is_bare=not rule.words,
    )


def _indexed(rules: Sequence[Rule], rows: Sequence[_Row]) -> tuple[_Index, tuple[_Phrase, ...]]:
    """Returns the phrases by the one word of each that is rarest in replies, and the phrases without a whole word."""
    seen = Counter(word for rule in rules for text in (*rule.examples, *rule.words) for word in set(_words(text)))
    index: dict[bytes, list[_Phrase]] = {}
    wordless = []
    for rule, row in zip(rules, rows, strict=True):
        for words in rule.words:
            phrase = _Phrase(row, tuple(_pieces(words)))
            if whole := list(_whole_words(phrase.pieces)):
                index.setdefault(min(whole, key=lambda word: (seen[word], -len(word))), []).append(phrase)
            else:
                wordless.append(phrase)
    return {word: tuple(phrases) for word, phrases in index.items()}, tuple(wordless)


# Texts and phrases are compared in one form: their words in lower case, in UTF-8, with one blank around each.

_FOLD: Final = bytes(
    byte if byte >= 0x80 else ord(chr(byte).lower()) if chr(byte).isalnum() else 0x20 for byte in range(256)
)
_NO_LETTER: Final = re.compile(r"[\W_]+")


def _words(text: str) -> list[bytes]:
    if not text.isascii():
        text = _NO_LETTER.sub(" ", text.lower())
    return text.encode("utf-8", "surrogatepass").translate(_FOLD).split()


def _folded(reply: Reply) -> bytes:
    text = reply.text
    if "\n" in text and (enhanced := reply.enhanced):
        text = text.replace(f"\n{enhanced}", "\n")  # it begins every line
    return b" %b " % b" ".join(_words(text))


def _inner_enhanced(reply: Reply, folded: bytes) -> str | None:
    """Returns an enhanced code that stands elsewhere than at the beginning: "sorry, no mailbox here (#5.1.1)"."""
    if b" %d " % (reply.code // 100) not in folded:
        return None
    found = (match for match in _INNER_ENHANCED.finditer(reply.text) if int(match[1]) == reply.code // 100)
    return next((match[0] for match in found), None)


def _pieces(phrase: str) -> Iterator[bytes]:
    parts = phrase.split("*")
    for place, part in enumerate(parts):
        if words := b" ".join(_words(part)):
            begins = place > 0 and part[0].isalnum()
            ends = place < len(parts) - 1 and part[-1].isalnum()
            yield words if begins and ends else words + b" " if begins else b" " + words if ends else b" %b " % words


def _whole_words(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        first, last = not piece.startswith(b" "), not piece.endswith(b" ")
        words = piece.split()
        yield from words[first : len(words) - last]


# Reading a file of rows.


@cache
def shipped() -> ReplyRules:
    """Returns the rules of `replies.toml`."""
    return ReplyRules(read(SHIPPED))


_in_force: list[ReplyRules] = []


def in_force() -> ReplyRules:
    """Returns the rules that this process goes by."""
    return _in_force[0] if _in_force else shipped()


def use(rules: ReplyRules) -> None:
    """Makes this process go by these rules."""
    _in_force[:] = [rules]


def with_own(path: Path) -> ReplyRules:
    """Returns the rules of the ops' file `path`, followed by ours. Raises BadRules, also if an example is wrong."""
    own = read(path)
    rules = ReplyRules((*own, *shipped().rules))
    for number, rule in enumerate(own, 1):
        _check_examples(path, number, rule, rules)
    return rules


def read(path: Path) -> tuple[Rule, ...]:
    """Reads a file of rows. Raises BadRules, whose line names the file, the row and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRules(f"{path.name} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRules(f"{path.name} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BadRules(f"{path.name} is not TOML: {_place_of(error)}") from None
    rows = table.pop("rule", None)
    if table:
        raise BadRules(f"{path.name}: {_shown(next(iter(table)))} stands outside of the rows; only [[rule]] is allowed")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadRules(f"{path.name} has no rows: each begins with a line [[rule]]")
    rules = tuple(_rule(path, number, row) for number, row in enumerate(rows, 1))
    _check_names(path, rules)
    return rules


_KEYS: Final = ("name", "code", "enhanced", "words", "stages", "blames", "source", "examples")
_NAMED_LIKE: Final = "must be small letters, digits and single dashes, like ses-daily-quota"
_CODED_LIKE: Final = "must be a code like 550, 55. or 450|451, from 400 to 599"
_ENHANCED_LIKE: Final = "must be an enhanced code like 5.7.1, 4.7.* or 5.1.1|5.1.10"


def _rule(path: Path, number: int, row: Mapping[str, Any]) -> Rule:
    try:
        return _read_row(row, path.name)
    except ValueError as wrong:
        raise BadRules(f"{_row_of(path, number, row)}: {wrong}") from None


def _row_of(path: Path, number: int, row: Mapping[str, Any]) -> str:
    name = row.get("name")
    is_named = isinstance(name, str) and _NAME.fullmatch(name)
    return f"{path.name}: row {number}" + (f" ({name})" if is_named else "")


def _read_row(row: Mapping[str, Any], file: str) -> Rule:
    _refuse_unknown(row)
    rule = Rule(
        name=_pattern(row, "name", _NAME, _NAMED_LIKE),
        code=_pattern(row, "code", _CODE, _CODED_LIKE),
        blames=Blame(_choice(row.get("blames"), "blames", Blame)),
        enhanced=_pattern(row, "enhanced", _ENHANCED, _ENHANCED_LIKE) if "enhanced" in row else None,
        words=_texts(row, "words"),
        stages=_stages(row),
        source=_text(row, "source") if "source" in row else "",
        examples=_texts(row, "examples"),
        file=file,
    )
    _check_whole(rule)
    return rule


def _refuse_unknown(row: Mapping[str, Any]) -> None:
    for key in row:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(_KEYS)}"
            raise ValueError(f"{_shown(key)} is not a key; {hint}")


def _check_whole(rule: Rule) -> None:
    if not rule.words and not rule.enhanced and "." in rule.code:
        raise ValueError("enhanced or words must be given too, unless code is exact")
    for number, phrase in enumerate(rule.words, 1):
        if not any(_pieces(phrase)):
            raise ValueError(f"words: phrase {number} must have a letter or digit")
    for number, example in enumerate(rule.examples, 1):
        try:
            parse_reply(example)
        except ValueError as wrong:
            raise ValueError(f"examples: reply {number} {wrong}") from None


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text")
    return value


def _pattern(row: Mapping[str, Any], key: str, pattern: re.Pattern[str], like: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key} {like}")
    return value


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = row.get(key, ())
    if key in row and not (isinstance(values, list) and values and all(isinstance(value, str) for value in values)):
        raise ValueError(f'{key} must be a list of texts, like ["user unknown", "no such user"]')
    return tuple(values)


def _stages(row: Mapping[str, Any]) -> frozenset[Stage]:
    return frozenset(Stage(_choice(text, "stages", Stage)) for text in _texts(row, "stages")) or frozenset(Stage)


def _choice(value: object, key: str, choices: Iterable[str]) -> str:
    if value not in (allowed := list(choices)):
        raise ValueError(f"{key} must be {'one' if key == 'blames' else 'some'} of {', '.join(allowed)}")
    return str(value)


def _check_names(path: Path, rules: Sequence[Rule]) -> None:
    first: dict[str, int] = {}
    for number, rule in enumerate(rules, 1):
        if first.setdefault(rule.name, number) != number:
            raise BadRules(f"{path.name}: row {number} ({rule.name}): name is that of row {first[rule.name]} too")


def _check_examples(path: Path, number: int, rule: Rule, rules: ReplyRules) -> None:
    for place, example in enumerate(rule.examples, 1):
        for stage in sorted(rule.stages):
            found = rules.match(stage, parse_reply(example))
            if found is not rule:
                other = f"row {found.name} of {found.file}" if found else "no row"
                where = f"{path.name}: row {number} ({rule.name})"
                raise BadRules(f"{where}: examples: reply {place} is decided by {other} at {stage}")


def _shown(key: str) -> str:
    return key if _NAME.fullmatch(key.replace("_", "-")) else "a name"


def _place_of(error: tomllib.TOMLDecodeError) -> str:
    return " ".join(str(error).split())

"""What relays' replies mean: who is to blame for a refusal, as far as a table knows it.

The knowledge is data: `replies.toml` has one row for each known reply, with its source. Ops may add a file of their
own, whose rows come first. The first row that matches decides. A reply that no row knows is judged by evidence
elsewhere.

An index finds the few phrases that may match by one word of each, so that looking up a reply takes a few microseconds,
whatever the number of rows.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from worker.domain.errors import BadRules
from worker.domain.replies import Reply, Stage, parse_reply
from worker.domain.reply_phrases import Phrase, enhanced_within, parse_phrase, told, words_of

SHIPPED: Final = Path(__file__).with_name("replies.toml")

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_CODE: Final = re.compile(r"[45.][0-9.]{2}(\|[45.][0-9.]{2})*")
_ENHANCED: Final = re.compile(r"[45*](\.([0-9]{1,3}|\*)){2}(\|[45*](\.([0-9]{1,3}|\*)){2})*")
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
    file: str = ""
    """The name of the file that has the row."""


class ReplyRules:
    """The rows in the order in which they are tried, with an index of their words."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Final = tuple(rules)
        self._rows = [_row(number, rule) for number, rule in enumerate(self.rules)]
        self._by_word = {digit: _indexed(self.rules, self._rows, digit).get for digit in (4, 5)}
        self._first_bare = lru_cache(_REMEMBERED)(self._look_for_bare)

    def match(self, stage: Stage, reply: Reply) -> Rule | None:
        """Returns the first row that matches, or None if the table does not know this reply, or it is no refusal."""
        code = reply.code
        if (phrases_with := self._by_word.get(code // 100)) is None:
            return None
        words = words_of(told(reply))
        text = f" {' '.join(words)} "
        words.append(_NO_WORD)
        if not text.isascii():
            words.append(_NO_LATIN_WORD)
        enhanced = reply.enhanced or enhanced_within(reply, text)
        first = self._first_bare(stage, code, enhanced)
        for phrases in filter(None, map(phrases_with, words)):
            for number, needle, row, whole in phrases:
                if number >= first:
                    break
                if needle in text and row.suits(stage, code, enhanced) and (whole is None or whole.is_in(text)):
                    first = number
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


# Of each phrase: its row, its longest piece (most are not looked at further), and the whole if it has more pieces.
_Entry: TypeAlias = tuple[int, str, _Row, Phrase | None]
_Index: TypeAlias = dict[str, tuple[_Entry, ...]]
_NO_WORD: Final = ""
"""Where the index has the phrases without a whole word."""
_NO_LATIN_WORD: Final = " "
"""Where it has those of them that no ASCII text can contain: of scripts without blanks between words."""


@cache
def _codes(pattern: str) -> frozenset[int]:
    return frozenset(code for code in range(400, 600) if re.fullmatch(pattern, str(code)))


def _row(number: int, rule: Rule) -> _Row:
    return _Row(
        number,
        rule.stages,
        _codes(rule.code),
        re.compile(rule.enhanced.replace(".", r"\.").replace("*", r"\d+")) if rule.enhanced else None,
        is_bare=not rule.words,
    )


def _indexed(rules: Sequence[Rule], rows: Sequence[_Row], digit: int) -> _Index:
    """Returns the phrases for codes with this first digit, by the one word of each that is rarest in our examples."""
    seen = Counter(word for rule in rules for example in rule.examples for word in set(words_of(example)))
    index: dict[str, list[_Entry]] = {}
    for rule, row in zip(rules, rows, strict=True):
        for phrase in map(parse_phrase, rule.words if any(code // 100 == digit for code in row.codes) else ()):
            wordless = _NO_WORD if all(map(str.isascii, phrase.pieces)) else _NO_LATIN_WORD
            rarest = min(phrase.words, key=lambda word: (seen[word], -len(word)), default=wordless)
            whole = phrase if len(phrase.pieces) > 1 else None
            index.setdefault(rarest, []).append((row.number, max(phrase.pieces, key=len), row, whole))
    return {word: tuple(phrases) for word, phrases in index.items()}


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
        return _read_row(row, f"{path.name} (shipped)" if path.parent == SHIPPED.parent else path.name)
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
        if not parse_phrase(phrase).pieces:
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

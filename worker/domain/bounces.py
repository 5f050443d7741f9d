"""Judges what a report says of one recipient: the address is dead, or only this mail failed.

A report quotes another server's reply, so what `replies.toml` knows of replies serves here as well. `bounces.toml` adds
what only reports say: the texts of mail systems, other languages, and codes that mean less in a report than in a reply
to us. Ops' own rows (`reply_rules.with_own`) come first.

Codes alone are not enough: 5.1.1 is also said of full mailboxes and 5.1.8 is about our sender. A wrong DEAD costs a
customer for ever and a missed one costs one more mail, so words that may mean anything else come before those that say
that nobody is there. What nobody knows has FAILED.

Nothing is loaded before the first report is judged: workers, which import the domain too, need none of this.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Final

from worker.domain.replies import Reply, Stage
from worker.domain.reply_phrases import told
from worker.domain.reply_rules import Blame, ReplyRules, Rule, in_force, read, shipped
from worker.domain.returned import Kind

TABLE: Final = Path(__file__).with_name("bounces.toml")

MAY_COME_BACK: Final = frozenset(
    {
        # A provider's own list of addresses not to write to: also people who complained, or whose mailbox was full.
        "ses-suppressed",
        "mailgun-suppressed",
        "postmark-inactive-recipient",
        # Disabled, suspended or locked: unpaid, unused, under attack.
        "gmail-disabled-user",
        "recipient-disabled",
        "account-disabled-theirs",
        "mailbox-disabled",
        # The address lives, and takes no mail from strangers.
        "m365-recipient-takes-no-strangers",
        "m365-recipient-takes-no-strangers-by-code",
        "list-not-expanded",
        "ambiguous-mailbox",
    }
)
"""Rows of `replies.toml` that blame the recipient, who may be written to again some day for all that."""

_CONTINUED: Final = "user-unknown"
"""The row of `replies.toml` after which our rows of dead addresses are tried, since they are more of the same."""
_DELIVERED: Final = frozenset({"delivered", "relayed", "expanded"})
_FOR_GOOD: Final = 550
"""The code of a failure without one (RFC 5321 section 4.2.3: not taken, mailbox unavailable)."""
_FOR_NOW: Final = 450
_AT_LAST: Final = 559
"""The code of a refusal for now that was repeated to the end. Nobody uses it, so no row for one code matches."""
_TAKES_NO_MAIL: Final = frozenset({521, 556})
"""What a host that never takes mail may say before it has heard of a recipient (RFC 7504)."""
_FEW_LETTERS: Final = 4
"""With fewer letters, a reply leaves it to its codes what it means."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a report says of one recipient, unjudged."""

    action: str | None
    """the Action field of RFC 3464 section 2.3.3, in lower case, or what the text says in its place"""
    status: str | None
    """the enhanced status code (RFC 3463): the reply's own, or else the reporter's"""
    code: int | None
    """the three digits of the reply, from 400 to 599, if one is quoted"""
    words: str
    """the reply after its three digits, or the mailer's own text"""
    system: str | None
    """the host that said it, or the form of the text, in lower case"""
    is_early: bool = False
    """whether it was said before the server had heard of any recipient: when it greeted, or of the sender"""


@dataclass(frozen=True, slots=True)
class Judged:
    """What it means, and by which row. Without a row the codes have decided, or the action."""

    kind: Kind
    rule: str | None = None
    source: str | None = None
    blame: str | None = None


def judge(said: Said) -> Judged:
    """Returns what the report means for the recipient. It is DEAD, FAILED, DELAYED or DELIVERED."""
    if said.action in _DELIVERED or (said.action is None and said.status and said.status[0] == "2"):
        return Judged(Kind.DELIVERED)
    if said.action == "delayed" or (said.action is None and _is_for_now(said)):
        return _judged(Kind.DELAYED, rules().match(Stage.RCPT, _as_reply(said, _FOR_NOW)))
    rule = _found(said)
    if said.is_early and said.code not in _TAKES_NO_MAIL and rule and is_dead(rule):
        return Judged(Kind.FAILED)
    return _judged(Kind.DEAD if rule and is_dead(rule) else Kind.FAILED, rule)


def is_dead(rule: Rule) -> bool:
    """Whether a failure that this row decides means that the address is dead."""
    return rule.blames is Blame.RECIPIENT and rule.name not in MAY_COME_BACK


def _judged(kind: Kind, rule: Rule | None) -> Judged:
    return Judged(kind, rule.name, rule.source or None, rule.blames.value) if rule else Judged(kind)


def _is_for_now(said: Said) -> bool:
    return (said.code or _FOR_GOOD) < 500 if said.code or not said.status else said.status[0] == "4"


def _found(said: Said) -> Rule | None:
    """Returns the row for a failure.

    A refusal for now that was repeated until the relay gave up is final as well. Then its words count, as if they had
    been said for good, and its codes don't: 450 is also said by who has no time to look.
    """
    if not _is_for_now(said):
        return rules().match(Stage.RCPT, _as_reply(said, _FOR_GOOD))
    rule = rules().match(Stage.RCPT, Reply(_AT_LAST, said.words))
    if rule is not None and rule.words:
        return rule
    return rules().match(Stage.RCPT, _as_reply(said, _FOR_NOW))


def _as_reply(said: Said, code: int) -> Reply:
    """Returns what was said as a reply. A status that the reporter made up for a reply in words is left out.

    Sendmail, for one, reports 5.1.1 for any 550, 551 and 553.
    """
    code = said.code if said.code and said.code // 100 == code // 100 else code
    reply = Reply(code, said.words)
    if said.status and said.status not in said.words and (said.code is None or _is_wordless(reply)):
        return Reply(code, f"{said.status} {said.words}")
    return reply


def _is_wordless(reply: Reply) -> bool:
    return sum(map(str.isalpha, told(reply))) < _FEW_LETTERS


def row(name: str) -> Rule | None:
    """Returns the row with this name. Raises BadRules."""
    return next((rule for rule in rules().rules if rule.name == name), None)


def rules() -> ReplyRules:
    """Returns the rows for reports, in the order in which they are tried. Raises BadRules."""
    return _rules(in_force())


@lru_cache(1)
def _rules(replies: ReplyRules) -> ReplyRules:
    ours = frozenset(shipped().rules)
    own = (rule for rule in replies.rules if rule not in ours)
    return ReplyRules([*_at_any_stage(own), *_in_order(read(TABLE), shipped().rules)])


def _in_order(reports: Sequence[Rule], replies: Iterable[Rule]) -> Iterator[Rule]:
    """Yields the rows of both files in the order that `bounces.toml` explains."""
    replies = tuple(_at_any_stage(replies))
    first = list(takewhile(lambda rule: rule.blames is not Blame.RECIPIENT, reports))
    yield from first
    for rule in replies:
        if rule.words:
            yield rule
        if rule.name == _CONTINUED:
            yield from (rule for rule in reports if rule.blames is Blame.RECIPIENT)
    yield from (rule for rule in reports[len(first) :] if rule.blames is not Blame.RECIPIENT)
    yield from (rule for rule in replies if not rule.words)


def _at_any_stage(rows: Iterable[Rule]) -> Iterator[Rule]:
    """Yields the rows for the one stage at which reports are looked up, since most don't tell theirs.

    Codes without words keep theirs, because they say different things when somebody logs in.
    """
    for rule in rows:
        if rule.words or Stage.RCPT in rule.stages:
            yield replace(rule, stages=frozenset({Stage.RCPT}))

"""STUB until the table lands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.domain.outcomes import Reply, Stage


class Blame(StrEnum):
    ACCOUNT = "account"
    QUOTA = "quota"
    RELAY = "relay"
    CONNECTION = "connection"
    CONNECTIONS = "connections"
    PACE = "pace"
    MESSAGE = "message"
    RECIPIENT = "recipient"
    MAILBOX = "mailbox"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    blames: Blame
    source: str = ""


_ROWS = (
    (r"530|538|535", r"", Blame.ACCOUNT),
    (r"...", r"daily user sending limit|daily message quota", Blame.QUOTA),
    (r"...", r"sendasdenied|not verified|not owned by|client host .*blocked|relay access denied|relaying denied", Blame.ACCOUNT),
    (r"...", r"server configuration error", Blame.RELAY),
    (r"432|421", r"concurrent connections", Blame.CONNECTIONS),
    (r"4..", r"mailbox has too many|over his rate|mailbox full", Blame.MAILBOX),
    (r"4..", r"^4\.2\.2|^5\.2\.2", Blame.MAILBOX),
    (r"4..", r"(?!.*gr[ea]ylist).*(\brate\b|too (many|much|fast|quick)|throttl|slow(ing)? down|^4.7.28)", Blame.PACE),
    (r"421", r"^4\.7\.0", Blame.PACE),
    (r"5..", r"^5\.2\.2", Blame.MAILBOX),
    (r"[45]..", r"^[45]\.1\.[78]", Blame.ACCOUNT),
    (r"[45]..", r"^[45]\.1\.", Blame.RECIPIENT),
)


class ReplyRules:
    def match(self, stage: Stage, reply: Reply) -> Rule | None:
        for code, words, blames in _ROWS:
            if re.fullmatch(code, str(reply.code)) and re.search(words, reply.text, re.I | re.S):
                return Rule(words, blames)
        return None


@cache
def shipped() -> ReplyRules:
    return ReplyRules()


_in_force: list[ReplyRules] = []


def in_force() -> ReplyRules:
    """The table that this process uses."""
    return _in_force[0] if _in_force else shipped()


def use(rules: ReplyRules) -> None:
    """Puts a table in force for this process."""
    _in_force[:] = [rules]

"""What relays' replies mean: every row of the table, the order of rows, and the index beside a slow reference."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.replies import Reply, Stage, parse_reply
from worker.domain.reply_rules import Blame, ReplyRules, Rule, shipped

FIELD = json.loads((Path(__file__).parents[2] / "field" / "replies.json").read_text())
RULES = shipped().rules
EXAMPLES = [(rule, example) for rule in RULES for example in rule.examples]
NAMED = [f"{rule.name}-{number}" for rule in RULES for number, _ in enumerate(rule.examples, 1)]
# What is said of the field's replies, in the words of the table.
ABOUT = {
    "us": {Blame.ACCOUNT, Blame.QUOTA},
    "relay": {Blame.RELAY},
    "too fast": {Blame.CONNECTIONS},
    "recipient": {Blame.MAILBOX, Blame.RECIPIENT},
    "connection": {Blame.CONNECTION},
}


def blamed(text: str, stage: Stage = Stage.RCPT, rules: ReplyRules | None = None) -> Blame | None:
    found = (rules or shipped()).match(stage, parse_reply(text))
    return found.blames if found else None


# The table.


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=NAMED)
def test_each_row_decides_its_examples(rule: Rule, example: str) -> None:
    reply = parse_reply(example)
    for stage in rule.stages:
        found = shipped().match(stage, reply)
        assert found is not None
        assert found.name == rule.name, stage


def test_the_table_is_large_and_each_row_has_an_example_and_a_source() -> None:
    assert len(RULES) >= 150
    assert [rule.name for rule in RULES if not rule.examples or not rule.source] == []


def test_who_is_certain_about_a_recipient_speaks_of_one() -> None:
    about_one = {Stage.RCPT, Stage.DATA, Stage.DOT}
    certain = [rule for rule in RULES if rule.blames in {Blame.RECIPIENT, Blame.MAILBOX}]
    assert [rule.name for rule in certain if not rule.stages <= about_one] == []
    assert [rule.name for rule in certain if rule.blames is Blame.RECIPIENT and not rule.code.startswith("5")] == [
        "postmark-inactive-recipient"
    ]


@pytest.mark.parametrize("case", FIELD, ids=[case["reply"][:40] for case in FIELD])
def test_a_reply_from_the_field_blames(case: dict[str, str]) -> None:
    stage = Stage.MAIL if case["stage"] == "idle" else Stage(case["stage"])
    assert blamed(case["reply"], stage) in ABOUT[case["about"]]


# The kinds that the field's replies stand for, where words of two kinds meet.


@pytest.mark.parametrize(
    ("text", "blame"),
    [
        ("450 4.7.1 <jane@example.com>: Relay access denied", "account"),
        (
            "550 5.1.0 <no-reply@shop.example>: Sender address rejected: User unknown in local recipient table",
            "account",
        ),
        ("554 5.7.1 <no-reply@shop.example>: Sender address rejected: Domain not found", "account"),
        ("450 4.7.1 <no-reply@shop.example>: Sender address rejected: Policy Rejection: Quota Exceeded", "quota"),
        ("550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown; see spam policy", "recipient"),
        ("550 5.1.1 <spam@example.com>: Recipient address rejected: User unknown", "recipient"),
        ("550 5.1.1 <virus.policy@quota.example> nobody here", "recipient"),
        ("550 5.1.8 Domain not found", "account"),
        ("550 5.7.27 <no-reply@shop.example>: has a null MX", "account"),
        ("550 5.7.1 Your account has been suspended", "account"),
        ("550 5.2.1 Account has been suspended", "recipient"),
        ("550 Account has been suspended", "unclear"),
        ("550 5.7.1 You are over quota", "quota"),
        ("552 5.2.2 <jane@example.com>: over quota", "mailbox"),
        ("552 5.2.2 Your mailbox is over quota: sender over quota", "quota"),
        ("550 mail quota exceeded for sender shop", "unclear"),
        ("450 4.7.1 Mail quota exceeded. Try again tomorrow", "unclear"),
        ("550 mail quota exceeded", "mailbox"),
        ("550 Your sender is over quota", "quota"),
        ("550 You have sent too many messages today", "quota"),
        ("450 user is over his rate limit, too many messages today", "mailbox"),
        ("550 5.7.1 This account has been temporarily blocked from sending mail", "unclear"),
        ("550 5.2.1 This account has been temporarily suspended", "mailbox"),
        ("550 5.1.1 Sender unknown", "unclear"),
        ("550 5.1.1 <jane@example.com>: User unknown", "recipient"),
        ("550 HELO host unknown", "unclear"),
        ("550 5.2.1 the sending account is inactive", "unclear"),
        ("452 4.3.1 Not enough space", "relay"),
        ("452 4.2.2 Not enough space", "mailbox"),
        ("450 Requested mail action not taken: mailbox unavailable", "unclear"),
        ("450 Requested mail action not taken: mailbox unavailable\nMail rate limit exceeded", "pace"),
        ("452 4.2.2 quota exceeded, too many messages", "mailbox"),
        ("450 4.2.1 too many messages, slow down", "mailbox"),
        ("450 4.7.1 too many messages, slow down", "pace"),
        ("451 4.7.1 Greylisted, too many connections from you lately", "unclear"),
        ("554 5.7.1 Message rejected because of spam from your blacklisted host", "unclear"),
        ("421 4.7.0 try again later", "pace"),
        ("421 bye", "relay"),
        ("550 sorry, no mailbox here by that name (#5.1.1)", "recipient"),
        ("550 nothing to see (#5.1.1)", "recipient"),
        ("550 host [192.0.5.1] 5.1.1.1 says no", None),
        ("550 no", None),
        ("451 later", None),
    ],
)
def test_where_words_of_two_kinds_meet(text: str, blame: str | None) -> None:
    assert blamed(text) == blame


def test_the_same_words_before_the_recipient_was_named_are_not_about_one() -> None:
    assert blamed("550 5.1.1 User unknown") is Blame.RECIPIENT
    assert blamed("550 5.1.1 User unknown", Stage.MAIL) is not Blame.RECIPIENT


def test_success_blames_nobody() -> None:
    assert shipped().match(Stage.DOT, Reply(250, "5.1.1 user unknown")) is None
    assert shipped().match(Stage.DOT, Reply(-1, "user unknown")) is None


# How rows are found.


def a_rule(name: str = "a", code: str = "...", **more: object) -> Rule:
    return Rule(name=name, code=code, blames=Blame.PACE, **more)  # type: ignore[arg-type]  # by the caller's keys


def test_the_first_row_that_matches_decides() -> None:
    first, second = a_rule("one", words=("slow down",)), a_rule("two", words=("please slow down now",))
    reply = Reply(450, "please slow down now")
    assert ReplyRules([first, second]).match(Stage.RCPT, reply) == first
    assert ReplyRules([second, first]).match(Stage.RCPT, reply) == second
    bare = a_rule("bare", enhanced="4.7.1")
    assert ReplyRules([bare, first]).match(Stage.RCPT, Reply(450, "4.7.1 slow down")) == bare
    assert ReplyRules([first, bare]).match(Stage.RCPT, Reply(450, "4.7.1 slow down")) == first


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("slow down", "SLOW\r\n  down", True),
        ("slow down", "slow-down!", True),
        ("slow down", "slowdown", False),
        ("slow down", "slow downs", False),
        ("slow down", "down slow", False),
        ("too many * today", "too many mails today", True),
        ("too many * today", "too many today", True),
        ("too many * today", "today too many", False),
        ("throttl*", "you are throttled", True),
        ("*listed", "blocklisted", True),
        ("b*ked", "it is blocked", True),
        ("b*ked", "it is blockade", False),
        ("OFR_102", "refus OFR_102", True),
        ("boîte pleine", "la BOÎTE  PLEINE", True),
        ("ящик переполнен", "Ящик переполнен.", True),
        ("user", "<user@example.com> no", False),
        ("user", "<jane@user.example>: no", False),
        ("user", "(user@example.com)user", True),
    ],
)
def test_a_phrase_matches_whole_words(phrase: str, text: str, expected: bool) -> None:
    found = ReplyRules([a_rule(words=(phrase,))]).match(Stage.RCPT, parse_reply(f"450 {text}"))
    assert (found is not None) is expected


def test_the_lines_of_a_reply_are_one_text() -> None:
    text = "550-5.1.1 The email account that you\r\n550-5.1.1 tried to reach does not\r\n550 5.1.1 exist."
    assert blamed(text) is Blame.RECIPIENT
    rules = ReplyRules([a_rule(words=("you tried to reach does not exist",))])
    assert blamed(text, rules=rules) is Blame.PACE


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "expected"),
    [
        ("450|451", None, "451 x", True),
        ("450|451", None, "452 x", False),
        ("45.", None, "459 x", True),
        ("...", None, "599 x", True),
        ("550", "5.7.1|5.7.9", "550 5.7.9 x", True),
        ("550", "5.7.1", "550 5.7.12 x", False),
        ("550", "5.7.*", "550 5.7.512 x", True),
        ("550", "*.7.1", "550 x (5.7.1)", True),
        ("550", "5.7.1", "550 x 192.5.7.1", False),
        ("550", "5.7.1", "550 4.7.1 x", False),
        ("550", "5.7.1", "550 x", False),
    ],
)
def test_codes_are_patterns(code: str, enhanced: str | None, text: str, expected: bool) -> None:
    rules = ReplyRules([a_rule(code=code, enhanced=enhanced)])
    assert (rules.match(Stage.RCPT, parse_reply(text)) is not None) is expected


# The index beside a slow reference, which tries one row after the other.


def slow_match(rules: tuple[Rule, ...], stage: Stage, reply: Reply) -> Rule | None:
    return next((rule for rule in rules if slowly_matches(rule, stage, reply)), None)


def slowly_matches(rule: Rule, stage: Stage, reply: Reply) -> bool:
    is_refusal = 400 <= reply.code < 600
    if not is_refusal or stage not in rule.stages or not re.fullmatch(rule.code, str(reply.code)):
        return False
    if rule.enhanced:
        patterns = [each.replace(".", r"\.").replace("*", "[0-9]{1,3}") for each in rule.enhanced.split("|")]
        inner = re.search(rf"(?<![\w.]){reply.code // 100}\.[0-9]{{1,3}}\.[0-9]{{1,3}}(?!\.?\w)", reply.text)
        enhanced = reply.enhanced or (inner[0] if inner else "")
        if not any(re.fullmatch(pattern, enhanced) for pattern in patterns):
            return False
    text = re.sub(rf"\n{re.escape(reply.enhanced or ' ')}", " ", reply.text)
    text = re.sub(r"[^\s]*@[^\s<>():;,]*", "", text.replace("\n", " "), count=8)
    return not rule.words or any(regex_of(phrase).search(text) for phrase in rule.words)


@cache
def regex_of(phrase: str) -> re.Pattern[str]:
    gap = r"[\W_]+"
    pieces = [gap.join(map(re.escape, re.findall(r"[^\W_]+", piece))) for piece in phrase.split("*")]
    return re.compile(r"(?<![^\W_])" + ".*?".join(pieces) + r"(?![^\W_])", re.IGNORECASE)


WORDS = st.sampled_from(
    [word for _, example in EXAMPLES for word in parse_reply(example).text.split()]
    + ["*", "jane@example.com", "5.1.1", "(#5.7.1)", "192.0.2.1", "\n", "über", "ﬁn", "\udc80", "İ"]
)
TEXTS = st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=100)


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=NAMED)
def test_the_index_finds_what_a_slow_search_finds(rule: Rule, example: str) -> None:
    reply = parse_reply(example)
    stage = min(rule.stages)
    assert shipped().match(stage, reply) == slow_match(RULES, stage, reply)


@given(stage=st.sampled_from(Stage), code=st.integers(395, 605), text=TEXTS)
def test_any_text_finds_a_row_or_none(stage: Stage, code: int, text: str) -> None:
    found = shipped().match(stage, Reply(code, text))
    assert found is None or stage in found.stages
    if text.isascii() and "@" not in text and "\r" not in text and "_" not in text:
        assert found == slow_match(RULES, stage, Reply(code, text))


def test_a_hostile_reply_is_looked_at_for_a_short_while() -> None:
    for text in ("@" * 100_000, "user " * 100_000, "\n5.1.1" * 100_000, "5.1." * 100_000, "a" * 100_000):
        shipped().match(Stage.RCPT, Reply(550, f"5.1.1 {text}"))

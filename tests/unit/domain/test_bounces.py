"""What reports mean: every row of the table, what codes alone mean, and whose words come first."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain import reply_rules
from worker.domain.bounces import MAY_COME_BACK, TABLE, Judged, Said, is_dead, judge, rules
from worker.domain.replies import parse_reply
from worker.domain.reply_rules import Blame, Rule, read, shipped, with_own
from worker.domain.returned import Kind

ROWS = read(TABLE)
EXAMPLES = [(rule, example) for rule in ROWS for example in rule.examples]
NAMED = [f"{rule.name}-{number}" for rule in ROWS for number, _ in enumerate(rule.examples, 1)]
FAILED = Said(action="failed", status=None, code=550, words="", system=None)


def kind_of(words: str, **changes: object) -> Kind:
    return judge(replace(FAILED, words=words, **changes)).kind  # type: ignore[arg-type] # the fields of Said


@pytest.fixture
def _own_rows(tmp_path: Path) -> Iterator[None]:
    own = tmp_path / "own.toml"
    own.write_text('[[rule]]\nname = "ours"\ncode = "550"\nwords = ["parti sans laisser"]\nblames = "recipient"\n')
    before = reply_rules.in_force()
    reply_rules.use(with_own(own))
    yield
    reply_rules.use(before)


# The table.


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=NAMED)
def test_each_row_decides_its_examples(rule: Rule, example: str) -> None:
    reply = parse_reply(example)
    found = judge(Said("failed", None, reply.code, reply.text, None))
    assert found == Judged(Kind.DEAD if is_dead(rule) else Kind.FAILED, rule.name, rule.source, rule.blames.value)


def test_each_row_has_an_example_and_a_source_and_a_name_that_no_row_for_replies_has() -> None:
    assert [rule.name for rule in ROWS if not rule.examples or not rule.source] == []
    assert {rule.name for rule in ROWS} & {rule.name for rule in shipped().rules} == set()


def test_rows_for_replies_that_do_not_mean_a_dead_address_exist_and_blame_the_recipient() -> None:
    certain = {rule.name for rule in shipped().rules if rule.blames is Blame.RECIPIENT}
    assert certain >= MAY_COME_BACK


def test_what_blames_others_in_replies_never_means_a_dead_address() -> None:
    told_of_others = [
        (rule.name, example)
        for rule in shipped().rules
        for example in rule.examples
        if rule.blames not in {Blame.RECIPIENT, Blame.MAILBOX} and rule.name != "mailbox-unavailable-or-refused"
    ]
    found = [(name, judge(_said(example)).rule) for name, example in told_of_others]
    dead = {rule.name for rule in rules().rules if is_dead(rule)}
    assert [pair for pair in found if pair[1] in dead] == []


def _said(reply: str) -> Said:
    parsed = parse_reply(reply)
    return Said("failed", parsed.enhanced, parsed.code, parsed.text, None)


# Kinds.


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said("delivered", "2.0.0", None, "250 ok", None), Kind.DELIVERED),
        (Said("relayed", "2.0.0", None, "", None), Kind.DELIVERED),
        (Said("expanded", None, None, "", None), Kind.DELIVERED),
        (Said(None, "2.6.0", None, "Message received", None), Kind.DELIVERED),
        (Said("delayed", "4.4.1", None, "connection timed out", None), Kind.DELAYED),
        (Said("delayed", "5.1.1", 550, "5.1.1 User unknown", None), Kind.DELAYED),
        (Said(None, "4.2.2", 452, "4.2.2 mailbox full", None), Kind.DELAYED),
        (Said(None, None, 451, "try later", None), Kind.DELAYED),
        (Said(None, "4.4.7", None, "", None), Kind.DELAYED),
        (Said("failed", "4.4.7", None, "delivery time expired", None), Kind.FAILED),
        (Said("failed", None, None, "", None), Kind.FAILED),
        (Said(None, None, None, "", None), Kind.FAILED),
    ],
)
def test_the_action_comes_first_and_then_the_class_of_the_codes(said: Said, kind: Kind) -> None:
    assert judge(said).kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("5.1.1", Kind.DEAD),
        ("5.1.2", Kind.DEAD),
        ("5.1.10", Kind.DEAD),
        ("5.1.6", Kind.DEAD),
        ("5.1.8", Kind.FAILED),
        ("5.1.0", Kind.FAILED),
        ("5.0.0", Kind.FAILED),
        ("5.2.1", Kind.FAILED),
        ("5.2.2", Kind.FAILED),
        ("5.4.7", Kind.FAILED),
        ("5.7.1", Kind.FAILED),
    ],
)
def test_a_status_without_words_means_a_dead_address_only_where_it_says_so(status: str, kind: Kind) -> None:
    assert kind_of("", status=status, code=None) is kind
    assert kind_of(f"{status} hm", status=status) is kind


def test_a_status_that_a_reporter_made_up_for_words_that_nobody_knows_is_not_believed() -> None:
    assert kind_of("Nope, sorry", status="5.1.1") is Kind.FAILED
    assert kind_of("", status="5.1.1") is Kind.DEAD


@pytest.mark.parametrize(
    "words",
    [
        "5.1.1 <jane@example.com>: mailbox is full",
        "5.1.1 <jane@example.com> has sent to too many recipients this hour. IB607",
        "5.1.1 message blocked for policy reasons",
        "5.1.1 Sender address rejected: User unknown in local recipient table",
        "5.1.8 Domain of sender address shop@shop.example does not exist",
        "5.2.1 The user is receiving mail too quickly",
        "5.1.1 Relaying denied",
        "5.1.1 Your message looks like spam",
        "5.7.26 Unauthenticated email from shop.example is not accepted due to domain's DMARC policy",
        "Requested action not taken: mailbox unavailable or access denied",
        "RESOLVER.RST.AuthRequired; authentication required",
    ],
)
def test_a_living_address_stays_whatever_the_code(words: str) -> None:
    assert kind_of(words) is Kind.FAILED


def test_a_refusal_for_now_that_was_repeated_to_the_end_counts_by_its_words_alone() -> None:
    assert kind_of("4.1.1 Recipient address rejected: User unknown", status="4.1.1", code=450) is Kind.DEAD
    assert kind_of("4.1.1 Something else", status="4.1.1", code=450) is Kind.FAILED
    assert kind_of("Requested action not taken: mailbox unavailable", code=450) is Kind.FAILED
    assert kind_of("4.4.3 Host or domain name not found. Host not found, try again", code=450) is Kind.FAILED


def test_no_codes_are_needed_where_the_words_are_known() -> None:
    assert kind_of("Sorry, no mailbox here by that name.", code=None) is Kind.DEAD
    assert kind_of("delivery retry timeout exceeded", code=None) is Kind.FAILED


@pytest.mark.usefixtures("_own_rows")
def test_rows_of_ones_own_come_first_in_reports_too() -> None:
    found = judge(replace(FAILED, words="5.2.2 parti sans laisser d'adresse"))
    assert (found.kind, found.rule) == (Kind.DEAD, "ours")


@given(
    action=st.sampled_from([None, "failed", "delayed", "delivered"]),
    status=st.none() | st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    code=st.none() | st.integers(400, 599),
    words=st.text(max_size=80),
)
def test_any_report_is_judged_and_dead_only_by_a_row(action: str, status: str, code: int, words: str) -> None:
    found = judge(Said(action, status, code, words, None))
    assert found.kind in {Kind.DEAD, Kind.FAILED, Kind.DELAYED, Kind.DELIVERED}
    assert found.kind is not Kind.DEAD or (action in {None, "failed"} and found.blame == "recipient")

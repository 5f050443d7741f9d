"""What a relay's reply means, and what the outcome of a try means for the request."""

import re
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.evidence import MAILS_KNOWN, Aborts
from worker.domain.outcomes import (
    Deferred,
    FailureCode,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Scope,
    Sent,
    Unknown,
    is_doubtful,
    is_go_ahead,
    judge,
)
from worker.domain.replies import CONNECTING, Reply, Stage, mask_addresses, one_line, reason
from worker.domain.reply_rules import Blame
from worker.domain.verdicts import Failed, Later, Proof, RetryPolicy, Told, Tries, Untouched, Verdict, settle

RELAY = ("down", Scope.RELAY)
OURS = ("down", Scope.CONFIGURATION)
LATER = ("deferred", False, FailureCode.RETRIES_EXHAUSTED)
ONCE_RECIPIENT = ("deferred", True, FailureCode.RECIPIENT_REJECTED)
ONCE_MESSAGE = ("deferred", True, FailureCode.MESSAGE_REJECTED)
RECIPIENT = ("rejected", FailureCode.RECIPIENT_REJECTED)
MESSAGE = ("rejected", FailureCode.MESSAGE_REJECTED)
SENT = ("sent",)
UNKNOWN = ("unknown",)

TABLE = [
    # 421 is about the relay, at every stage.
    *((stage, "421 4.7.0 try again later", RELAY) for stage in Stage),
    # "Log in first" and "encrypt first" are about our settings, at every stage.
    *((stage, "530 5.7.0 authentication required", OURS) for stage in Stage),
    *((stage, "538 5.7.11 encryption required", OURS) for stage in Stage),
    # Replies about our sender's address are about our settings too.
    *((stage, "553 5.1.7 bad sender address syntax", OURS) for stage in Stage),
    *((stage, "550 5.1.8 sender's domain not found", OURS) for stage in Stage),
    *((stage, "450 4.1.8 sender's domain not found", OURS) for stage in Stage),
    # Connecting.
    ("greeting", "554 no SMTP service here", RELAY),
    ("greeting", "450 4.3.2 busy", RELAY),
    ("greeting", "250 what?", RELAY),
    ("ehlo", "502 not implemented", RELAY),
    ("ehlo", "550 go away", RELAY),
    ("starttls", "454 4.7.0 TLS not available", RELAY),
    ("starttls", "501 5.5.4 no parameters", RELAY),
    ("auth", "535 5.7.8 wrong password", OURS),
    ("auth", "534 5.7.9 mechanism too weak", OURS),
    ("auth", "504 unknown mechanism", OURS),
    ("auth", "454 4.7.0 temporary failure", RELAY),
    # The sender.
    ("mail", "550 5.7.26 unauthenticated", OURS),
    ("mail", "553 sender rejected", OURS),
    ("mail", "552 5.3.4 too big", OURS),
    ("mail", "501 syntax", OURS),
    ("mail", "451 4.3.0 later", RELAY),
    ("mail", "452 4.3.1 no space", RELAY),
    # Recipients, for now.
    ("rcpt", "450 4.2.1 too quickly", LATER),
    ("rcpt", "451 4.7.1 greylisted", LATER),
    ("rcpt", "451 4.7.1 Greylisted: your rate is fine, come back", LATER),
    ("rcpt", "450 4.7.28 not so many", RELAY),
    ("rcpt", "450 4.7.1 Error: too much mail from 192.0.2.1", RELAY),
    ("rcpt", "451 4.7.500 Server busy", RELAY),
    ("rcpt", "452 4.2.2 over quota", LATER),
    ("rcpt", "452 4.5.3 too many recipients", RELAY),
    ("rcpt", "499 unheard of", LATER),
    ("rcpt", "552 too many recipients", RELAY),
    ("rcpt", "552 5.2.2 mailbox full", LATER),
    ("rcpt", "552 5.2.3 whatever", MESSAGE),
    ("rcpt", "552 whatever", LATER),
    ("rcpt", "550 5.2.2 mailbox full", LATER),
    # Recipients, for good.
    ("rcpt", "550 5.1.1 no such user", RECIPIENT),
    ("rcpt", "550 5.1.2 bad destination", RECIPIENT),
    ("rcpt", "501 5.1.3 bad syntax", RECIPIENT),
    ("rcpt", "550 5.1.6 moved", RECIPIENT),
    ("rcpt", "556 5.1.10 takes no mail", RECIPIENT),
    ("rcpt", "550 5.2.1 disabled", RECIPIENT),
    ("rcpt", "553 mailbox name not allowed", RECIPIENT),
    ("rcpt", "550 no", RECIPIENT),
    ("rcpt", "501 syntax", RECIPIENT),
    ("rcpt", "504 5.1.3 odd, but about the address", RECIPIENT),
    ("rcpt", "554 4.7.1 contradicts itself: the three digits win", RECIPIENT),
    # Policy: perhaps we are on some list by mistake, so the request does not fail at the first time.
    ("rcpt", "550 5.7.1 relaying denied", OURS),
    ("rcpt", "554 5.7.1 blocked", ONCE_RECIPIENT),
    ("data", "554 5.7.1 spam", ONCE_MESSAGE),
    ("dot", "550 5.7.26 unauthenticated", OURS),
    ("dot", "552 5.7.0 attachment", ONCE_MESSAGE),
    # The message, for now.
    ("data", "451 4.3.0 later", RELAY),
    ("dot", "452 4.3.1 no space", RELAY),
    ("dot", "450 4.7.1 not now", LATER),
    ("dot", "454 Throttling failure: Maximum sending rate exceeded.", RELAY),
    ("dot", "554 5.7.1 too many complaints", ONCE_MESSAGE),
    ("data", "552 5.2.2 mailbox full", LATER),
    ("dot", "554 5.2.2 mailbox full", LATER),
    # The message, for good.
    ("data", "554 no", MESSAGE),
    ("dot", "552 5.3.4 too big", MESSAGE),
    ("dot", "552 too big", MESSAGE),
    ("dot", "554 5.6.0 malformed", MESSAGE),
    ("dot", "550 no", MESSAGE),
    # The recipient, in a late reply.
    ("data", "550 5.1.1 no such user", RECIPIENT),
    ("dot", "550 5.2.1 disabled", RECIPIENT),
    # Out of step.
    *(
        (stage, f"{code} 5.5.1 bad sequence", MESSAGE)
        for stage in ("rcpt", "data", "dot")
        for code in (500, 502, 503, 504)
    ),
    ("dot", "501 5.5.4 syntax", MESSAGE),
    # Accepted.
    ("dot", "250 2.0.0 queued", SENT),
    ("dot", "250 5.7.1 ok", SENT),
    ("dot", "299 ok", SENT),
    # Replies that SMTP does not know.
    *((stage, "354 go on", RELAY) for stage in ("mail", "rcpt")),
    *((stage, "250 ok", RELAY) for stage in ("data",)),
    *((stage, "199 hm", RELAY) for stage in ("mail", "rcpt", "data")),
    *((stage, "600 hm", RELAY) for stage in ("greeting", "mail", "rcpt", "data")),
    *((stage, "-1 garbage", RELAY) for stage in ("greeting", "mail", "rcpt", "data")),
    *(("dot", f"{code} hm", UNKNOWN) for code in (-1, 0, 25, 150, 334, 354, 600, 999)),
]


def parsed(line: str) -> Reply:
    code, _, text = line.partition(" ")
    return Reply(int(code), text)


def summary(outcome: Outcome) -> tuple[object, ...]:
    match outcome:
        case Sent():
            return ("sent",)
        case Deferred():
            return ("deferred", outcome.policy, outcome.code)
        case Rejected():
            return ("rejected", outcome.code)
        case RelayDown():
            return ("down", outcome.scope)
        case Unknown():
            return ("unknown",)
        case NotSent():
            return ("not sent",)


@pytest.mark.parametrize(("stage", "line", "meaning"), TABLE)
def test_a_reply_means(stage: str, line: str, meaning: tuple[object, ...]) -> None:
    assert summary(judge(Stage(stage), parsed(line))) == meaning


def test_an_outcome_keeps_stage_and_reply() -> None:
    reply = Reply(550, "5.1.1 no")
    assert judge(Stage.RCPT, reply) == Rejected(
        FailureCode.RECIPIENT_REJECTED, Stage.RCPT, reply, "550 5.1.1 no", is_certain=True
    )
    busy = Reply(421, "busy")
    assert judge(Stage.DATA, busy) == RelayDown(Scope.RELAY, Stage.DATA, "421 busy", busy, Blame.RELAY)


replies = st.builds(
    Reply,
    code=st.integers(-99, 1000),
    text=st.text() | st.from_regex(r"[2-5]\.[0-9]{1,3}\.[0-9]{1,3} [a-z]*", fullmatch=True),
)


@given(stage=st.sampled_from(Stage), reply=replies)
def test_every_reply_means_something(stage: Stage, reply: Reply) -> None:
    outcome = judge(stage, reply)
    assert isinstance(outcome, Sent) == (stage is Stage.DOT and reply.code // 100 == 2)


@given(stage=st.sampled_from(sorted(CONNECTING | {Stage.MAIL})), reply=replies)
def test_before_rcpt_no_customer_is_to_blame(stage: Stage, reply: Reply) -> None:
    assert isinstance(judge(stage, reply), RelayDown)


@given(stage=st.sampled_from([Stage.RCPT, Stage.DATA, Stage.DOT]), reply=replies)
def test_only_a_permanent_reply_rejects(stage: Stage, reply: Reply) -> None:
    if isinstance(judge(stage, reply), Rejected):
        assert reply.code // 100 == 5


@pytest.mark.parametrize(
    ("stage", "code", "expected"),
    [
        ("mail", 250, True),
        ("rcpt", 251, True),
        ("rcpt", 252, True),
        ("data", 354, True),
        ("data", 250, False),
        ("data", 334, False),
        ("rcpt", 354, False),
        ("dot", 250, True),
        ("mail", 450, False),
        ("mail", -1, False),
        ("mail", 25, False),
    ],
)
def test_go_ahead(stage: str, code: int, expected: bool) -> None:
    assert is_go_ahead(Stage(stage), code) is expected


@pytest.mark.parametrize(
    ("line", "enhanced"),
    [
        ("550 5.1.1 no", "5.1.1"),
        ("550 5.1.1", "5.1.1"),
        ("550 5.7.509 no", "5.7.509"),
        ("550 4.1.1 contradicts", None),
        ("450 5.1.1 contradicts", None),
        ("550 no 5.1.1", None),
        ("550 5.1.1234 no", None),
        ("550 5.1.x", None),
        ("550 ٥.1.1 not ASCII", None),
        ("550 ", None),
    ],
)
def test_enhanced_code(line: str, enhanced: str | None) -> None:
    assert parsed(line).enhanced == enhanced


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no such user jane@example.com here", "no such user ***@*** here"),
        ("<jane@example.com>: no", "<***@***>: no"),
        ("<jane.doe>... User unknown", "<***>... User unknown"),
        ("jane@example.com,joe@example.com", "***@***,***@***"),
        ("mailto:jane@münchen.example", "mailto:***@***"),
        ("a@b@c", "***@***"),
        ("rfc822;jane@example.com", "rfc822;***@***"),
        ("host unknown[192.0.2.1] rejected", "host unknown[192.0.2.1] rejected"),
    ],
)
def test_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked


def test_masking_takes_linear_time() -> None:
    assert mask_addresses("a" * 1_000_000) == "a" * 1_000_000
    assert mask_addresses("<" * 1_000_000) == "<" * 1_000_000


@given(reply=replies)
def test_a_reason_is_one_printable_line(reply: Reply) -> None:
    text = reason(reply)
    assert len(text) <= 300
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text)


def test_a_reason_is_the_reply_in_one_line() -> None:
    reply = Reply(550, "5.1.1 <jane@example.com>:\n5.1.1 no\x00such\udcffuser")
    assert reason(reply) == "550 5.1.1 <***@***>: 5.1.1 no such user"
    assert one_line("x" * 1000) == "x" * 300


# settle

TRY_AGAIN = RetryPolicy(max_attempts=10, first_delay=60, on_unknown="resend")
GREYLISTED = Deferred(Stage.RCPT, Reply(451, "4.7.1 later"))
BLOCKED = Deferred(Stage.DOT, Reply(554, "5.7.1 spam"), policy=True, code=FailureCode.MESSAGE_REJECTED)
REFUSED = Rejected(FailureCode.RECIPIENT_REJECTED, Stage.RCPT, Reply(550, "no"), "550 no")
REFUSED_LATER = Deferred(Stage.RCPT, Reply(450, "not now"))
DENIED = RelayDown(Scope.CONFIGURATION, Stage.RCPT, "454 relay denied", Reply(454, "relay denied"), Blame.ACCOUNT)
FULL = Deferred(Stage.RCPT, Reply(452, "4.2.2 full"), is_certain=True)
DEAD = Rejected(
    FailureCode.RECIPIENT_REJECTED,
    Stage.RCPT,
    Reply(550, "5.1.1 no such user"),
    "550 5.1.1 no such user",
    is_certain=True,
)
LOST = Unknown("connection lost")
DOWN = RelayDown(Scope.RELAY, Stage.CONNECT, "refused")


def test_sent_is_told() -> None:
    assert settle(Sent(Reply(250, "ok")), Tries(), TRY_AGAIN, 0) == Told()


@pytest.mark.parametrize("outcome", [DOWN, NotSent("refused")])
def test_what_was_not_the_customers_fault_spends_no_try(outcome: Outcome) -> None:
    assert settle(outcome, Tries(9, 2, 1), TRY_AGAIN, 0) == Untouched("refused")


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.DOT])
def test_a_mail_at_which_the_relay_leaves_is_not_the_next_again_and_spends_no_try(stage: Stage) -> None:
    left = RelayDown(Scope.RELAY, stage, "421 bye", Reply(421, "bye"))
    delays = []
    for aborts in range(6):
        verdict = settle(left, Tries(2, 1, 0), TRY_AGAIN, 0, aborts=aborts)
        assert isinstance(verdict, Later)
        assert (verdict.tries, verdict.code, verdict.reason) == (Tries(2, 1, 0), None, "421 bye")
        delays.append(verdict.delay)
    assert delays == [5, 20, 80, 300, 300, 300]


def test_who_upsets_the_relay_is_remembered_until_something_else_comes_of_it() -> None:
    aborts, left = Aborts(), RelayDown(Scope.RELAY, Stage.RCPT, "421 bye", Reply(421, "bye"))
    ids = [uuid4() for _ in range(MAILS_KNOWN)]
    assert [aborts.note(ids[0], outcome) for outcome in (left, left, REFUSED, left)] == [0, 1, 2, 0]
    assert [aborts.note(ids[1], outcome) for outcome in (left, DOWN, NotSent("slice over"), left)] == [0, 1, 1, 1]
    for other in ids[2:]:
        aborts.note(other, left)
    assert aborts.note(ids[1], left) == 2
    aborts.note(uuid4(), left)
    assert aborts.note(ids[0], left) == 0, "the one that was longest ago is forgotten"


@pytest.mark.parametrize(
    "outcome",
    [
        RelayDown(Scope.RELAY, Stage.MAIL, "421 bye", Reply(421, "bye")),
        RelayDown(Scope.RELAY, Stage.RCPT, "451 slow down", Reply(451, "slow down"), Blame.PACE),
        RelayDown(Scope.RELAY, Stage.DOT, "432 too many", Reply(432, "too many"), Blame.CONNECTIONS),
        RelayDown(Scope.CONFIGURATION, Stage.MAIL, "530 log in", Reply(530, "log in")),
    ],
)
def test_what_is_certainly_not_about_a_mail_leaves_it_where_it_was(outcome: RelayDown) -> None:
    assert settle(outcome, Tries(2, 1, 0), TRY_AGAIN, 0) == Untouched(outcome.reason)


def test_a_refusal_that_is_certain_fails_at_once() -> None:
    verdict = settle(DEAD, Tries(), TRY_AGAIN, 0)
    assert verdict == Failed(FailureCode.RECIPIENT_REJECTED, Tries(1), "550 5.1.1 no such user")


def test_a_refusal_for_good_fails_at_once_where_the_relay_takes_others() -> None:
    verdict = settle(REFUSED, Tries(), TRY_AGAIN, 0, proof=Proof.AROUND)
    assert verdict == Failed(FailureCode.RECIPIENT_REJECTED, Tries(1), "550 no")


@pytest.mark.parametrize("outcome", [REFUSED_LATER, BLOCKED, DENIED])
@pytest.mark.parametrize("tries", [Tries(), Tries(9, 0, 2), Tries(50, 2, 2)])
def test_words_that_may_mean_us_neither_fail_nor_spend_the_last_try_while_nothing_is_taken(
    outcome: Outcome, tries: Tries
) -> None:
    for _ in range(20):
        verdict = settle(outcome, tries, TRY_AGAIN, 0)
        assert isinstance(verdict, Later)
        assert verdict.is_doubtful
        tries = verdict.tries
    assert tries.attempts in (9, 50) or outcome is DENIED


def retried(outcome: Outcome, proof: Proof) -> tuple[list[float], Verdict]:
    """Tries again until it fails. Returns the delays and the end."""
    delays, tries = [], Tries()
    while isinstance(verdict := settle(outcome, tries, TRY_AGAIN, 0, proof=proof), Later):
        delays.append(verdict.delay)
        tries = verdict.tries
    return delays, verdict


def test_delays_grow_fourfold_up_to_an_hour() -> None:
    delays, end = retried(GREYLISTED, Proof.BETWEEN)
    assert delays == [60, 240, 960, 3600, 3600, 3600, 3600, 3600, 3600]
    assert end == Failed(FailureCode.RETRIES_EXHAUSTED, Tries(10), "451 4.7.1 later")


def test_a_mailbox_that_stays_full_needs_no_proof() -> None:
    delays, end = retried(FULL, Proof.NONE)
    assert (len(delays), end) == (9, Failed(FailureCode.RETRIES_EXHAUSTED, Tries(10), "452 4.2.2 full"))


def test_a_policy_refusal_is_believed_the_second_time_if_the_relay_takes_others() -> None:
    first = settle(BLOCKED, Tries(), TRY_AGAIN, 0, proof=Proof.AROUND)
    assert first == Later(60, Tries(1, 0, 1), FailureCode.MESSAGE_REJECTED, "554 5.7.1 spam", is_doubtful=True)
    second = settle(BLOCKED, Tries(1, 0, 1), TRY_AGAIN, 0, proof=Proof.AROUND)
    assert second == Failed(FailureCode.MESSAGE_REJECTED, Tries(2, 0, 2), "554 5.7.1 spam")


@pytest.mark.parametrize("outcome", [REFUSED, BLOCKED])
def test_a_refusal_is_believed_the_third_time_if_others_were_taken_since_the_last(outcome: Outcome) -> None:
    delays, end = retried(outcome, Proof.BETWEEN)
    assert delays == [60, 240]
    assert isinstance(end, Failed)
    assert (end.code, end.tries) == (outcome.code, Tries(3, 0, 3))  # type: ignore[union-attr]


def test_an_unknown_outcome_is_tried_again_twice() -> None:
    tries = Tries()
    for number in (1, 2):
        verdict = settle(LOST, tries, TRY_AGAIN, 0)
        assert isinstance(verdict, Later)
        assert verdict.code is FailureCode.OUTCOME_UNKNOWN
        tries = verdict.tries
        assert tries == Tries(number, number)
    assert settle(LOST, tries, TRY_AGAIN, 0) == Failed(FailureCode.OUTCOME_UNKNOWN, Tries(3, 3), "connection lost")


def test_an_unknown_outcome_fails_at_once_if_asked_to() -> None:
    policy = RetryPolicy(max_attempts=10, first_delay=60, on_unknown="fail")
    assert settle(LOST, Tries(), policy, 0) == Failed(FailureCode.OUTCOME_UNKNOWN, Tries(1, 1), "connection lost")


def test_the_last_try_with_an_unknown_outcome_says_so() -> None:
    verdict = settle(LOST, Tries(9), TRY_AGAIN, 0)
    assert verdict == Failed(FailureCode.OUTCOME_UNKNOWN, Tries(10, 1), "connection lost")


outcomes = st.sampled_from([GREYLISTED, BLOCKED, REFUSED, DEAD, FULL, DENIED, LOST, DOWN, Sent(Reply(250, "ok"))])
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 50),
    first_delay=st.floats(0.001, 1e6),
    on_unknown=st.sampled_from(["resend", "fail"]),
)
jitters = st.floats(-1, 1)
proofs = st.sampled_from(Proof)


@given(
    outcome=outcomes,
    tries=st.builds(Tries, st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 5)),
    policy=policies,
    jitter=jitters,
    proof=proofs,
)
def test_a_delay_is_at_most_an_hour_and_its_jitter(
    outcome: Outcome, tries: Tries, policy: RetryPolicy, jitter: float, proof: Proof
) -> None:
    verdict = settle(outcome, tries, policy, jitter, proof=proof)
    if isinstance(verdict, Later):
        assert 0 < verdict.delay <= 3600 * 1.2
    if isinstance(verdict, Later | Failed):
        assert verdict.tries.attempts in (tries.attempts, tries.attempts + 1)


@given(history=st.lists(st.tuples(outcomes, proofs), min_size=1), policy=policies, jitter=jitters)
def test_a_request_ends_within_its_tries(
    history: list[tuple[Outcome, Proof]], policy: RetryPolicy, jitter: float
) -> None:
    tries = Tries()
    spent = 0
    for outcome, proof in history:
        verdict = settle(outcome, tries, policy, jitter, proof=proof)
        if isinstance(verdict, Told | Failed):
            break
        if isinstance(verdict, Later):
            spent += verdict.tries.attempts - tries.attempts
            tries = verdict.tries
    assert spent < policy.max_attempts
    assert tries.attempts == spent
    assert tries.unknowns <= 2
    assert tries.policy_refusals <= 2


@given(
    outcome=outcomes, tries=st.builds(Tries, st.integers(0, 60), st.integers(0, 2), st.integers(0, 2)), policy=policies
)
def test_nobody_fails_for_words_that_may_mean_us_without_proof(
    outcome: Outcome, tries: Tries, policy: RetryPolicy
) -> None:
    if is_doubtful(outcome):
        verdict = settle(outcome, tries, policy, 0.0)
        assert isinstance(verdict, Later)
        assert verdict.tries.attempts < max(policy.max_attempts, tries.attempts + 1)

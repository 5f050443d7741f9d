"""Verdicts: what happens to a request after an attempt to send its mail. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, Literal, TypeAlias, assert_never

from worker.domain.outcomes import (
    ABOUT_A_MAIL,
    Deferred,
    FailureCode,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Sent,
    Unknown,
    is_doubtful,
)
from worker.domain.replies import reason

_DELAY_LIMIT: Final = 3600.0
_JITTER: Final = 0.2
_UNKNOWN_LIMIT: Final = 2
_ABORT_DELAYS: Final = (5.0, 300.0)
"""Delays in seconds for a mail during which the relay left: the first and the longest. The mail is rarely the cause."""


class Proof(Enum):
    """What is known about the relay when it refuses a mail with words that may mean us."""

    NONE = auto()
    """It has taken no mail since it first refused this one: the refusal may be about us."""
    BETWEEN = auto()
    """It took other mails between the last refusal of this mail and this one."""
    AROUND = auto()
    """It took other mails right before and right after this refusal, so the refusal is about this mail."""


_REFUSALS_ALLOWED: Final = {Proof.BETWEEN: 2, Proof.AROUND: 1}
"""So many permanent refusals, or refusals by a policy, do not fail a request: perhaps we are on a list by mistake."""


@dataclass(frozen=True, slots=True)
class Tries:
    """Counters of a request since it was created or retried."""

    attempts: int = 0
    unknowns: int = 0
    policy_refusals: int = 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts and the delays between them. `first_delay` is in seconds."""

    max_attempts: int
    first_delay: float
    on_unknown: Literal["resend", "fail"]

    def delay(self, attempts: int, jitter: float) -> float:
        """Returns the delay in seconds after `attempts` earlier delays: four times as long each time, at most 1 h.

        `jitter` is between -1 and 1.
        """
        # The limit on the exponent only prevents a float overflow.
        delay = min(self.first_delay * 4.0 ** min(attempts, 32), _DELAY_LIMIT)
        return delay * (1 + _JITTER * jitter)


# The verdicts on a request.


@dataclass(frozen=True, slots=True)
class Told:
    """The relay accepted the mail: NOTIFICATION_SENT."""


@dataclass(frozen=True, slots=True)
class Later:
    """Back to RECEIVED, due in `delay` seconds. `code` is the failure code if the same outcome repeats."""

    delay: float
    tries: Tries
    code: str | None
    reason: str
    is_doubtful: bool = False
    """Whether the refusal may be about us, so that it is judged by what the relay takes from now on."""


@dataclass(frozen=True, slots=True)
class Failed:
    """FAILED, until an admin retries it."""

    code: FailureCode
    tries: Tries
    reason: str


@dataclass(frozen=True, slots=True)
class Untouched:
    """Back to RECEIVED unchanged. No attempt was spent."""

    reason: str


TOLD: Final = Told()

Verdict: TypeAlias = Told | Later | Failed | Untouched


def with_one_delay(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Returns these verdicts on requests of one mail, with the longest of their delays: they are due together again."""
    longest = max((verdict.delay for verdict in verdicts if isinstance(verdict, Later)), default=0.0)
    return [replace(verdict, delay=longest) if isinstance(verdict, Later) else verdict for verdict in verdicts]


def is_abort(outcome: Outcome) -> bool:
    """Whether the mail was not sent because of the relay or us, once the relay had heard of the mail.

    The mail may be the cause after all.
    """
    return isinstance(outcome, RelayDown) and outcome.stage in ABOUT_A_MAIL and not outcome.is_too_fast


def settle(
    outcome: Outcome,
    tries: Tries,
    policy: RetryPolicy,
    jitter: float,
    *,
    aborts: int = 0,
    proof: Proof = Proof.NONE,
) -> Verdict:
    """Returns the verdict on a request. `tries` do not include this outcome yet.

    `jitter` is between -1 and 1. `aborts` is how often in a row this mail ended with `is_abort` before. `proof` matters
    for outcomes that are doubtful: without proof none of them ends a request or spends its last try.
    """
    if isinstance(outcome, Sent):
        return TOLD
    spent = replace(tries, attempts=tries.attempts + 1)
    if is_doubtful(outcome) and proof is Proof.NONE:
        spent = replace(spent, attempts=min(spent.attempts, max(tries.attempts, policy.max_attempts - 1)))
    match outcome:
        case Deferred(policy=False) as deferred:
            return _settle_deferred(deferred, spent, policy, jitter, may_end=_may_end(outcome, proof))
        case Deferred(_, reply, _, code):
            return _settle_refused(code, reason(reply), spent, policy, jitter, proof)
        case Rejected() if outcome.is_certain or proof is Proof.AROUND:
            return Failed(outcome.code, spent, outcome.reason)
        case Rejected():
            return _settle_refused(outcome.code, outcome.reason, spent, policy, jitter, proof)
        case Unknown():
            return _settle_unknown(outcome, spent, policy, jitter)
        case RelayDown():
            return _settle_down(outcome, tries, policy.delay(aborts, jitter), aborts)
        case NotSent():
            return Untouched(outcome.reason)
        case _:
            assert_never(outcome)


def _may_end(outcome: Outcome, proof: Proof) -> bool:
    return proof is not Proof.NONE or not is_doubtful(outcome)


def _settle_down(outcome: RelayDown, tries: Tries, delay: float, aborts: int) -> Verdict:
    """Spends no attempt. If a transaction was begun, the mail may be the cause and must not be tried first again."""
    if not is_abort(outcome):
        return Untouched(outcome.reason)
    first, longest = _ABORT_DELAYS
    delay = min(delay, first * 4.0 ** min(aborts, 8), longest)
    return Later(delay, tries, None, outcome.reason, is_doubtful=is_doubtful(outcome))


def _settle_deferred(outcome: Deferred, spent: Tries, policy: RetryPolicy, jitter: float, *, may_end: bool) -> Verdict:
    why = reason(outcome.reply)
    if may_end and spent.attempts >= policy.max_attempts:
        return Failed(FailureCode.RETRIES_EXHAUSTED, spent, why)
    delay = policy.delay(max(0, spent.attempts - 1), jitter)
    return Later(delay, spent, None, why, is_doubtful=not outcome.is_certain)


def _settle_refused(
    code: FailureCode, why: str, spent: Tries, policy: RetryPolicy, jitter: float, proof: Proof
) -> Verdict:
    """A refusal for good, or by a policy. It may mean us, so how often it may come depends on the proof."""
    allowed = _REFUSALS_ALLOWED.get(proof)
    if allowed is not None and (spent.policy_refusals >= allowed or spent.attempts >= policy.max_attempts):
        return Failed(code, replace(spent, policy_refusals=spent.policy_refusals + 1), why)
    spent = replace(spent, policy_refusals=min(spent.policy_refusals + 1, _REFUSALS_ALLOWED[Proof.BETWEEN]))
    return Later(policy.delay(max(0, spent.attempts - 1), jitter), spent, code, why, is_doubtful=True)


def _settle_unknown(outcome: Unknown, spent: Tries, policy: RetryPolicy, jitter: float) -> Verdict:
    spent = replace(spent, unknowns=spent.unknowns + 1)
    # OUTCOME_UNKNOWN wins over RETRIES_EXHAUSTED: an admin must know that the customer may have got the mail.
    over = spent.unknowns > _UNKNOWN_LIMIT or spent.attempts >= policy.max_attempts
    if over or policy.on_unknown == "fail":
        return Failed(FailureCode.OUTCOME_UNKNOWN, spent, outcome.reason)
    delay = policy.delay(spent.attempts - 1, jitter)
    return Later(delay, spent, FailureCode.OUTCOME_UNKNOWN, outcome.reason)

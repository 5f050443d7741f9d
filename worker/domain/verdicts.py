"""Verdicts: what happens to a request after an attempt to send its mail. Pure."""

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, assert_never

from worker.domain.outcomes import (
    ABOUT_A_MAIL,
    Deferred,
    FailureCode,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Scope,
    Sent,
    Unknown,
    reason,
)

_DELAY_LIMIT: Final = 3600.0
_JITTER: Final = 0.2
_UNKNOWN_LIMIT: Final = 2
_ABORT_DELAYS: Final = (5.0, 300.0)
"""Delays in seconds for a mail during which the relay left: the first and the longest. The mail is rarely the cause."""


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


def is_abort(outcome: Outcome) -> bool:
    """Whether the relay failed during a mail transaction. The mail may be the cause."""
    if not isinstance(outcome, RelayDown) or outcome.scope is not Scope.RELAY:
        return False
    return outcome.stage in ABOUT_A_MAIL and not outcome.is_too_fast


def settle(outcome: Outcome, tries: Tries, policy: RetryPolicy, jitter: float, aborts: int = 0) -> Verdict:
    """Returns the verdict on a request. `tries` do not include this outcome yet.

    `jitter` is between -1 and 1. `aborts` is how often in a row this mail ended with `is_abort` before.
    """
    if isinstance(outcome, Sent):
        return TOLD
    spent = replace(tries, attempts=tries.attempts + 1)
    match outcome:
        case Deferred():
            return _settle_deferred(outcome, spent, policy, jitter)
        case Rejected():
            return Failed(outcome.code, spent, outcome.reason)
        case Unknown():
            return _settle_unknown(outcome, spent, policy, jitter)
        case RelayDown():
            return _settle_down(outcome, tries, policy.delay(aborts, jitter), aborts)
        case NotSent():
            return Untouched(outcome.reason)
        case _:
            assert_never(outcome)


def _settle_down(outcome: RelayDown, tries: Tries, delay: float, aborts: int) -> Verdict:
    """Spends no attempt. If a transaction was begun, the mail may be the cause and must not be tried first again."""
    if not is_abort(outcome):
        return Untouched(outcome.reason)
    first, longest = _ABORT_DELAYS
    return Later(min(delay, first * 4.0 ** min(aborts, 8), longest), tries, None, outcome.reason)


def _settle_deferred(outcome: Deferred, spent: Tries, policy: RetryPolicy, jitter: float) -> Verdict:
    why = reason(outcome.reply)
    if outcome.policy:
        spent = replace(spent, policy_refusals=spent.policy_refusals + 1)
        if spent.policy_refusals > 1:
            return Failed(outcome.code, spent, why)
    if spent.attempts >= policy.max_attempts:
        return Failed(FailureCode.RETRIES_EXHAUSTED, spent, why)
    code = outcome.code if outcome.policy else None
    return Later(policy.delay(spent.attempts - 1, jitter), spent, code, why)


def _settle_unknown(outcome: Unknown, spent: Tries, policy: RetryPolicy, jitter: float) -> Verdict:
    spent = replace(spent, unknowns=spent.unknowns + 1)
    # OUTCOME_UNKNOWN wins over RETRIES_EXHAUSTED: an admin must know that the customer may have got the mail.
    over = spent.unknowns > _UNKNOWN_LIMIT or spent.attempts >= policy.max_attempts
    if over or policy.on_unknown == "fail":
        return Failed(FailureCode.OUTCOME_UNKNOWN, spent, outcome.reason)
    delay = policy.delay(spent.attempts - 1, jitter)
    return Later(delay, spent, FailureCode.OUTCOME_UNKNOWN, outcome.reason)

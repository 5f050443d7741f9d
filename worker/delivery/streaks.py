"""Runs of failures: when many mails in a row fail, the cause is the relay or us; when one always does, it is that mail.

A relay that refuses us as such may still accept our sender, so that a probe closes the breaker. Until it has taken a
mail again, its refusals are about us: they fail nobody.
"""

from dataclasses import dataclass, field
from uuid import UUID

from worker.domain.outcomes import (
    Deferred,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Reply,
    Scope,
    Stage,
    Unknown,
    reason,
)
from worker.domain.verdicts import is_abort

REFUSALS_IN_A_ROW = 20
"""So many different recipients refused without a success between them: the cause is not the recipients, but us."""
LEAST_UNKNOWNS = 3
"""So many mails without a reply in a row (or one per connection, if those are more): the relay takes nothing."""
ABORTS_KNOWN = 1_000
"""For how many mails it is remembered that the relay aborted the session at them."""


@dataclass(slots=True)
class Aborts:
    """How often in a row the relay aborted the session at each mail, as far as this process knows."""

    _times: dict[UUID, int] = field(default_factory=dict)

    def note(self, request_id: UUID, outcome: Outcome) -> int:
        """Takes the outcome of a mail into account; returns how often the relay aborted at it before."""
        before = self._times.get(request_id, 0)
        if is_abort(outcome):
            self._times.pop(request_id, None)  # so that it is the newest entry
            self._times[request_id] = before + 1
            if len(self._times) > ABORTS_KNOWN:
                del self._times[next(iter(self._times))]
        elif not isinstance(outcome, RelayDown | NotSent):
            self.forget(request_id)
        return before

    def forget(self, request_id: UUID) -> None:
        """The relay has dealt with this mail."""
        if self._times:
            self._times.pop(request_id, None)


@dataclass(slots=True)
class Streaks:
    """The failures in a row since the relay last took a mail. Kept from slice to slice."""

    connections: int
    taken: int = 0
    """How many mails the relay has taken."""
    times: int = 0
    """How often a streak blamed us since the relay last took a mail."""
    aborts: Aborts = field(default_factory=Aborts)
    _refused: set[str] = field(default_factory=set)
    _unknowns: int = 0

    def took(self, request_id: UUID) -> None:
        """The relay has taken a mail: every streak ends."""
        self.taken += 1
        self.aborts.forget(request_id)
        if self._refused or self._unknowns or self.times:
            self._forget()
            self.times = 0

    def note(self, recipient: str, outcome: Outcome) -> RelayDown | None:
        """Takes an outcome other than Sent into account; returns the trouble if it is about more than this mail."""
        match outcome:
            case Rejected(_, stage, _, words):
                return self._note_refusal(recipient, stage, words)
            case Deferred(stage, reply, policy=True):
                return self._note_refusal(recipient, stage, reason(reply))
            case Unknown(words):
                return self._note_unknown(words)
        return None

    def judged(self, outcome: Outcome) -> Outcome:
        """What an outcome means for its mail. While refusals are about us, the mail is put back for later.

        No try is spent. The refusal counts as if the relay had aborted the session, so other mails are tried first.
        """
        match outcome if self.times else None:
            case Rejected(_, stage, Reply() as reply, words):
                return RelayDown(Scope.RELAY, stage, words, reply)
            case Deferred(stage, reply, policy=True):
                return RelayDown(Scope.RELAY, stage, reason(reply), reply)
        return outcome

    def _note_refusal(self, recipient: str, stage: Stage, words: str) -> RelayDown | None:
        self._refused.add(recipient)
        if len(self._refused) < REFUSALS_IN_A_ROW:
            return None
        self._forget()
        self.times += 1
        text = f"{REFUSALS_IN_A_ROW} recipients refused in a row, the last with: {words}"
        return RelayDown(Scope.CONFIGURATION, stage, text)

    def _note_unknown(self, words: str) -> RelayDown | None:
        self._unknowns += 1
        if self._unknowns < max(LEAST_UNKNOWNS, self.connections):
            return None
        self._forget()
        return RelayDown(Scope.RELAY, Stage.DOT, f"no reply to any mail, at last: {words}")

    def _forget(self) -> None:
        self._refused.clear()
        self._unknowns = 0

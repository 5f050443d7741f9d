"""When many mails in a row go wrong, the cause is the relay or us; when one always does, it is that mail. Pure.

A relay that refuses us as such may take our sender all the same, so that a probe closes the breaker. Until it has taken
a mail again its refusals are about us: they fail nobody.
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
    Sent,
    Stage,
    Unknown,
    reason,
)
from worker.domain.verdicts import is_abort

REFUSALS_IN_A_ROW = 20
"""So many different recipients refused with no success between: that is not them, it is us."""
LEAST_UNKNOWNS = 3
"""So many mails without a verdict in a row, or one a connection if those are more: the relay takes nothing."""
ABORTS_KNOWN = 1_000
"""How many mails are remembered at which the relay left."""


@dataclass(slots=True)
class Streaks:
    """What went wrong in a row since the last mail that was taken. Kept from slice to slice."""

    connections: int
    taken: int = 0
    """How many mails the relay has taken."""
    times: int = 0
    """How often it was us since the last mail that was taken."""
    _refused: set[str] = field(default_factory=set)
    _unknowns: int = 0

    def note(self, recipient: str, outcome: Outcome) -> RelayDown | None:
        """Takes the outcome of a mail into account; returns the trouble if there is more to it than this mail."""
        if isinstance(outcome, Sent):
            self.taken += 1
            if self._refused or self._unknowns or self.times:
                self._forget()
                self.times = 0
            return None
        match outcome:
            case Rejected(_, stage, _, words):
                return self._note_refusal(recipient, stage, words)
            case Deferred(stage, reply, policy=True):
                return self._note_refusal(recipient, stage, reason(reply))
            case Unknown(words):
                return self._note_unknown(words)
        return None

    def judged(self, outcome: Outcome) -> Outcome:
        """What an outcome means for its mail: while the refusals are about us it is put back, and its turn comes later.

        No try is spent. It is as if the relay had been upset, and who is refused next is somebody else.
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


@dataclass(slots=True)
class Aborts:
    """How often in a row the relay was upset at each mail, as far as this process knows: of the last thousand."""

    _times: dict[UUID, int] = field(default_factory=dict)

    def note(self, request_id: UUID, outcome: Outcome) -> int:
        """Takes the outcome of a mail into account; returns how often the relay was upset at it before."""
        before = self._times.get(request_id, 0)
        if is_abort(outcome):
            self._times.pop(request_id, None)  # it comes last now
            self._times[request_id] = before + 1
            if len(self._times) > ABORTS_KNOWN:
                del self._times[next(iter(self._times))]
        elif not isinstance(outcome, RelayDown | NotSent):
            self._times.pop(request_id, None)
        return before

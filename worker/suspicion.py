"""When many mails in a row go wrong, it is not them: it is the relay, or us. Pure."""

from dataclasses import dataclass, field

from worker.outcomes import Deferred, Outcome, Rejected, RelayDown, Scope, Sent, Stage, Unknown, reason

REFUSALS_IN_A_ROW = 20
"""So many different recipients refused with no success between: that is not them, it is us."""
LEAST_UNKNOWNS = 3


@dataclass(slots=True)
class Suspicion:
    """What went wrong in a row since the last mail that was taken. Kept from slice to slice."""

    connections: int
    _refused: set[str] = field(default_factory=set)
    _unknowns: int = 0

    def note(self, recipient: str, outcome: Outcome) -> RelayDown | None:
        """Takes the outcome of a mail into account; returns the trouble if there is more to it than this mail."""
        match outcome:
            case Sent():
                self._forget()
            case Rejected(_, stage, _, words):
                return self._note_refusal(recipient, stage, words)
            case Deferred(stage, reply, policy=True):
                return self._note_refusal(recipient, stage, reason(reply))
            case Unknown(words):
                return self._note_unknown(words)
        return None

    def _note_refusal(self, recipient: str, stage: Stage, words: str) -> RelayDown | None:
        self._refused.add(recipient)
        if len(self._refused) < REFUSALS_IN_A_ROW:
            return None
        self._forget()
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

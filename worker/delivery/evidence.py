"""Evidence: whether a refusal is about one mail or about us. Judged by what the relay takes, not by a count alone.

A relay that refuses us as such may still accept our sender, and its words may name the recipient. So words that may
mean us fail nobody until the relay has taken other mails since. Many of them in a row are a reason to try one mail at a
time, from different items and to different domains (`deliver.probe`), until one is taken.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from worker.domain.outcomes import (
    Deferred,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Scope,
    Unknown,
    is_doubtful,
)
from worker.domain.replies import Reply, Stage, reason
from worker.domain.verdicts import Proof, is_abort

T = TypeVar("T")

DOUBTS_IN_A_ROW = 5
"""So many different recipients refused with words that may mean us, and no mail taken between: that is looked into."""
LEAST_UNKNOWNS = 3
"""So many mails without a reply in a row (or one per connection, if those are more): the relay takes nothing."""
LATELY_SECONDS = 60.0
"""A mail that was taken within this time counts as taken right before."""
MAILS_KNOWN = 1_000
"""For how many mails it is remembered that the relay refused them, or aborted the session at them."""


@dataclass(slots=True)
class Aborts:
    """How often in a row the relay aborted the session at each mail, as far as this process knows."""

    _times: dict[UUID, int] = field(default_factory=dict)

    def note(self, request_id: UUID, outcome: Outcome) -> int:
        """Takes the outcome of a mail into account; returns how often the relay aborted at it before."""
        before = self._times.get(request_id, 0)
        if is_abort(outcome):
            _remember(self._times, request_id, before + 1)
        elif not isinstance(outcome, RelayDown | NotSent):
            self.forget(request_id)
        return before

    def forget(self, request_id: UUID) -> None:
        """The relay has dealt with this mail."""
        if self._times:
            self._times.pop(request_id, None)


@dataclass(slots=True)
class Evidence:
    """What the relay took and refused, as far as this process knows. Kept from slice to slice.

    Mails are numbered in the order in which they are begun. A mail is evidence about a refusal only if it was begun
    after it: one that was on its way already may have been taken before the trouble began.
    """

    connections: int
    clock: Callable[[], float] = time.monotonic
    taken: int = 0
    """How many mails the relay has taken."""
    begun: int = 0
    """How many mails were begun: the number of the latest."""
    aborts: Aborts = field(default_factory=Aborts)
    _newest_taken: int = 0
    """The highest number of a mail that was taken."""
    _taken_at: float = float("-inf")
    _missed_at: float = float("-inf")
    _refused: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    """How many mails were begun, and taken, when the relay last refused each of these with words that may mean us."""
    _doubts: set[str] = field(default_factory=set)
    """The recipients refused so since the relay last took a mail."""
    _since: float = 0.0
    """When the first of them was refused."""
    _unknowns: int = 0

    def took(self, request_id: UUID, number: int) -> None:
        """The relay has taken the mail with this number: every streak ends."""
        self.taken += 1
        self._taken_at = self.clock()
        if number > self._newest_taken:
            self._newest_taken = number
        self.aborts.forget(request_id)
        if self._refused:
            self._refused.pop(request_id, None)
        if self._doubts or self._unknowns:
            self.forget_streaks()

    def missed_relay(self) -> None:
        """This process could not connect to the relay."""
        self._missed_at = self.clock()

    def reached_relay(self) -> None:
        """This process could connect to the relay."""
        self._missed_at = float("-inf")

    @property
    def is_cut_off(self) -> bool:
        """Whether this process could not connect to the relay when it last tried."""
        return self._missed_at > self._taken_at

    @property
    def is_taking(self) -> bool:
        """Whether the relay took a mail lately."""
        return self.clock() - self._taken_at < LATELY_SECONDS

    @property
    def streak_seconds(self) -> float:
        """For how long the relay has been refusing without taking a mail."""
        return self.clock() - self._since if self._doubts else 0.0

    def proof(self, request_id: UUID, *, took_others: bool) -> Proof:
        """What the relay has taken since it last refused this mail. `took_others` is what the database knows of that.

        Ask before the new refusal is noted.
        """
        begun, _ = self._refused.get(request_id, (self.begun, 0))
        return Proof.BETWEEN if took_others or self._newest_taken > begun else Proof.NONE

    def note(self, request_id: UUID, recipient: str, outcome: Outcome, proof: Proof) -> RelayDown | None:
        """Takes an outcome other than Sent into account; returns the trouble if it is about more than this mail.

        What sounds as if it were about us is no trouble for others if the relay took their mails meanwhile.
        """
        took_others = proof is not Proof.NONE
        if is_doubtful(outcome):
            took_others |= self.taken > self._refused.get(request_id, (0, self.taken))[1]
            _remember(self._refused, request_id, (self.begun, self.taken))
        match outcome:
            case RelayDown() if is_doubtful(outcome) and took_others:
                return None
            case RelayDown(scope, stage, words) if is_doubtful(outcome):
                return outcome if scope is not Scope.RELAY else self._note_doubt(recipient, stage, words)
            case Rejected(_, stage, Reply(), words, False):
                return self._note_doubt(recipient, stage, words)
            case Deferred(stage, reply, is_certain=False):
                return self._note_doubt(recipient, stage, reason(reply))
            case Unknown(words):
                return self._note_unknown(words)
        return None

    def _note_doubt(self, recipient: str, stage: Stage, words: str) -> RelayDown | None:
        if not self._doubts:
            self._since = self.clock()
        if len(self._doubts) < DOUBTS_IN_A_ROW:
            self._doubts.add(recipient)
        if len(self._doubts) < DOUBTS_IN_A_ROW:
            return None
        return RelayDown(Scope.REFUSALS, stage, f"{DOUBTS_IN_A_ROW} mails refused in a row, the last with: {words}")

    def _note_unknown(self, words: str) -> RelayDown | None:
        self._unknowns += 1
        if self._unknowns < max(LEAST_UNKNOWNS, self.connections):
            return None
        self.forget_streaks()
        return RelayDown(Scope.RELAY, Stage.DOT, f"no reply to any mail, at last: {words}")

    def forget_streaks(self) -> None:
        """A mail was taken, or another relay is used from now on, of which what the last one did says nothing."""
        self._doubts.clear()
        self._unknowns = 0


def _remember(known: dict[UUID, T], request_id: UUID, value: T) -> None:
    known.pop(request_id, None)  # so that it is the newest entry
    known[request_id] = value
    if len(known) > MAILS_KNOWN:
        del known[next(iter(known))]

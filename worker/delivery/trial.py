"""A trial: mails sent one at a time, to find out whether a relay that refused many takes any.

The mails are of different items and to recipients at different domains as far as there are any, because a relay may
refuse all mail about one item or to one domain, and that is not about us.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from worker.delivery.in_flight import Taken
from worker.delivery.line import Line
from worker.delivery.slice import Slice
from worker.delivery.slice_clock import SliceClock
from worker.domain.outcomes import Deferred, Outcome, Rejected, RelayDown, Scope, Sent, is_doubtful
from worker.domain.replies import Reply, reason
from worker.smtp.mailer import Mail
from worker.store.claims import Candidate

TRIAL_SECONDS: Final = 5.0
"""How long mails are tried before the relay is left alone again."""
TRIAL_MAILS: Final = 20
"""The most mails that are tried soon after the trouble began."""
FEW_MAILS: Final = 3
"""The most mails that are tried later, so that the relay is not pressed."""
ENOUGH: Final = 3
"""So many refusals by words that are known to be about us end a trial."""


class Trial(Slice):
    """Sends some requests one by one until one is taken. The breaker is open meanwhile.

    Once one is taken, those that were refused before are tried again: the trouble may have ended in between.
    """

    waits_for_proof = False

    def __init__(self, line: Line, candidates: Sequence[Candidate], most: int = TRIAL_MAILS) -> None:
        chosen = different(candidates, most)
        lists = list(dict.fromkeys(each.list_id for each in chosen))
        clock = SliceClock(length=TRIAL_SECONDS, longest=0.0)
        super().__init__(line, lists, clock=clock, only=[each.request_id for each in chosen])
        self.has_taken = False
        """Whether the relay has taken a mail."""
        self.refusal: RelayDown | None = None
        """Why it took the last one not."""
        self._about_us = 0

    @property
    def available(self) -> int:
        """See `Source`."""
        return 0 if self._in_flight else min(1, super().available)

    def next_now(self) -> Mail | None:
        """See `Source`."""
        return None if self._in_flight else super().next_now()

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """See `Slice`."""
        super().report(mail, outcome)
        self._wake()

    def _took(self, taken: Taken, outcome: Sent) -> None:
        super()._took(taken, outcome)
        self.has_taken = True
        self.end()

    def _heed(self, _trouble: RelayDown | None, means: Outcome) -> None:
        match means:
            case Deferred(stage, reply) if is_doubtful(means):
                self.refusal = RelayDown(Scope.REFUSALS, stage, reason(reply), reply)
            case Rejected(_, stage, Reply() as reply) if is_doubtful(means):
                self.refusal = RelayDown(Scope.REFUSALS, stage, reason(reply), reply)
            case RelayDown():
                self.refusal = means
                self._about_us += means.scope is Scope.CONFIGURATION
                is_quota = means.scope is Scope.QUOTA and len(self._line.mailer.relays) == 1
                if not means.is_refusal or is_quota or self._about_us == ENOUGH:
                    self.end()

    async def _hand_on(self) -> None:
        """Whoever has made the trial decides what follows."""
        self._has_left = True
        self.refusal = self.refusal or self._trouble

    async def _ring(self, list_ids: Sequence[UUID]) -> None:
        """Nobody shall come as long as the breaker is open."""


def different(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """Returns at most `most` of them, as different in item and recipient domain as they are."""
    domains, lists, keyed = Counter[str](), Counter[UUID](), []
    for place, candidate in enumerate(candidates):
        keyed.append((domains[candidate.domain] + lists[candidate.list_id], place))
        domains[candidate.domain] += 1
        lists[candidate.list_id] += 1
    return [candidates[place] for _, place in sorted(keyed)[:most]]

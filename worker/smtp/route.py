"""One relay in a run: the run's connections to it, and what the run heard from it."""

from dataclasses import dataclass

from worker.domain.outcomes import RelayDown, Scope
from worker.domain.replies import CONNECTING
from worker.smtp.pool import Pool


@dataclass(slots=True, eq=False)
class Route:
    """One relay in a run, `place` in the list of relays."""

    place: int
    pool: Pool
    goes_on: bool = True
    workers: int = 0
    in_a_row: int = 0
    unconnected: int = 0
    allowed: int | None = None
    """How many connections there were when the relay refused one more."""
    connected: bool = False
    worked: bool = False
    down: RelayDown | None = None
    lost: RelayDown | None = None
    """Why the last reply to a mail did not come, if one did not."""

    @property
    def may_connect(self) -> bool:
        """Whether one more connection may be opened."""
        # Connections of other runs count too: one may wait for its relay long after its run.
        pool = self.pool
        most = pool.width if self.allowed is None else min(pool.width, self.allowed)
        return pool.in_use < most and self.workers < pool.connections - self.unconnected

    @property
    def is_of_use(self) -> bool:
        """Whether this relay can mail somebody, as far as is known."""
        if self.worked:
            return True
        return self.goes_on and (self.down is None or (self.connected and self.down.stage in CONNECTING))

    @property
    def took_nothing(self) -> RelayDown | None:
        """At the end of a run: why the relay accepted connections and took no mail. None: that was not so."""
        trouble = self.lost or self.down
        if self.worked or not self.goes_on or trouble is None:
            return None
        return None if trouble.stage in CONNECTING or trouble.is_too_fast else trouble

    @property
    def has_no_connection(self) -> bool:
        """Whether no connection is left after one was refused."""
        return self.unconnected >= self.pool.connections or self.workers == 0

    def note_down(self, down: RelayDown, *, is_only_one: bool) -> bool:
        """Takes trouble into account. True: it is one time too many.

        What is about us is so at once, since another relay may take the mails. But if there is no other, the caller
        decides whether the refusal of a mail is about us.
        """
        self.down = down
        self.in_a_row += 1
        if down.scope is not Scope.RELAY and not (is_only_one and down.is_refusal):
            return True
        return self.in_a_row >= self.pool.connections

    def note_lost(self, down: RelayDown) -> bool:
        """Takes a missing reply into account. True: it is one time too many."""
        self.lost = down
        self.in_a_row += 1
        if self.in_a_row < self.pool.connections:
            return False
        self.down = down
        return True

    def note_unconnected(self, down: RelayDown) -> None:
        """A connection was refused and is no longer in use."""
        self.unconnected += 1
        if _is_for_now(down):
            self.allowed = self.pool.size

    def is_only_limited(self, down: RelayDown, *, lately: bool) -> bool:
        """Whether the relay works but wants fewer connections or mails, so that no other relay is needed.

        `lately`: whether it took mails a moment ago.
        """
        if down.stage not in CONNECTING:
            return down.is_too_fast
        has_others = self.pool.in_use > self.workers  # of earlier runs
        return has_others and lately and _is_for_now(down)


def _is_for_now(down: RelayDown) -> bool:
    return down.reply is not None and down.reply.code // 100 == 4

"""What a run has to do with one relay: its connections to it, and what it has heard there."""

from dataclasses import dataclass

from worker.domain.outcomes import CONNECTING, RelayDown, Scope
from worker.smtp.pool import Pool


@dataclass(slots=True, eq=False)
class Route:
    """What a run has to do with one relay, by its place among them."""

    place: int
    pool: Pool
    goes_on: bool = True
    workers: int = 0
    in_a_row: int = 0
    unconnected: int = 0
    allowed: int | None = None
    """How many connections there were when the relay refused to take one more."""
    connected: bool = False
    worked: bool = False
    down: RelayDown | None = None
    lost: RelayDown | None = None
    """Why the last verdict did not come, if one did not."""

    @property
    def may_connect(self) -> bool:
        """Whether there may be one connection more."""
        # What others hold counts too: a connection may wait for its relay long after its run.
        pool = self.pool
        most = pool.width if self.allowed is None else min(pool.width, self.allowed)
        return pool.in_use < most and self.workers < pool.connections - self.unconnected

    @property
    def is_of_use(self) -> bool:
        """Whether somebody could be mailed, as far as is known."""
        if self.worked:
            return True
        return self.goes_on and (self.down is None or (self.connected and self.down.stage in CONNECTING))

    @property
    def took_nothing(self) -> RelayDown | None:
        """For the end: why no mail was taken by a relay that had let us in, if that is so."""
        trouble = self.lost or self.down
        if self.worked or not self.goes_on or trouble is None:
            return None
        return None if trouble.stage in CONNECTING or trouble.is_too_fast else trouble

    @property
    def has_no_connection(self) -> bool:
        """Whether none was to be had, now that one was refused."""
        return self.unconnected >= self.pool.connections or self.workers == 0

    def note_down(self, down: RelayDown) -> bool:
        """Takes a trouble into account; True if it is one too many."""
        self.down = down
        self.in_a_row += 1
        return down.scope is Scope.CONFIGURATION or self.in_a_row >= self.pool.connections

    def note_lost(self, down: RelayDown) -> bool:
        """Takes a verdict into account that did not come; True if it is one too many."""
        self.lost = down
        self.in_a_row += 1
        if self.in_a_row < self.pool.connections:
            return False
        self.down = down
        return True

    def note_unconnected(self, down: RelayDown) -> None:
        """A connection was refused, and is not in use any more."""
        self.unconnected += 1
        if _is_for_now(down):
            self.allowed = self.pool.size

    def is_only_limited(self, down: RelayDown, *, lately: bool) -> bool:
        """Whether the relay is well, but wants less of us: no reason to go to another. `lately` it has taken mails."""
        if down.stage not in CONNECTING:
            return down.is_too_fast
        has_others = self.pool.in_use > self.workers  # of earlier runs
        return has_others and lately and _is_for_now(down)


def _is_for_now(down: RelayDown) -> bool:
    return down.reply is not None and down.reply.code // 100 == 4

"""Limits how fast mails go out: by the rate that all workers share, and for a relay that finds this process too fast.

If there is no limit, the line does without it. Tokens for at most a tenth of a second are fetched at a time, in their
own thread, and only for mails that are there. Tokens that were not used within a tenth of a second are given back with
the next request. So in any ten seconds at most 1 mail + 2.5 % more than the rate goes out, whoever holds tokens.

While Redis is away nothing is sent. The slice ends as usual and releases what it holds, and the next one waits before
it claims. A local limit would have to guess how many other workers there are, and would gain little: the bells come
from the same Redis, so the line stands still after this slice anyway.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import structlog

from worker.delivery.pacing import Pacing
from worker.domain.errors import RedisAway
from worker.domain.outcomes import Deferred, RelayDown
from worker.domain.reply_rules import Blame
from worker.domain.token_bucket import Grant
from worker.smtp.mailer import Mail, Source
from worker.stream.shared_bucket import SharedBucket

LOT_SECONDS: Final = 0.1
"""Tokens for this many seconds are fetched at a time. They are valid for as long."""
AWAY_SECONDS: Final = 0.5
"""How long to wait before a Redis that was away is asked again."""

log = structlog.get_logger()


class Throttle:
    """What one process may send now. Belongs to one event loop. `tokens` is the shared limit, if there is one."""

    def __init__(self, tokens: SharedBucket | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_tokens: Callable[[], object] = lambda: None
        """Called when mails may go out again."""
        self._tokens = tokens
        self._pacing = Pacing()
        self._clock = clock
        self._held = 0
        self._good_until = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._is_away = False
        self._thread = ThreadPoolExecutor(1, "tokens") if tokens else None

    @property
    def is_on(self) -> bool:
        """Whether there is any limit now."""
        return self._tokens is not None or self._pacing.limit(self._clock()) is not None

    # For the slice and the mailer

    async def admitted(self, stopping: asyncio.Event) -> bool:
        """Waits until a mail may go out. False: this process shall end.

        It is asked before anything is claimed, so no claim is held for longer than a slice, however low the rate is.
        """
        ending = asyncio.create_task(stopping.wait())
        while not (stopping.is_set() or self.allowed()):
            fetching = self._fetch(1)
            await asyncio.wait({fetching, ending}, return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                fetching.result()
        ending.cancel()
        return not stopping.is_set()

    def most(self, seconds: float, ready: int) -> int:
        """About how many mails besides those `ready` may go out in `seconds`: more need not be claimed."""
        shared = self._tokens.rate if self._tokens else None
        known = [limit for limit in (shared, self._pacing.limit(self._clock())) if limit is not None]
        return max(1, self.allowed() + int(min(known) * max(0.0, seconds)) - ready) if known else sys.maxsize

    def allowed(self) -> int:
        """How many mails may go out now."""
        return self._held if self._clock() < self._good_until else 0

    def available(self, wanted: int) -> int:
        """How many of `wanted` mails may go out now. If none may, tokens are fetched, and `on_tokens` is called."""
        allowed = self.allowed()
        if wanted and not allowed:
            self._fetch(wanted)
        return min(wanted, allowed)

    def spend(self, mails: int) -> None:
        """`mails` were taken from their source (or put back, if below 0)."""
        self._held -= mails

    # For what the relay says

    def sent(self, mails: int) -> None:
        """A slice that ends now has sent `mails`."""
        self._pacing.note(mails, self._clock())

    def too_fast(self, request_id: UUID, refused: RelayDown, mails: int, taken: int) -> RelayDown | Deferred:
        """What it means for a mail that the relay refused it because this process is too fast.

        `mails`: how many its slice has sent. `taken`: how many the relay has taken since this process began.
        """
        judged = self._pacing.judged(request_id, refused, taken)
        if not isinstance(judged, RelayDown) or judged.blame is Blame.CONNECTIONS:
            return judged
        if limit := self._pacing.cut(mails, self._clock()):
            self._held = 0  # not given back to others either: the relay wants less
            log.warning("relay.too_fast", rate=round(limit, 1), stage=refused.stage.value, reason=refused.reason)
        return judged

    def close(self) -> None:
        """Ends the thread, without waiting for it."""
        if self._thread and self._tokens:
            self._thread.submit(self._tokens.close)
            self._thread.shutdown(wait=False)

    # Tokens

    def _fetch(self, wanted: int) -> asyncio.Task[None]:
        """Asks for tokens, unless that is being done or it is too early to ask again."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_now(wanted))
        return self._fetching

    async def _fetch_now(self, wanted: int) -> None:
        try:
            grant = await self._take(wanted)
            if grant.mails:
                self._held, self._good_until = grant.mails, self._clock() + LOT_SECONDS
                self.on_tokens()
            await asyncio.sleep(grant.wait)
        finally:
            self._fetching = None
        self.on_tokens()

    async def _take(self, wanted: int) -> Grant:
        """Takes from the process's own limit first: tokens of the shared one would be lost to other processes."""
        unused, self._held = self._held, 0
        self._pacing.give_back(unused)
        own = self._pacing.take(wanted, self._clock())
        if self._tokens is None:
            return own
        lot = max(1, int(self._tokens.rate * LOT_SECONDS))
        shared = await self._shared(self._tokens, min(own.mails, lot), unused)
        self._pacing.give_back(own.mails - shared.mails)
        return Grant(shared.mails, max(own.wait, shared.wait))

    async def _shared(self, tokens: SharedBucket, wanted: int, unused: int) -> Grant:
        if not wanted and not unused:
            return Grant(0, 0.0)
        loop = asyncio.get_running_loop()
        try:
            grant = await loop.run_in_executor(self._thread, tokens.take, wanted, unused)
        except RedisAway as away:
            if not self._is_away:
                log.warning("rate.unknown", reason=str(away))
            self._is_away = True
            return Grant(0, AWAY_SECONDS)
        self._is_away = False
        return grant


class Throttled:
    """A `Source` whose mails wait for the throttle."""

    def __init__(self, source: Source, throttle: Throttle) -> None:
        self._source = source
        self._throttle = throttle

    @property
    def available(self) -> int:
        """See `Source`."""
        return self._throttle.available(self._source.available)

    @property
    def is_over(self) -> bool:
        """See `Source`."""
        return self._source.is_over

    def next_now(self) -> Mail | None:
        """See `Source`."""
        if not self.available:
            return None
        mail = self._source.next_now()
        if mail is not None:
            self._throttle.spend(1)
        return mail

    def put_back(self, mail: Mail) -> None:
        """See `Source`."""
        self._throttle.spend(-1)
        self._source.put_back(mail)

    def may_write(self) -> bool:
        """See `Source`."""
        return self._source.may_write()

    def is_wanted(self, mail: Mail) -> bool:
        """See `Source`."""
        return self._source.is_wanted(mail)

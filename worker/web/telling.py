"""Tells others what changed, beside the routes: hands out news, and lets a courier bring it to each endpoint.

Several processes share the work: each takes deliveries on a lease. One slow endpoint holds up no other. While programs
wait for a CPU of this machine, as mails do when they go out at full speed, little is told: mails come first.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog

from worker.domain.errors import StockbellError
from worker.domain.webhooks import Format
from worker.store import deliveries, endpoints, outbox
from worker.store.database import Connection
from worker.store.deliveries import Answers, Delivery, Ended
from worker.store.endpoints import Endpoint
from worker.web.context import Context
from worker.web.courier import Courier
from worker.web.pressure import CpuPressure
from worker.web.signing import JwtKey

ROUND_SECONDS: Final = 0.5
"""So long it waits if there is nothing to do. Changes within that time are told as one."""
NOBODY_SECONDS: Final = 2.0
"""So long it waits while there are no endpoints."""
PAUSE_SECONDS: Final = 0.5
"""So long it waits for each endpoint after a round while the CPU is short: 32 events a second take 4 % of a core."""
FEW_ROWS: Final = 50
"""So many changes are handed out at once while the CPU is short."""
AWAY_SECONDS: Final = 5.0
TIDY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 1.0

log = structlog.get_logger()


class Teller:
    """What one process does about webhooks."""

    def __init__(self, context: Context, is_cpu_short: Callable[[], bool] | None = None) -> None:
        self._context = context
        self._is_cpu_short = is_cpu_short or CpuPressure().is_high
        self._couriers: dict[Endpoint, Courier] = {}
        self._wake = asyncio.Event()
        self._key: JwtKey | None = None
        self._tidied = 0.0
        self._is_away = False

    async def __call__(self) -> None:
        """Works until the process ends. Waits for a database that is away."""
        try:
            while not self._context.stopping.is_set():
                seconds = await self._work()
                if self._is_cpu_short():
                    await self._context.rest(max(seconds, PAUSE_SECONDS * len(self._couriers)))
                else:
                    await self.wait(seconds)
        finally:
            await self.stop()

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return not all(courier.is_idle for courier in self._couriers.values())

    async def _work(self) -> float:
        """Does what there is to do. Returns how long to wait then."""
        try:
            seconds = await self.round()
        except StockbellError as away:
            if not self._is_away:
                log.warning("webhooks.cannot_tell", reason=str(away))
            self._is_away = True
            return AWAY_SECONDS
        except Exception as fault:  # ours; nobody would start this again
            log.error("webhooks.fault", error=type(fault).__name__)
            return AWAY_SECONDS
        self._is_away = False
        return seconds

    async def round(self) -> float:
        """Hands out news, records what has ended, takes what is due. Returns the seconds until there may be more."""
        self._wake.clear()
        waiting = await self._context.read(endpoints.waiting)
        handed_out = 0
        is_short = self._is_cpu_short()
        # While the CPU is short only so much is handed out that no endpoint has nothing to do.
        if waiting.has_news and not (is_short and all(waiting.endpoints.values())):
            handed_out = await self._context.write(outbox.hand_out, FEW_ROWS if is_short else outbox.MOST_ROWS)
            waiting = await self._context.read(endpoints.waiting)
        await self._tidy()
        await self._serve(waiting.endpoints)
        if handed_out == outbox.MOST_ROWS:
            return 0.0
        return ROUND_SECONDS if self._couriers else NOBODY_SECONDS

    async def _serve(self, enabled: Mapping[Endpoint, bool]) -> None:
        if any(is_due and endpoint.format is Format.WIX for endpoint, is_due in enabled.items()):
            self._key = await self._newest_key()
        for endpoint in enabled:
            if endpoint not in self._couriers:
                self._couriers[endpoint] = Courier(endpoint, lambda: self._key, self._wake)
        for endpoint, courier in list(self._couriers.items()):
            await self._exchange(courier, is_due=enabled.get(endpoint, False))
            if courier.is_idle and endpoint not in enabled:
                del self._couriers[endpoint]
                await courier.stop()

    async def _exchange(self, courier: Courier, *, is_due: bool) -> None:
        """Records what a courier has brought, and gives it more, in one transaction."""
        ended, answers = courier.results()
        most = courier.free if is_due else 0
        if not ended and not most:
            return
        try:
            why, taken = await self._context.write(_exchange, courier.endpoint, ended, answers, most)
        except Exception:
            courier.put_back(ended, answers)
            raise
        if why:
            log.error("webhooks.endpoint_disabled", endpoint_id=str(courier.endpoint.id), reason=why)
        for each in ended:
            if each.why and each.delay is None:
                log.warning("webhooks.given_up", endpoint_id=str(courier.endpoint.id), message_id=each.delivery.news.id)
        for delivery in taken:
            courier.start(delivery)

    async def _newest_key(self) -> JwtKey | None:
        found = await self._context.read(endpoints.keys)
        if not found or (self._key and self._key.id == found[0][0]):
            return self._key
        return JwtKey.of(*found[0])

    async def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._tidied and now - self._tidied < TIDY_SECONDS:
            return
        self._tidied = now
        for endpoint_id in await self._context.write(deliveries.tidy):
            log.error("webhooks.endpoint_disabled", endpoint_id=str(endpoint_id), reason=endpoints.BEHIND)

    async def wait(self, seconds: float) -> None:
        """Waits for a time, for the end of a delivery, or of the process."""
        stopping = asyncio.create_task(self._context.stopping.wait())
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({stopping, waking}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            waking.cancel()

    async def stop(self) -> None:
        """Cuts off what is under way, and gives it back: another process may try it at once."""
        ended = [each for courier in self._couriers.values() for each in await courier.stop()]
        if ended:
            with suppress(StockbellError, TimeoutError):  # their leases end by themselves
                async with asyncio.timeout(STOP_SECONDS):
                    await self._context.write(deliveries.settle, ended)


def _exchange(
    c: Connection, endpoint: Endpoint, ended: Sequence[Ended], answers: Answers, most: int
) -> tuple[str | None, list[Delivery]]:
    why = deliveries.settle_endpoint(c, endpoint.id, ended, answers)
    return why, deliveries.take(c, endpoint, most) if most and not why and answers.slow is None else []

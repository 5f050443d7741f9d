"""The shelf of the shop while its page stays open: what somebody waits for comes back, and sells out again."""

from collections.abc import Callable, Sequence
from typing import Final

from worker.demo import story
from worker.demo.shop.server import Shop
from worker.demo.story import NO_STOCK, SOLD_OUT, Event, Request

RESTOCK_SECONDS: Final = 8.0
"""After a sign-up. So long one may look at the page, and see it come back."""
SELL_SECONDS: Final = 15.0
"""After it came back. Then one can sign up again."""


class Shelf:
    """Where the olive bags are. `look` has to be called now and then."""

    def __init__(self, shop: Shop, publish: Callable[[Event], object]) -> None:
        self._shop = shop
        self._publish = publish
        self._since: float | None = None
        """when the last change was; while it is sold out: when it was seen that somebody waits"""

    def sell_out(self) -> None:
        """Sells the last one."""
        self._change(story.bag_sells_out(), has_olive=False)

    def restock(self) -> None:
        """Puts some back."""
        self._change(story.bag_is_back(), has_olive=True)

    def look(self, requests: Sequence[Request], now: float) -> None:
        """Does what is due. `now` is monotonic time."""
        if self._since is None:
            self._since = now if self._shop.has_olive or _somebody_waits(requests) else None
        elif self._shop.has_olive and now - self._since >= SELL_SECONDS:
            self.sell_out()
        elif not self._shop.has_olive and now - self._since >= RESTOCK_SECONDS:
            self.restock()

    def _change(self, event: Event, *, has_olive: bool) -> None:
        self._publish(event)
        self._shop.has_olive = has_olive
        self._since = None


def _somebody_waits(requests: Sequence[Request]) -> bool:
    return any(request.item == story.BAG and request.ending in {NO_STOCK, SOLD_OUT} for request in requests)

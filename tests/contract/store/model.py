"""A model of the store in plain Python, without regard to speed: states, and which requests an event wakes.

It is written from the rules, not from the SQL statements. Stock is what all events together say, in whatever order they
came. A request is woken if any event that was applied after its creation wakes it. Nobody waits who is suppressed.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from worker.domain.catalog import CatalogReference, Item, Options
from worker.domain.events import Event
from worker.models import Status

RECEIVED, PROCESSING, SENT, FAILED = Status.RECEIVED, Status.PROCESSING, Status.NOTIFICATION_SENT, Status.FAILED

MINIMUM: Final = 2
"""The number of pieces that counts as in stock."""
MOST_RESCUES: Final = 5
SUSPECT_AT: Final = 2
NEED_FORCE: Final = ("OUTCOME_UNKNOWN", "SUPPRESSED")
STRONG: Final = ("complained", "manual")
WEAK: Final = ("unsubscribed", "bounced")
CAUSES: Final = (*STRONG, *WEAK)

Key = tuple[str, CatalogReference]


@dataclass(slots=True)
class Wish:
    """One request, as the database should hold it."""

    id: UUID
    email: str
    reference: CatalogReference
    created: float
    imported: float
    """The date that the request came with. `created` may be older, from a later import. Without a date, that of a
    suppressed customer is the number of the suppression, negative."""
    status: Status = RECEIVED
    auto_notified: bool | None = None
    ordered: bool = False
    backoff: str | None = None
    """`waiting`: until its time comes. `over`: its time has come, but no sweep has come since."""
    claim_no: int = 0
    owner: UUID | None = None
    is_old: bool = False
    """Whether its claim is older than a claim may be."""
    is_handed: bool = False
    was_put_back: bool = False
    """It ended, and was retried. So it does not expire."""
    attempts: int = 0
    rescues: int = 0
    code: str | None = None
    log: int = 0
    early: set[int] = field(default_factory=set)
    """The claims whose mails came back before their outcome was recorded, and are not dealt with yet."""

    @property
    def key(self) -> Key:
        return self.email.lower(), self.reference

    @property
    def is_unresolved(self) -> bool:
        return self.status in (RECEIVED, PROCESSING)

    def end(self, status: Status, *, auto_notified: bool | None = None, code: str | None = None) -> None:
        """Sets the status of a request that nobody holds any more."""
        self.status, self.auto_notified, self.code = status, auto_notified, code
        self.owner, self.is_old, self.is_handed = None, False, False


def age(wish: Wish) -> tuple[float, UUID]:
    """Returns the sort key of requests: oldest first, and those of the same time by id."""
    return wish.created, wish.id


@dataclass(frozen=True, slots=True)
class Held:
    """A claim as its holder knows it. The holder may be late."""

    id: UUID
    claim_no: int
    owner: UUID


@dataclass(slots=True)
class ItemModel:
    """All events of one item, and which of them woke requests."""

    events: list[Event] = field(default_factory=list)
    wakings: list[tuple[int, Options, "Deciders"]] = field(default_factory=list)
    """For each event that wakes: when it was applied, the options it was about, and which rows decided then."""

    def apply(self, events: Iterable[Event], tick: int) -> None:
        """Applies one batch of events at one moment."""
        fresh = []
        for event in sorted(events, key=lambda event: event.order):
            if not self.is_stale(event) and event.is_in_stock(MINIMUM):
                fresh.append(event.reference.options)
            self.events.append(event)
        self.wakings += [(tick, about, self.deciders()) for about in fresh]

    def is_stale(self, event: Event) -> bool:
        about = event.reference.options
        outs = [
            earlier for earlier in self.events if not earlier.reference.options and not earlier.is_in_stock(MINIMUM)
        ]
        same = [earlier for earlier in self.events if earlier.reference.options == about]
        return any(event.order <= earlier.order for earlier in (same + outs if about else same))

    @property
    def details(self) -> dict[str, str | None]:
        """Each detail as in the newest event that named it, whatever options that event was about."""
        said: dict[str, str | None] = {}
        for event in sorted(self.events, key=lambda event: event.order):
            said |= event.details
        return said

    @property
    def variants(self) -> frozenset[Options]:
        return frozenset(event.reference.options for event in self.events if event.reference.options)

    def newest(self, about: Options) -> Event | None:
        said = [event for event in self.events if event.reference.options == about]
        return max(said, key=lambda event: event.order, default=None)

    def deciders(self) -> "Deciders":
        item = self.newest(())
        return Deciders(
            self.variants,
            frozenset(variant for variant in self.variants if self._follows(variant)),
            item is not None and all(event.order <= item.order for event in self.events),
        )

    def _follows(self, variant: Options) -> bool:
        """Tells whether the variant was in stock when the whole item went out."""
        event = self.newest(variant)
        return event is not None and event.is_in_stock(MINIMUM) and self._is_out_since(event)

    def _is_out_since(self, event: Event) -> bool:
        return any(
            later.order > event.order
            for later in self.events
            if not later.reference.options and not later.is_in_stock(MINIMUM)
        )

    def in_stock(self, wanted: Options) -> bool:
        """Tells whether the options are in stock."""
        deciders = self.deciders()
        return any(self.is_in(about) for about in {*self.variants, ()} if deciders.concern(wanted, about))

    def is_in(self, about: Options) -> bool:
        event = self.newest(about)
        return event is not None and event.is_in_stock(MINIMUM) and not (about and self._is_out_since(event))

    def woken_after(self, wanted: Options, created: float) -> bool:
        return any(tick > created for tick, about, deciders in self.wakings if deciders.concern(wanted, about))


@dataclass(frozen=True, slots=True)
class Deciders:
    """Which rows of an item decide for whom, at one moment."""

    variants: frozenset[Options]
    followers: frozenset[Options]
    is_item_newest: bool

    def concern(self, wanted: Options, about: Options) -> bool:
        """Tells whether the row about `about` decides for `wanted`: a variant that matches, or else the item.

        The item also decides where a variant follows it, and for any variant if nothing newer is known.
        """
        matching = {variant for variant in self.variants if set(wanted) <= set(variant)}
        if about:
            return about in matching
        return not matching or bool(matching & self.followers) or (not wanted and self.is_item_newest)


@dataclass(slots=True)
class Model:
    """Everything that the database should hold."""

    tick: int = 0
    wishes: dict[UUID, Wish] = field(default_factory=dict)
    items: dict[Item, ItemModel] = field(default_factory=dict)
    owners: dict[UUID, bool] = field(default_factory=dict)
    """The owners that have a heartbeat, and whether it is recent enough."""
    paused: set[CatalogReference | None] = field(default_factory=set)
    breaker_is_open: bool = False
    suppressed: dict[str, tuple[str, int]] = field(default_factory=dict)
    """For each address that gets no mail, also erased ones: the cause, and a number for this suppression."""
    remembered: dict[str, str] = field(default_factory=dict)
    """Addresses that were erased while they got no mail, and the cause."""
    suppressions: int = 0

    # section 3: which requests may be claimed

    def item(self, item: Item) -> ItemModel:
        return self.items.setdefault(item, ItemModel())

    def is_paused(self, reference: CatalogReference) -> bool:
        return not self.paused.isdisjoint({None, CatalogReference(reference.item), reference})

    def has_stock(self, wish: Wish) -> bool:
        item, wanted = self.item(wish.reference.item), wish.reference.options
        return item.in_stock(wanted) and item.woken_after(wanted, wish.created)

    def is_due(self, wish: Wish) -> bool:
        """Tells whether the request may be claimed if the breaker is closed."""
        in_line = wish.status is RECEIVED and wish.backoff is None and not self.is_paused(wish.reference)
        return in_line and (wish.ordered or self.has_stock(wish))

    def is_claimable(self, wish: Wish) -> bool:
        return self.is_due(wish) and not self.breaker_is_open

    def waits_for(self, wish: Wish) -> set[str] | None:
        """Returns the reasons that the store may give: any one of them is right. None if the request does not wait."""
        if wish.status is not RECEIVED:
            return None
        if self.is_paused(wish.reference):
            return {"paused"}
        if wish.backoff:
            return {"backoff"}
        if not wish.ordered and not self.has_stock(wish):
            return {"noStock", "soldOut"}
        return {"relayDown"} if self.breaker_is_open else {"queued"}

    def claimable(self, reference: CatalogReference, *, ordered: bool, suspect: bool) -> list[UUID]:
        """Returns the requests that one arm of a claim may take, oldest first."""
        found = [
            wish
            for wish in self.wishes.values()
            if wish.reference == reference
            and wish.ordered is ordered
            and (wish.rescues >= SUSPECT_AT) is suspect
            and self.is_claimable(wish)
        ]
        return [wish.id for wish in sorted(found, key=age)]

    def unresolved(self, key: Key) -> Wish | None:
        found = [wish for wish in self.wishes.values() if wish.key == key and wish.is_unresolved]
        assert len(found) <= 1
        return found[0] if found else None

    def counts(self) -> dict[str, int]:
        counted = Counter(wish.status for wish in self.wishes.values())
        return {status.value: counted[status] for status in Status}

    def held_by(self, owner: UUID) -> list[Wish]:
        return [wish for wish in self.wishes.values() if wish.owner == owner]

    # who gets no mail

    def is_suppressed(self, wish: Wish) -> bool:
        return wish.email.lower() in self.suppressed

    def recognise(self, addresses: Iterable[str]) -> None:
        """Suppresses those again that were erased while they were suppressed."""
        for address in addresses:
            if address in self.remembered and address not in self.suppressed:
                self._suppress(address, self.remembered[address])

    def _suppress(self, address: str, cause: str) -> None:
        self.suppressions += 1
        self.suppressed[address] = cause, self.suppressions

    def suppress(self, address: str, cause: str) -> set[UUID]:
        """RECEIVED -> FAILED. Returns which requests have ended."""
        if address not in self.suppressed:
            self._suppress(address, cause)
        elif cause in STRONG and self.suppressed[address][0] not in STRONG:
            self.suppressed[address] = cause, self.suppressed[address][1]
        waiting = [w for w in self.wishes.values() if w.status is RECEIVED and self.is_suppressed(w)]
        for wish in waiting:
            wish.end(FAILED, code="SUPPRESSED")
            wish.backoff = None
        return {wish.id for wish in waiting}

    def lift(self, address: str, *, by_consent: bool) -> bool:
        """Lets an address get mail again. Returns whether it did not."""
        lifted = False
        for causes in (self.suppressed, self.remembered):
            cause = causes.get(address, ("",))
            if (cause if isinstance(cause, str) else cause[0]) in (WEAK if by_consent else CAUSES):
                causes.pop(address)
                lifted = True
        return lifted

    def erase(self, address: str, erased: str) -> None:
        """Puts `erased` in the place of an address."""
        for wish in self.wishes.values():
            if wish.email.lower() == address:
                wish.email = erased
        if address in self.suppressed:
            cause = self.suppressed[address][0]
            if cause in STRONG or self.remembered.get(address) not in STRONG:
                self.remembered[address] = cause
            self.suppressed[erased] = self.suppressed.pop(address)
        else:
            self.suppress(erased, "manual")

    # section 2: the arrows

    def _back(self, wish: Wish, code: str | None = None) -> None:
        """PROCESSING -> RECEIVED, or FAILED if the customer gets no mail"""
        if self.is_suppressed(wish):
            wish.end(FAILED, auto_notified=True, code="SUPPRESSED")
        else:
            wish.end(RECEIVED, code=code)

    def take(self, request: UUID, owner: UUID) -> None:
        """RECEIVED -> PROCESSING"""
        wish = self.wishes[request]
        wish.status, wish.owner, wish.claim_no = PROCESSING, owner, wish.claim_no + 1

    def holds(self, held: Held) -> Wish | None:
        """Returns the request if this claim still holds it, which is the fence."""
        wish = self.wishes.get(held.id)
        return wish if wish and (wish.claim_no, wish.owner) == (held.claim_no, held.owner) else None

    def told(self, held: Held) -> bool:
        """PROCESSING -> NOTIFICATION_SENT, also for a row that waits again and was not claimed since."""
        wish = self.wishes.get(held.id)
        if wish is None or not (self.holds(held) or (wish.status is RECEIVED and wish.claim_no == held.claim_no)):
            return False
        wish.end(SENT, auto_notified=True)
        wish.backoff = None
        return True

    def failed(self, held: Held, attempts: int, code: str) -> bool:
        """PROCESSING -> FAILED"""
        if wish := self.holds(held):
            wish.end(FAILED, auto_notified=True, code=code)
            wish.attempts = attempts
        return wish is not None

    def deferred(self, held: Held, attempts: int) -> bool:
        """PROCESSING -> RECEIVED, backing off"""
        if wish := self.holds(held):
            self._back(wish)
            wish.attempts, wish.backoff = attempts, "waiting" if wish.status is RECEIVED else None
        return wish is not None

    def released(self, held: Held) -> bool:
        """PROCESSING -> RECEIVED, as before"""
        if wish := self.holds(held):
            self._back(wish, wish.code)
        return wish is not None

    def release_all(self, owner: UUID, but: Collection[UUID]) -> int:
        """Releases the requests of this owner that were not handed over. The others are left to `rescue`."""
        mine = [wish for wish in self.held_by(owner) if not wish.is_handed and wish.id not in but]
        for wish in mine:
            self._back(wish, wish.code)
        return len(mine)

    def abandoned(self) -> list[Wish]:
        return [
            wish
            for wish in self.wishes.values()
            if wish.status is PROCESSING and (wish.is_old or not (wish.owner and self.owners.get(wish.owner)))
        ]

    def rescue(self) -> tuple[int, set[UUID]]:
        """PROCESSING -> RECEIVED or FAILED. Returns how many wait again, and which ones failed."""
        failed, back_in_line = set(), 0
        abandoned = self.abandoned()
        for wish in abandoned:
            if wish.is_handed or wish.rescues >= MOST_RESCUES:
                wish.end(FAILED, auto_notified=True, code="OUTCOME_UNKNOWN")
                failed.add(wish.id)
            else:
                self._back(wish)
                back_in_line += wish.status is RECEIVED
            wish.rescues += 1
            wish.log += 1
        return back_in_line, failed

    def came_back(self, held: Held) -> str:
        """NOTIFICATION_SENT -> FAILED, if this claim's mail is the last one. Returns what becomes of the report."""
        wish = self.wishes.get(held.id)
        if wish is None or wish.claim_no != held.claim_no:
            return "noted"
        if wish.status is SENT and wish.auto_notified:
            wish.end(FAILED, auto_notified=True, code="BOUNCED")
            return "acted"
        if wish.status in (RECEIVED, PROCESSING):
            wish.early.add(held.claim_no)
            return "early"
        return "noted"

    def retry_early(self) -> set[UUID]:
        """Returns the requests that became FAILED, BOUNCED, by reports that had come early."""
        failed = set()
        for wish in self.wishes.values():
            for number in list(wish.early):
                is_last = number == wish.claim_no
                if is_last and wish.status in (RECEIVED, PROCESSING):
                    continue
                wish.early.discard(number)
                if is_last and self.came_back(Held(wish.id, number, wish.id)) == "acted":
                    failed.add(wish.id)
        return failed

    def may_retry(self, ids: Sequence[UUID], *, force: bool) -> list[UUID]:
        """Returns which of these may be retried: for each key the oldest FAILED one, if no other is unresolved."""
        keys: dict[Key, UUID] = {}
        for wish in sorted((self.wishes[id_] for id_ in set(ids)), key=age):
            may = wish.status is FAILED and not self.is_suppressed(wish) and (force or wish.code not in NEED_FORCE)
            if may and not self.unresolved(wish.key):
                keys.setdefault(wish.key, wish.id)
        return list(keys.values())

    def retry(self, request: UUID, *, ordered: bool) -> None:
        """FAILED -> RECEIVED"""
        wish = self.wishes[request]
        wish.end(RECEIVED)
        wish.attempts, wish.rescues, wish.backoff, wish.ordered = 0, 0, None, ordered
        wish.was_put_back = True

    def expire(self, before: float) -> int:
        """RECEIVED -> FAILED, for those in line that were made before this time and are not to be told now."""
        old = [
            wish
            for wish in self.wishes.values()
            if (wish.status, wish.backoff, wish.ordered, wish.was_put_back) == (RECEIVED, None, False, False)
            and wish.created < before
            and not self.has_stock(wish)
        ]
        for wish in old:
            wish.end(FAILED, code="EXPIRED")
        return len(old)

    def report(self, request: UUID) -> None:
        """RECEIVED, whatever the stock"""
        wish = self.wishes[request]
        wish.ordered, wish.backoff = True, None

    def mark(self, request: UUID) -> None:
        """RECEIVED, FAILED -> NOTIFICATION_SENT"""
        wish = self.wishes[request]
        wish.end(SENT, auto_notified=False)
        wish.backoff = None

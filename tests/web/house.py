"""A shop for the pages for admins: usual rows, and names, replies and options by somebody who wants to run a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tests.contract.shop import Shop, ref
from worker.domain.outcomes import FailureCode
from worker.domain.verdicts import Tries
from worker.store import recording
from worker.store.recording import Ended, Ends, Try

ATTACKS: Final = (
    "<script>globalThis.attacked = 1</script>",
    '"><img src=x onerror="globalThis.attacked = 1">',
    "javascript:globalThis.attacked=1",
    "{{ 7 * 7 }}${7 * 7}",
    "</table></div><h1>Owned</h1>",
)
LIMITED: Final = "limited"
RIGHT_TO_LEFT: Final = "كوب أزرق كبير جدا مع مقبض"
LONG: Final = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
REPLIES: Final = (
    "550 5.1.1 user unknown",
    "550 5.7.1 blocked, see https://relay.example/why?id=1",
    f"554 5.6.0 {ATTACKS[0]}",
    f"550 5.1.1 {ATTACKS[1]}",
    f"550 {RIGHT_TO_LEFT}",
    f"550 5.1.1 {LONG}",
)


@dataclass(frozen=True, slots=True)
class House:
    """What a page can be asked for."""

    failed: UUID
    waiting: UUID
    told: UUID
    items: Sequence[str]
    email: str
    """of somebody who waits"""


def furnish(shop: Shop) -> House:
    """Adds the rows."""
    names = {
        "mug-1": "Blue mug",
        "rtl": RIGHT_TO_LEFT,
        "long": LONG,
        **{f"attack-{place}": attack for place, attack in enumerate(ATTACKS)},
        "<b>/../?#%": "An id with odd characters",
    }
    failed = told = None
    for number, (item, name) in enumerate(names.items()):
        options = {ATTACKS[number % len(ATTACKS)]: RIGHT_TO_LEFT} if number % 2 else {}
        reference = ref(item, **options)
        shop.sign_up_many(6, reference)
        shop.tell(reference, name=name, price="12.50", currency="EUR", url="https://shop.example/p/1")
        claims = list(shop.claim(shop.owner(), reference, most=4).claims)
        reply = REPLIES[number % len(REPLIES)]
        ends = Ends(told=claims[:2], receipts=[f"250 2.0.0 queued as {reply}"] * 2)
        code = list(FailureCode)[number % 3]
        ends.failed = [Ended(each, Tries(1), code.value, reply) for each in claims[2:]]
        ends.log = [Try(each, "rejected", 550, "5.1.1", reply) for each in claims[2:]]
        shop.write(recording.record, ends)
        shop.tell(reference, in_stock=False)
        told, failed = claims[0].id, claims[3].id
    assert failed
    assert told
    last = shop.rows()[-1]
    _limit(shop)
    return House(failed, last.id, told, [*names, LIMITED], last.email)


def _limit(shop: Shop) -> None:
    """Adds an item whose seats are all taken, with policies of its own, and a variant that has just come in."""
    for size in (RIGHT_TO_LEFT, LONG[:100]):
        shop.sign_up_many(9, ref(LIMITED, Size=size))
        shop.tell(ref(LIMITED, Size=size), name=ATTACKS[0])
    shop.change(
        "UPDATE item SET per_unit = 2, wave_seconds = 5400, settle_seconds = 600 WHERE catalog_item_id = :limited",
        limited=LIMITED,
    )
    shop.change(
        """UPDATE stock SET quantity = 40, seats = 0, seat_limit = 80, granted = 80, wave = 2,
        seat_at = stockbell_now(-1800) WHERE item_id = (SELECT id FROM item WHERE catalog_item_id = :limited)""",
        limited=LIMITED,
    )
    shop.change(
        """UPDATE waiting_list SET opens_at = stockbell_now(3600),
        settles_at = CASE WHEN options LIKE '%Donau%' THEN stockbell_now(420) END
        WHERE item_id = (SELECT id FROM item WHERE catalog_item_id = :limited)""",
        limited=LIMITED,
    )

"""The time lines of docs/policies.md: each day of a table is lived, and ends as the table says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.contract.ages import pass_days
from tests.contract.lines import NotedBell
from tests.contract.shop import LEASE, MUG, Shop
from worker.domain.policies import Policies
from worker.services.sweeping import Sweeper
from worker.store import admin, recording
from worker.store.contacts import ERASED
from worker.store.recording import Ends

PAGE: Final = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
JANE: Final = "jane@example.com"


def section(heading: str) -> str:
    return re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def time_line(heading: str) -> list[list[str]]:
    """The rows of the table of a section that begin with a day."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(heading).splitlines()
        if re.match(r"\| \d+ \|", line)
    ]


def setting(heading: str, name: str) -> int:
    found = re.search(rf"`{name}=(\d+)`", section(heading))
    assert found
    return int(found[1])


def _sign_up(shop: Shop) -> None:
    shop.sign_up(MUG, JANE)


def _miss(shop: Shop) -> None:
    shop.tell()
    shop.tell(in_stock=False)


def _retry(shop: Shop) -> None:
    shop.write(admin.retry, [shop.rows()[0].id], ordered=False, force=False)


def _tell(shop: Shop) -> None:
    shop.tell()
    shop.write(recording.record, Ends(told=list(shop.claim(shop.owner()).claims)))


HAPPENS: Final[dict[str, Callable[[Shop], None]]] = {
    "Jane signs up for a mug": _sign_up,
    "the mug comes in, and sells out before her turn": _miss,
    "the mug comes in, and Jane is told": _tell,
    "an admin retries it": _retry,
    "nothing": lambda _: None,
}


def request_of(shop: Shop) -> str:
    if not (rows := shop.rows()):
        return "deleted"
    return ", ".join(filter(None, (rows[0].status.value, rows[0].failure_code)))


def address_in(shop: Shop) -> str:
    addresses = {row.address for row in shop.ask("SELECT address FROM contact")}
    assert all(address == JANE or address.startswith(ERASED) for address in addresses)
    return "known" if JANE in addresses else "forgotten"


def live(shop: Shop, happens: str, days: int, *, policies: Policies) -> None:
    """Lets days pass, and then something happen. In the end the scheduler sweeps, as if it had just been started."""
    pass_days(shop, days)
    HAPPENS[happens](shop)
    sweeper = Sweeper(shop.database, NotedBell(), lease=LEASE, interval=5.0, policies=policies)
    sweeper.put_in_line()


def test_the_time_line_of_expiry(shop: Shop) -> None:
    ttl_days, today = setting("Expiry", "STOCKBELL_REQUEST_TTL_DAYS"), 0
    rows = time_line("Expiry")
    assert len(rows) == 7
    for day, happens, expected in rows:
        live(shop, happens, int(day) - today, policies=Policies(request_ttl_days=ttl_days))
        assert request_of(shop) == expected, f"on day {day}"
        today = int(day)


def test_the_time_line_of_retention(shop: Shop) -> None:
    keep_told_days, today = setting("Retention", "STOCKBELL_KEEP_TOLD_DAYS"), 0
    rows = time_line("Retention")
    assert len(rows) == 5
    for day, happens, request, address in rows:
        live(shop, happens, int(day) - today, policies=Policies(keep_told_days=keep_told_days))
        assert (request_of(shop), address_in(shop)) == (request, address), f"on day {day}"
        today = int(day)

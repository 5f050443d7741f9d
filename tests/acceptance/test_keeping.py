"""The scheduler ends and deletes what is too old, by its settings."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.stockbell import Loaded, Stockbell
from tests.contract.ages import pass_days
from tests.contract.shop import CUP, MUG, shop_at
from tests.polling import eventually
from worker.models import Status
from worker.store import admin

KIND = Loaded


@contextmanager
def scheduler(program: Stockbell, settings: dict[str, str]) -> Iterator[None]:
    try:
        program.start("schedule", **settings)
        yield
    finally:
        program.stop_all()


def test_the_scheduler_expires_and_deletes_by_its_settings(alone: Stockbell) -> None:
    with shop_at(alone.environment["DATABASE_URL"]) as shop:
        shop.write(admin.mark_sent, [shop.sign_up(), shop.sign_up(CUP)])
        fail = "UPDATE request SET status = 'FAILED', failed_at = stockbell_now(0) WHERE status = 'RECEIVED'"
        shop.sign_up()
        shop.change(fail)
        pass_days(shop, 2)
        shop.sign_up(MUG, "failed@example.com")
        shop.change(fail)
        shop.sign_up(MUG, "waits@example.com")
        pass_days(shop, 4)
        told = shop.sign_up(MUG, "told@example.com")
        shop.write(admin.mark_sent, [told])
        pass_days(shop, 2)
        shop.sign_up(MUG, "new@example.com")
        days = {"REQUEST_TTL": "3", "KEEP_TOLD": "4", "KEEP_FAILED": "7"}
        settings = {f"STOCKBELL_{name}_DAYS": value for name, value in days.items()}

        def found() -> set[tuple[str, Status, str | None]]:
            return {(row.email, row.status, row.failure_code) for row in shop.rows()}

        expected = {
            ("failed@example.com", Status.FAILED, None),
            ("waits@example.com", Status.FAILED, "EXPIRED"),
            ("told@example.com", Status.NOTIFICATION_SENT, None),
            ("new@example.com", Status.RECEIVED, None),
        }
        with scheduler(alone, settings):
            eventually(lambda: found() == expected, until="all is as it is set")

"""The statements of docs/scale.md are those that our tables take, and deleting deletes what it should."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.contract.shop import Shop, shop_at
from worker.migrations import migrate

PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
(DELETION,) = (words for words in STATEMENTS if "DELETE" in words)


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Shop]:
    with shop_at(postgres_url) as shop:
        yield shop


def run(shop: Shop, words: str) -> int:
    with psycopg.connect(shop.url.replace("+psycopg", ""), autocommit=True) as connection:
        return connection.execute(words.encode()).rowcount


def test_the_settings_and_the_index_are_taken_and_do_not_disturb_migrations(on_postgres: Shop) -> None:
    others = [words for words in STATEMENTS if words != DELETION]
    assert len(others) == 2
    for words in others:
        run(on_postgres, words)
    before, after = migrate(on_postgres.url)
    assert before == after


def signed_up_long_ago(shop: Shop, status: str, number: int) -> UUID:
    """Makes a request of two years ago, which was told then if it was."""
    request = shop.sign_up()
    old = UUID(int=(request.int & ~(-1 << 80)) | (int(shop.now().timestamp() - 2 * 31_557_600) * 1000 + number) << 80)
    shop.change("UPDATE request SET id = :old, status = :status WHERE id = :id", old=old, status=status, id=request)
    shop.change("UPDATE request SET notified_date = stockbell_now(-60000000) WHERE status = 'NOTIFICATION_SENT'")
    return old


def test_only_who_was_told_long_ago_is_deleted(on_postgres: Shop) -> None:
    shop = on_postgres
    signed_up_long_ago(shop, "NOTIFICATION_SENT", 1)
    kept = {signed_up_long_ago(shop, "RECEIVED", 2), signed_up_long_ago(shop, "FAILED", 3)}
    late = signed_up_long_ago(shop, "NOTIFICATION_SENT", 4)
    shop.change("UPDATE request SET notified_date = stockbell_now(-60) WHERE id = :id", id=late)
    young = shop.sign_up()
    shop.change(
        "UPDATE request SET status = 'NOTIFICATION_SENT', notified_date = stockbell_now(-60)  WHERE id = :id", id=young
    )
    assert run(shop, DELETION) == 1
    assert {row.id for row in shop.rows()} == {*kept, late, young}
    assert run(shop, DELETION) == 0

"""The statements of docs/scale.md are those that our tables take."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.contract.shop import Shop, shop_at
from worker.migrations import migrate

PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Shop]:
    with shop_at(postgres_url) as shop:
        yield shop


def run(shop: Shop, words: str) -> int:
    with psycopg.connect(shop.url.replace("+psycopg", ""), autocommit=True) as connection:
        return connection.execute(words.encode()).rowcount


def test_the_settings_and_the_index_are_taken_and_do_not_disturb_migrations(on_postgres: Shop) -> None:
    assert len(STATEMENTS) == 2
    for words in STATEMENTS:
        run(on_postgres, words)
    before, after = migrate(on_postgres.url)
    assert before == after

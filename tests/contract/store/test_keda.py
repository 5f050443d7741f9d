"""The query by which KEDA scales workers counts who can be claimed, and its role can do nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.contract.shop import CUP, MUG, Shop, ref, shop_at
from worker.store import breaker, figures, lists, pauses

KEDA = Path(__file__).parents[3] / "ops" / "kubernetes" / "keda"
ROLE = (KEDA / "role.sql").read_text()


OBJECTS = yaml.safe_load_all((KEDA / "scaling.yaml").read_text())
(SCALER,) = (each["spec"] for each in OBJECTS if each["metadata"]["name"] == "stockbell-worker")
(TRIGGER,) = (each["metadata"] for each in SCALER["triggers"])
QUERY: str = TRIGGER["query"]


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Shop]:
    with shop_at(postgres_url) as shop:
        yield shop


@pytest.fixture
def keda(postgres_url: str) -> Iterator["psycopg.Connection[Any]"]:
    """A connection as the role of KEDA. Roles are the server's, so it has a name of its own here."""
    url = make_url(postgres_url).set(drivername="postgresql")
    name = f"stockbell_keda_{uuid4().hex}"
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as owner:
        assert ROLE.count("stockbell_keda") > 5
        owner.execute(ROLE.replace("stockbell_keda", name).encode())
        try:
            with psycopg.connect(url.set(username=name).render_as_string(hide_password=False), autocommit=True) as keda:
                yield keda
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def counted(keda: "psycopg.Connection[Any]") -> int:
    (row,) = keda.execute(QUERY.encode()).fetchall()
    (count,) = row
    assert isinstance(count, int)
    return count


def due(shop: Shop) -> int:
    return shop.database.read(figures.read, 60).due


def test_it_counts_who_is_due(on_postgres: Shop, keda: "psycopg.Connection[Any]") -> None:
    shop = on_postgres
    shop.waiting(5, MUG)
    shop.waiting(3, CUP)
    shop.sign_up(ref("jar-1"))
    assert counted(keda) == due(shop) == 8
    shop.write(pauses.pause, CUP)
    assert counted(keda) == due(shop) == 5
    shop.write(pauses.resume, CUP)
    shop.claimed()  # and with it all others of its item
    assert counted(keda) == due(shop) == 3
    shop.write(pauses.pause, None)
    assert counted(keda) == due(shop) == 0


def test_it_counts_nobody_while_the_relay_is_down(on_postgres: Shop, keda: "psycopg.Connection[Any]") -> None:
    on_postgres.waiting(5, MUG)
    on_postgres.write(breaker.trip, "535 wrong password", "configuration")
    assert counted(keda) == 0
    assert due(on_postgres) == 5


def test_it_is_the_rule_of_the_claim() -> None:
    rule = f"r.waiting_list_id WHERE {lists.SENDING} AND (({lists.WOKEN}) OR ({lists.ORDERED})) LIMIT"
    assert " ".join(rule.split()) in " ".join(QUERY.split())


def test_it_counts_further_than_makes_a_difference() -> None:
    most = int(QUERY.split("LIMIT")[1].split(")")[0])
    assert most >= SCALER["maxReplicaCount"] * int(TRIGGER["targetQueryValue"])


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT address FROM contact",
        "SELECT * FROM request",
        "UPDATE request SET status = 'FAILED'",
        "DELETE FROM pause",
        "INSERT INTO relay (state) VALUES ('open')",
    ],
)
def test_its_role_reads_no_address_and_changes_nothing(statement: str, keda: "psycopg.Connection[Any]") -> None:
    keda.execute("SET default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        keda.execute(statement.encode())

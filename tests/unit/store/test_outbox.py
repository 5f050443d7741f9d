"""Every statement that changes a request's state makes it news: read from the statements themselves."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker.store
from worker.store.outbox import WANTED
from worker.store.sql import Sql

UPDATE = re.compile(r"\bUPDATE request(?: AS \w+)? SET ")
SETS_STATUS = re.compile(r"(?<![\w.])(?<!WHEN )status = (?!ANY)")
UNTOLD = {
    "claims": "PROCESSING is not told: others see the state that follows",
    "seat_claims": "likewise",
}


def statements() -> Iterator[tuple[str, str]]:
    """Yields the module and the words of each statement of the store."""
    for module in pkgutil.iter_modules(worker.store.__path__):
        for value in vars(importlib.import_module(f"worker.store.{module.name}")).values():
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Sql):
                    yield module.name, " ".join(each._postgresql.split())


def assigned(words: str) -> str:
    """Returns what stands between SET and the FROM or WHERE of the same statement."""
    depth = 0
    for found in re.finditer(r"[()]|\b(?:FROM|WHERE)\b", words):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0 and found[0] in {"FROM", "WHERE"}:
            return words[: found.start()]
    return words


def changes_of_state() -> list[tuple[str, str]]:
    found = (
        (module, assigned(words[update.end() :])) for module, words in statements() if (update := UPDATE.search(words))
    )
    return list(dict.fromkeys((module, words) for module, words in found if SETS_STATUS.search(words)))


@pytest.mark.parametrize(("module", "words"), changes_of_state())
def test_a_change_of_state_is_news(module: str, words: str) -> None:
    if module in UNTOLD and "status = 'PROCESSING'" in words:
        return
    assert re.search(r"(?<![\w.])version = version \+ ", words), words
    assert re.search(r"(?<![\w.])news = ", words), words
    assert WANTED in words


def test_all_of_them_are_looked_at() -> None:
    found = {module for module, _ in changes_of_state()}
    assert found >= {"admin", "claims", "bouncing", "recording", "suppression", "sweep"}
    assert len(changes_of_state()) >= 11
    sources = [path.read_text() for path in Path(worker.store.__path__[0]).glob("*.py")]
    assert not any(re.search(r"\bupdate\(\w*Request\)|\binsert\(\w*Request\)", source) for source in sources)


@pytest.mark.parametrize(
    "words",
    [
        "UPDATE request SET status = 'FAILED' WHERE id = 1",
        "WITH x AS (SELECT 1) UPDATE request AS r SET claim_no = (SELECT n FROM x), status = 'FAILED' FROM x",
    ],
)
def test_a_statement_without_it_would_be_found(words: str) -> None:
    update = UPDATE.search(words)
    assert update
    assert SETS_STATUS.search(assigned(words[update.end() :]))

"""Short histories of seats. The oracle finds every promise kept in them, and notices each rule that is broken.

A rule is broken by replacing the text of one function or constant of the program (`Edit`). For each there is a history
in which that tells somebody too many, too early or out of turn, or leaves somebody out. Histories that nobody thought
of are in `test_wave_promises`.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import pytest
from sqlalchemy import Connection

from tests.contract.shop import Shop, shop_at
from tests.contract.store.wave_shop import ANY, BLUE, BLUE_L, RED_L, WAVE, WaveShop, rolled_back
from worker.domain import ledger
from worker.domain.policies import Policies
from worker.store import bouncing, claims, recording, seat_claims, seats, stock, sweep


def so_many(shop: WaveShop) -> None:
    """Two pieces, and one customer for each. Others have to wait until the next wave."""
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 2)))
    assert len(shop.claim(then="told")) == 2
    assert not shop.claim()
    shop.wait(WAVE / 2)
    assert not shop.claim()
    shop.wait(WAVE)
    assert len(shop.claim(then="told")) == 2


def repeated(shop: WaveShop) -> None:
    """An event that repeats the quantity brings nobody a seat."""
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 2)))
    shop.claim(then="told")
    shop.hear((ANY, (None, 2)))
    assert not shop.claim()


def sold(shop: WaveShop) -> None:
    """Nor does a fall."""
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 4)))
    shop.claim(then="told")
    shop.hear((ANY, (None, 2)))
    assert not shop.claim()


def sold_at_once(shop: WaveShop) -> None:
    """A fall takes the seats away for which there is no piece any more."""
    shop.sign_up(*[ANY] * 8)
    shop.hear((ANY, (None, 6)))
    shop.claim(ANY, most=1, then="told")
    shop.hear((ANY, (None, 2)))
    assert len(shop.claim()) == 2


def added(shop: WaveShop) -> None:
    """Pieces that are added bring their seats."""
    shop.sign_up(*[ANY] * 8)
    shop.hear((ANY, (None, 2)))
    shop.claim(then="told")
    shop.hear((ANY, (None, 5)))
    assert len(shop.claim()) == 3


def sold_out(shop: WaveShop) -> None:
    """Who gives back a seat of an earlier wave gives back nothing."""
    shop.sign_up(*[ANY] * 8)
    shop.hear((ANY, (None, 2)))
    early = shop.claim()
    shop.hear((ANY, (None, 0)))
    shop.hear((ANY, (None, 2)))
    shop.claim(then="told")
    shop.end(early, "deferred")
    assert not shop.claim()


def given_back(shop: WaveShop) -> None:
    """Whoever surely was not told gives the seat to the next."""
    shop.sign_up(*[ANY] * 12)
    shop.hear((ANY, (None, 4)))
    shop.end(shop.claim(), "told", "failed", "deferred", "released")
    assert len(shop.claim(then="told")) == 3


def released_all(shop: WaveShop) -> None:
    shop.sign_up(*[ANY] * 4)
    shop.hear((ANY, (None, 2)))
    shop.claim()
    shop.release_all()
    assert len(shop.claim()) == 2


def lost(shop: WaveShop) -> None:
    """Who may have been told keeps the seat."""
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 2)))
    shop.end(shop.claim(), "lost", "unknown")
    assert not shop.claim()


def bounced(shop: WaveShop) -> None:
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 2)))
    told = shop.claim(then="told")
    shop.bounce(told)
    assert len(shop.claim()) == 2
    shop.bounce(told)
    assert not shop.claim()


def died(shop: WaveShop) -> None:
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 2)))
    shop.claim()
    shop.die()
    assert len(shop.claim()) == 2


def shared(shop: WaveShop) -> None:
    """Several lists share what there is of a variant, and one list has the seats of several."""
    shop.sign_up(*[ANY, BLUE, BLUE_L, RED_L] * 3)
    shop.hear((BLUE_L, (None, 2)), (RED_L, (None, 3)))
    assert len(shop.claim()) == 5


def prior(shop: WaveShop) -> None:
    """Who has priority takes the seats that several lists share, before those who have waited longer."""
    shop.sign_up(ANY, BLUE_L, BLUE_L)
    shop.sign_up(BLUE, priority=5)
    shop.sign_up(BLUE_L, priority=9)
    shop.hear((BLUE_L, (None, 2)))
    assert {claim.list_id for claim in shop.claim(ANY)} == {shop.list_ids[BLUE], shop.list_ids[BLUE_L]}


def uncounted(shop: WaveShop) -> None:
    """Nobody needs a seat for a list that has a variant without a count, and the others have theirs."""
    shop.sign_up(*[ANY] * 5, *[RED_L] * 5)
    shop.hear((BLUE_L, (True, None)), (RED_L, (None, 3)))
    assert len(shop.claim()) == 8


def settling(shop: WaveShop) -> None:
    """Nobody is told before it is sure that the stock stays."""
    shop.set_shop(Policies(per_unit=1, wave_seconds=WAVE, settle_seconds=50.0))
    shop.sign_up(ANY)
    shop.hear((ANY, (None, 2)))
    assert not shop.claim()
    shop.wait(30)
    shop.hear((ANY, (None, 3)))
    shop.wait(30)
    assert len(shop.claim()) == 1


def blinked(shop: WaveShop) -> None:
    """What goes out and comes in at once, in one batch, settles anew."""
    shop.set_shop(Policies(settle_seconds=50.0))
    shop.sign_up(ANY)
    shop.hear((ANY, (None, 3)))
    shop.wait(49)
    shop.hear((ANY, (None, 0)), (ANY, (None, 3)))
    shop.wait(2)
    assert not shop.claim()
    shop.wait(49)
    assert len(shop.claim()) == 1


def fewer_per_unit(shop: WaveShop) -> None:
    shop.set_shop(Policies(per_unit=3, wave_seconds=WAVE))
    shop.sign_up(*[ANY] * 6)
    shop.hear((ANY, (None, 2)))
    shop.claim(ANY, most=1, then="told")
    shop.set_shop(Policies(per_unit=1, wave_seconds=WAVE))
    assert len(shop.claim()) == 2


History = Callable[[WaveShop], None]
HISTORIES: Final[Sequence[History]] = (
    so_many,
    repeated,
    sold,
    sold_at_once,
    added,
    sold_out,
    given_back,
    released_all,
    lost,
    bounced,
    died,
    shared,
    prior,
    uncounted,
    settling,
    blinked,
    fewer_per_unit,
)


def tell(history: History, shop: Shop) -> None:
    """Lets this happen, and then everybody be told."""

    def run(c: Connection) -> None:
        with rolled_back(c):
            waves = WaveShop(c, Policies(per_unit=1, wave_seconds=WAVE))
            history(waves)
            waves.run_out()

    shop.write(run)


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_every_promise_is_kept(history: History, shop: Shop) -> None:
    tell(history, shop)


NAMED: Final = (ast.FunctionDef, ast.ClassDef, ast.Assign)


@dataclass(frozen=True, slots=True)
class Edit:
    """The replacement of texts by others in one function or constant, where each has to be exactly once."""

    module: ModuleType
    name: str
    texts: Mapping[str, str]

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replaces it wherever it was imported."""
        *owner, name = self.name.split(".")
        holder: Any = getattr(self.module, owner[0]) if owner else self.module
        original, changed = vars(holder)[name], self._changed(name)
        if owner:
            monkeypatch.setattr(holder, name, changed)
            return
        for module in [each for each in sys.modules.values() if each.__name__.startswith("worker.")]:
            for alias in [alias for alias, value in vars(module).items() if value is original]:
                monkeypatch.setattr(module, alias, changed)

    def _changed(self, name: str) -> object:
        source = inspect.getsource(self.module)
        for part in self.name.split("."):
            nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, NAMED) and _name(node) == part]
            assert len(nodes) == 1, self
            source = textwrap.dedent(_segment(source, nodes[0]))
        for old, new in self.texts.items():
            assert source.count(old) == 1, self
            source = source.replace(old, new)
        made: dict[str, object] = {}
        exec(source, vars(self.module), made)  # noqa: S102 - our own program
        return made[name]


def _segment(source: str, node: ast.stmt) -> str:
    return "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])


def _name(node: ast.FunctionDef | ast.ClassDef | ast.Assign) -> str | None:
    if isinstance(node, ast.Assign):
        return getattr(node.targets[0], "id", None)
    return node.name


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule that is broken, and the history in which it shows."""

    rule: str
    history: History
    edits: Sequence[Edit]


MUTATIONS: Final[Sequence[Mutation]] = (
    Mutation(
        "a seat is given back whatever the wave",
        sold_out,
        [Edit(seats, "_GIVE_BACK", {" AND s.wave = rows.which": ""})],
    ),
    Mutation(
        "every event begins a wave",
        repeated,
        [Edit(ledger, "counted", {"if most is None or seats.left is None:": "if True:"})],
    ),
    Mutation("a fall brings seats", sold, [Edit(ledger, "counted", {"max(0, pieces - known)": "abs(pieces - known)"})]),
    Mutation(
        # Either cut alone is covered by the other.
        "what is left is never cut",
        sold_at_once,
        [
            Edit(ledger, "counted", {"min(seats.left + added, most)": "seats.left + added"}),
            Edit(ledger, "at_claim", {"left=min(seats.left, most)": "left=seats.left"}),
        ],
    ),
    Mutation("the cut of a claim", fewer_per_unit, [Edit(ledger, "at_claim", {"min(seats.left, most)": "seats.left"})]),
    Mutation(
        "no door is opened",
        given_back,
        [
            Edit(
                seats,
                "give_back",
                {"open_doors(c, {row.item_id for row in _GIVE_BACK(c, rows=rows)})": "_GIVE_BACK(c, rows=rows)"},
            )
        ],
    ),
    Mutation("no wave follows", so_many, [Edit(ledger, "at_claim", {"turns_at <= now": "False"})]),
    Mutation("the next wave doesn't wait", so_many, [Edit(ledger, "at_claim", {"turns_at <= now": "True"})]),
    Mutation(
        "who may have been told gives the seat back",
        lost,
        [Edit(recording, "_seats_to_give_back", {"if end.claim.id not in lost": "if True"})],
    ),
    Mutation(
        "each list counts for itself",
        shared,
        [
            Edit(
                ledger,
                "Taking.take",
                {
                    "while rows and (left := self._left(rows[0][1])) != -rows[0][0]:": "while left := 0:",
                    "self.take_of(about, 1)": "rows[0] = rows[0][0] + 1, about",
                },
            )
        ],
    ),
    Mutation(
        "nobody has to wait until it settles",
        settling,
        [
            Edit(
                stock,
                "_door",
                {"now + timedelta(seconds=policies.settle_seconds) if policies.settle_seconds else None": "None"},
            )
        ],
    ),
    Mutation("settling begins anew with every event", settling, [Edit(stock, "_door", {"if not stayed:": "if True:"})]),
    Mutation("a rise brings nothing", added, [Edit(ledger, "counted", {"max(0, pieces - known)": "0"})]),
    Mutation("nothing is given back", given_back, [Edit(seats, "give_back", {"if not counts:": "if True:"})]),
    Mutation(
        "who is released with all others keeps the seat",
        released_all,
        [Edit(claims, "release_all", {"seats.give_back_of(c, held, rows)": "pass"})],
    ),
    Mutation(
        "who bounced keeps the seat",
        bounced,
        [Edit(bouncing, "bounce", {"seats.give_back_of(c, held, ended)": "pass"})],
    ),
    Mutation(
        "who is rescued keeps the seat",
        died,
        [Edit(sweep, "rescue", {"row.failure_code != FailureCode.OUTCOME_UNKNOWN": "False"})],
    ),
    Mutation(
        "the youngest go first",
        shared,
        [Edit(seat_claims, "_next", {"found.sort(key=turn)": "found.sort(key=turn, reverse=True)"})],
    ),
    Mutation(
        "nobody has priority", prior, [Edit(seat_claims, "_next", {"key=turn": "key=lambda row: row.created_date"})]
    ),
    Mutation("who needs no seat takes one", uncounted, [Edit(ledger, "Taking.take", {"in (0, -_NO_LIMIT)": "== 0"})]),
    Mutation("who is short of seats is forgotten", so_many, [Edit(claims, "claim", {" - set(short)": ""})]),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for edit in mutation.edits:
        edit.apply(monkeypatch)
    with shop_at(sqlite_url) as shop, pytest.raises(AssertionError):
        tell(mutation.history, shop)

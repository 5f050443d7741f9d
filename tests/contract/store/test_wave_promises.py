"""So many per unit, in waves: whatever happens, the oracle finds every promise kept (see `wave_oracle`).

`EXAMPLES=100 make test ARGS="-k promises"` searches for longer.
"""

import sys
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection

from tests.contract.shop import Shop
from tests.contract.store.wave_shop import (
    ANY,
    BLUE,
    BLUE_L,
    CUP,
    RED_L,
    WAVE,
    Stock,
    WaveShop,
)
from tests.examples import examples
from worker.domain.policies import ALL, Own, Policies
from worker.store.claims import Claim

ENDS: Final = st.sampled_from(["told", "told", "told", "failed", "lost", "unknown", "deferred", "released"])
SIZES: Final = st.sampled_from([1, 2, 3, 8, 100])
WAITS: Final = st.sampled_from([1.0, WAVE / 2, WAVE, 4 * WAVE])

NAMED: Final = {"any": ANY, "blue": BLUE, "blue L": BLUE_L, "red L": RED_L, "cup": CUP}
"""Hypothesis prints a history with these names."""
ABOUT: Final = st.sampled_from(["any", "any", "blue L", "blue L", "blue", "red L", "red L", "cup"])
LISTS: Final = st.sampled_from(sorted(NAMED))
Said = tuple[str, Stock]
COUNTED: Final = st.tuples(st.none(), st.integers(-1, 7))
SAID: Final = st.tuples(st.booleans(), st.none() | st.integers(-1, 7))
STOCK: Final = COUNTED | COUNTED | SAID
EVENTS: Final = st.lists(st.tuples(ABOUT, STOCK), min_size=1, max_size=3)

PER_UNIT: Final = st.sampled_from([1, 1, 2, 3, None])
SETTLES: Final = st.sampled_from([0.0, 0.0, 50.0])
POLICIES: Final = st.builds(
    Policies,
    per_unit=PER_UNIT,
    wave_seconds=st.sampled_from([WAVE, WAVE, WAVE, WAVE / 4, 0.0]),
    settle_seconds=SETTLES,
    assumed_quantity=st.none() | st.integers(1, 3),
    digest=st.booleans(),
)
OWNS: Final = st.builds(
    Own,
    per_unit=st.sampled_from([None, None, ALL, 1, 2]),
    wave_seconds=st.sampled_from([None, WAVE / 2, 2 * WAVE]),
    settle_seconds=st.sampled_from([None, 0.0, 50.0]),
)

Place = st.integers(0, 30)
AGES: Final = st.sampled_from([0, 0, 0, 1, 2, 4])
Places = st.lists(Place, min_size=1, max_size=4)


class WaveMachine(RuleBasedStateMachine):
    """Everything that can happen to the seats, in any order."""

    def __init__(self, c: Connection) -> None:
        super().__init__()
        self.c = c
        self.example = c.begin_nested()
        self.shop = WaveShop(c, Policies(per_unit=1, wave_seconds=WAVE), {CUP.item: Own(per_unit=ALL)})

    @initialize(policies=POLICIES, stock=st.lists(st.tuples(ABOUT, COUNTED), min_size=2, max_size=3))
    def begin(self, policies: Policies, stock: list[Said]) -> None:
        """Starts with some people and some stock. Otherwise little would happen in so few steps."""
        self.shop.set_shop(policies)
        self.shop.sign_up(ANY, BLUE_L, ANY, BLUE_L, BLUE_L, CUP, ANY, BLUE_L)  # the other lists may come later
        self._hear(stock)

    @rule(wanted=st.lists(LISTS, min_size=1, max_size=4), is_old=st.booleans(), priority=st.sampled_from([0, 0, 1, 9]))
    def sign_up(self, wanted: list[str], is_old: bool, priority: int) -> None:
        self.shop.sign_up(*(NAMED[name] for name in wanted), is_old=is_old, priority=priority)

    @rule(events=EVENTS, age=AGES, again=st.lists(Place, max_size=1))
    def hear(self, events: list[Said], age: int, again: list[int]) -> None:
        """Events of all kinds, some of them late, and some for the second time."""
        self._hear(events, age, again)

    @rule(again=Places)
    def hear_again(self, again: list[int]) -> None:
        self._hear([], 0, again)

    @rule(about=ABOUT, quantity=st.integers(1, 5), most=SIZES, end=ENDS)
    def come_in(self, about: str, quantity: int, most: int, end: str) -> None:
        """There are so many now. Some are told."""
        self._hear([(about, (True, quantity))])
        self.shop.claim(most=most, then=end)

    @rule(wanted=st.sets(LISTS, min_size=1), most=SIZES, first=st.booleans(), owner=Place)
    def claim(self, wanted: set[str], most: int, first: bool, owner: int) -> None:
        self.shop.claim(*(NAMED[name] for name in wanted), most=most, first=first, owner=owner)

    @rule(seconds=WAITS, most=SIZES, end=ENDS)
    def serve(self, seconds: float, most: int, end: str) -> None:
        """Time passes, and some of all lists are claimed and end."""
        self.shop.wait(seconds)
        self.shop.sweep()
        self.shop.claim(most=most, then=end)

    @rule(most=st.integers(1, 4), owner=Place)
    def probe(self, most: int, owner: int) -> None:
        self.shop.probe(most, owner)

    @precondition(lambda self: self.shop.claims)
    @rule(places=Places, how=st.lists(ENDS, min_size=1, max_size=3))
    def end(self, places: list[int], how: list[str]) -> None:
        """Records outcomes, perhaps too late."""
        self.shop.end(self._some(places), *how)

    @precondition(lambda self: self.shop.claims)
    @rule(places=Places)
    def bounce(self, places: list[int]) -> None:
        self.shop.bounce(self._some(places))

    @rule(owner=Place, is_dead=st.booleans(), handed=st.lists(Place, max_size=1))
    def leave(self, owner: int, is_dead: bool, handed: list[int]) -> None:
        """A worker ends, by itself or not, perhaps with mails that were handed over."""
        if self.shop.claims:
            self.shop.hand_over(self._some(handed))
        if is_dead:
            self.shop.die(owner)
        else:
            self.shop.release_all(owner)

    @precondition(lambda self: self.shop.seen)
    @rule(places=Places, verb=st.sampled_from(["delete", "suppress", "retry", "order again", "report", "mark"]))
    def administer(self, places: list[int], verb: str) -> None:
        self.shop.administer(verb, self._ids(places))

    @rule(policies=st.none() | POLICIES, item=st.sampled_from(["any", "cup"]), own=OWNS)
    def set(self, policies: Policies | None, item: str, own: Own) -> None:
        """Other settings hold, of the shop or of one item."""
        if policies:
            self.shop.set_shop(policies)
        else:
            self.shop.set_own(NAMED[item].item, own)

    def _hear(self, events: Sequence[Said], age: int = 0, again: Sequence[int] = ()) -> None:
        self.shop.hear(*((NAMED[name], stock) for name, stock in events), age=age, again=again)

    def _some(self, places: Sequence[int]) -> list[Claim]:
        """Returns some of the last claims, each request once."""
        chosen = [self.shop.claims[-1 - place % len(self.shop.claims)] for place in places]
        return list({claim.id: claim for claim in chosen}.values())

    def _ids(self, places: Sequence[int]) -> list[UUID]:
        ids = sorted(self.shop.seen)
        return list({ids[place % len(ids)] for place in places})

    def teardown(self) -> None:
        """In the end all are told, if the stock stays. Then the database is as it was before."""
        try:
            if sys.exc_info()[0] is None:  # else a step has failed, and that is what is to be told
                self.shop.run_out()
        finally:
            self.example.rollback()


def search(shop: Shop, profile: settings) -> None:
    """Runs the machine in one transaction, which is rolled back after each example: that saves the commits."""

    def run(c: Connection) -> None:
        class Machine(WaveMachine):
            def __init__(self) -> None:
                super().__init__(c)

        run_state_machine_as_test(Machine, settings=profile)

    shop.write(run)


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)  # a pooler would show no more
def test_whatever_happens_every_promise_about_seats_is_kept(shop: Shop) -> None:
    number = 50 if shop.database.dialect == "sqlite" else 6
    search(shop, settings(examples(number), stateful_step_count=30))

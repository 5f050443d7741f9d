"""What events mean for stock and for waiting requests, compared with a model that is independent of the code."""

import tracemalloc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, count, islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.bounded import bounded
from worker.domain.catalog import CatalogReference, Options, canonical_options, item_of
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.domain.stock import BLOCK, ItemStock, Level, Levels, Order, by_item

MORNING = datetime(2026, 11, 23, 9, tzinfo=UTC)
NOON = MORNING + timedelta(hours=3)

RED = canonical_options({"color": "red"})
RED_L = canonical_options({"color": "red", "size": "L"})
RED_M = canonical_options({"color": "red", "size": "M"})
BLUE_L = canonical_options({"color": "blue", "size": "L"})
ANY = ()

_sequence = count(1)


def event(
    about: Options,
    *,
    in_stock: bool | None = None,
    quantity: int | None = None,
    minute: int = 0,
    entry: int | None = None,
    item: str = "mug-1",
    **details: str | None,
) -> Event:
    """Returns an event about the mug. The ids of entries count up."""
    return Event(
        entry_id=f"1000-{next(_sequence) if entry is None else entry}",
        event_id=None,
        reference=CatalogReference(item_of(item), about),
        occurred_at=MORNING + timedelta(minutes=minute),
        clamped=False,
        in_stock=in_stock,
        quantity=quantity,
        details=details,
        flaws=(),
    )


def came(about: Options, minute: int = 0) -> Event:
    return event(about, in_stock=True, minute=minute)


def went(about: Options, minute: int = 0) -> Event:
    return event(about, in_stock=False, minute=minute)


def after(*batches: Sequence[Event], now: datetime = NOON) -> ItemStock:
    """Returns the item after the last of these batches. It does not show what earlier batches changed and woke."""
    stock = ItemStock()
    for batch in batches:
        stock = ItemStock(dict(stock.levels), stock.out, dict(stock.details), dict(stock.details_at))
        stock.apply(batch, now=now)
    return stock


def in_stock(stock: ItemStock) -> dict[Options, bool]:
    return {about: level.in_stock for about, level in stock.levels.items()}


def level(is_in: bool, told: datetime | None = None, *, minute: int = 0, follows: bool = False) -> Level:
    at = MORNING + timedelta(minutes=minute), (1, 1)
    return Level(is_in and not follows, at, last_in_stock_at=told, follows_item=follows)


def available(wanted: Options, levels: Mapping[Options, Level]) -> bool:
    return Levels(levels).available(wanted)


# Availability and matching

options = st.builds(
    lambda size, color: canonical_options({"size": size, "color": color}),
    st.sampled_from(["", "L", "M"]),
    st.sampled_from(["", "red", "blue"]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Options, bool]]:
    """Draws events of an item, oldest first: what each is about, and whether it says "in stock"."""
    return draw(st.lists(st.tuples(options, st.booleans()), max_size=8))


def can_be_bought(wanted: Mapping[str, str], history: Sequence[tuple[Options, bool]]) -> bool:
    """Tells whether a variant can be bought, by the rules word for word, played event by event."""
    rows: dict[Options, bool] = {}
    went_with_item: set[Options] = set()
    newest: Options | None = None
    for about, is_in in history:
        newest, rows[about] = about, is_in
        went_with_item.discard(about)
        if not about and not is_in:  # sets every row out, and remembers that
            went_with_item |= {row for row, was_in in rows.items() if row and was_in}
            rows = dict.fromkeys(rows, False)
        if not about and is_in:  # brings back those rows, and no others
            rows |= dict.fromkeys(went_with_item, True)
    matching = [about for about in rows if about and wanted.items() <= dict(about).items()]
    if not wanted and newest == ():
        return rows[()] or any(rows[about] for about in matching)
    return any(rows[about] for about in matching) if matching else rows.get((), False)


@given(options, histories())
@example(ANY, [(RED_L, False), (ANY, True)])
@example(ANY, [(RED_L, True), (ANY, False), (ANY, True)])
@example(RED_L, [(RED_L, True), (ANY, False), (ANY, True)])
@example(RED_L, [(RED_L, False), (ANY, False), (ANY, True)])
@example(ANY, [(RED_L, True), (ANY, False), (ANY, True), (BLUE_L, False)])
def test_who_can_buy_what_is_as_the_rules_say(wanted: Options, history: list[tuple[Options, bool]]) -> None:
    events = [event(about, in_stock=is_in, minute=minute) for minute, (about, is_in) in enumerate(history)]
    levels = after(*([happened] for happened in events)).levels
    assert available(wanted, levels) is can_be_bought(dict(wanted), history)


def test_what_nobody_spoke_of_is_not_available() -> None:
    assert not available(ANY, {})
    assert not available(RED, {})


def test_a_request_without_options_wants_any_variant() -> None:
    assert available(ANY, {RED_L: level(False), BLUE_L: level(True)})
    assert not available(ANY, {RED_L: level(False), BLUE_L: level(False)})


def test_variants_overrule_the_item_in_both_directions() -> None:
    assert not available(RED, {ANY: level(True), RED_L: level(False)})
    assert available(RED, {ANY: level(False), RED_L: level(True)})


def test_options_are_compared_without_case() -> None:
    assert available(canonical_options({"Color": "Red"}), {RED_L: level(True)})


def test_where_both_name_a_variant_id_it_alone_decides() -> None:
    v1, v2 = (canonical_options({"variantId": name}) for name in ("v1", "v2"))
    v1_and_more = canonical_options({"variantId": "V1", "options": {"gift": "yes"}})
    assert available(v1_and_more, {v1: level(True), v2: level(False)})
    assert available(v1, {v1_and_more: level(True), v2: level(False)})
    assert available(v1_and_more, {canonical_options({"variantId": "v1", "gift": "no"}): level(True)})
    assert not available(v1_and_more, {v2: level(True), v1: level(False)})
    assert not available(v1_and_more, {canonical_options({"variantId": "v2", "gift": "yes"}): level(True)})


def test_where_only_one_names_a_variant_id_the_other_options_decide() -> None:
    v1_l = canonical_options({"variantId": "v1", "Size": "L"})
    assert available(canonical_options({"Size": "L"}), {v1_l: level(True)})
    assert not available(v1_l, {canonical_options({"Size": "L"}): level(True)})


# The rows that decide, found as the rules say: by a look at each row


def governing(wanted: Options, levels: Mapping[Options, Level]) -> list[Level]:
    """Returns the variants that match, or else the item's own row, which also decides where a variant follows it."""
    variants = [row for about, row in levels.items() if about and set(wanted) <= set(about)]
    item = [row for about, row in levels.items() if not about]
    is_newest = not wanted and all(row.order <= item[0].order for row in levels.values()) if item else False
    return variants + item if not variants or is_newest or any(row.follows_item for row in variants) else variants


def concerns(wanted: Options, about: Options, levels: Mapping[Options, Level]) -> bool:
    """Tells whether an event about the options `about` decides anything for the wanted ones."""
    return any(row is levels[about] for row in governing(wanted, levels))


def last_told(rows: Iterable[Level]) -> datetime | None:
    return max((row.last_in_stock_at for row in rows if row.last_in_stock_at), default=None)


@given(options, st.dictionaries(options, st.sampled_from([None, MORNING, NOON])))
def test_the_last_time_in_stock_is_that_of_the_rows_that_decide(
    wanted: Options, rows: dict[Options, datetime | None]
) -> None:
    levels = {about: level(True, told) for about, told in rows.items()}
    assert Levels(levels).last_in_stock_at(wanted) == last_told(governing(wanted, levels))


many_options = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", ""])).map(canonical_options)
many_levels = st.dictionaries(
    many_options,
    st.builds(
        level,
        st.booleans(),
        st.sampled_from([None, MORNING, NOON, NOON + timedelta(microseconds=1)]),
        minute=st.integers(0, 2),
        follows=st.booleans(),
    ),
    max_size=30,
).map(lambda rows: {about: row if about else replace(row, follows_item=False) for about, row in rows.items()})


@given(many_levels, st.data(), st.sampled_from([1, 2, 7, BLOCK]))
def test_what_a_list_is_told_is_what_the_rows_that_decide_say(
    levels: dict[Options, Level], data: st.DataObject, block: int
) -> None:
    came_in = data.draw(st.sets(st.sampled_from(list(levels)))) if levels else set()
    wishes = data.draw(st.lists(many_options, min_size=1, max_size=20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.domain.stock.BLOCK", block)
        known = Levels(levels, came_in)
    for wanted in wishes:
        rows = governing(wanted, levels)
        assert known.available(wanted) is any(row.in_stock for row in rows)
        assert known.last_in_stock_at(wanted) == last_told(rows)
        assert known.woken(wanted) is any(concerns(wanted, about, levels) for about in came_in)


def test_as_many_lists_as_variants_are_told_in_no_time_whatever_they_have_in_common() -> None:
    shared = {f"{number}": "x" for number in range(30)}
    variants = [canonical_options({**shared, "variantId": f"{number}"}) for number in range(8000)]
    levels = {
        about: level(number % 2 == 0, MORNING + timedelta(seconds=number)) for number, about in enumerate(variants)
    }
    some_shared = [canonical_options(dict(some)) for some in islice(combinations(shared.items(), 15), 4000)]
    with bounded():
        known = Levels(levels, set(variants[:1]))
        assert [known.available(wanted) for wanted in variants] == [number % 2 == 0 for number in range(8000)]
        assert all(known.last_in_stock_at(wanted) == row.last_in_stock_at for wanted, row in levels.items())
        assert [wanted for wanted in variants if known.woken(wanted)] == variants[:1]
        for wanted in some_shared:
            assert known.available(wanted)
            assert known.woken(wanted)
            assert known.last_in_stock_at(wanted) == levels[variants[-1]].last_in_stock_at


def test_an_option_of_one_row_takes_no_more_memory_however_many_rows_there_are() -> None:
    levels = {canonical_options({"variantId": f"{number}"}): level(True) for number in range(20_000)}
    tracemalloc.start()
    try:
        Levels(levels)
        assert tracemalloc.get_traced_memory()[1] < 500 * len(levels)  # in bytes; one bit for each row would be 2,500
    finally:
        tracemalloc.stop()


# Order: in whatever order the same events come, the rows are the same at the end

some_details = st.dictionaries(
    st.sampled_from(["name", "price", "url"]), st.none() | st.sampled_from(["one", "two", "three"]), max_size=2
)
happenings = st.lists(
    st.tuples(options, st.booleans(), st.integers(0, 4), some_details),
    max_size=8,
).map(
    lambda drafts: [
        replace(event(about, in_stock=is_in, quantity=number, minute=minute, entry=number), details=details)
        for number, (about, is_in, minute, details) in enumerate(drafts)
    ]
)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]]]:
    """Draws events, and batches in which each of them comes once or more, in any order."""
    events = draw(happenings)
    again = draw(st.lists(st.sampled_from(events), max_size=3)) if events else []
    line = draw(st.permutations(events + again))
    cuts = sorted(draw(st.sets(st.integers(0, len(line)), max_size=4)))
    return events, [line[start:end] for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True)]


def newest(events: Iterable[Event]) -> dict[Options, tuple[bool, bool, Order, int | None]]:
    """Returns what is true at the end: the newest event of each row, unless the item went out of stock after it.

    The second value tells whether that put it out.
    """
    rows: dict[Options, Event] = {}
    for happened in events:
        about = happened.reference.options
        if about not in rows or rows[about].order < happened.order:
            rows[about] = happened
    outs = [happened.order for happened in events if not happened.reference.options and not happened.in_stock]
    return {
        about: (
            bool(last.in_stock) and all(last.order >= out for out in outs),
            bool(last.in_stock) and any(last.order < out for out in outs if about),
            last.order,
            last.quantity,
        )
        for about, last in rows.items()
    }


IN_RED_L, ALL_OUT, ALL_IN = came(RED_L, 1), went(ANY, 2), came(ANY, 3)


@given(deliveries())
@example(([IN_RED_L, ALL_OUT, ALL_IN], [[ALL_OUT], [IN_RED_L], [ALL_IN]]))
@example(([IN_RED_L, ALL_OUT, ALL_IN], [[ALL_IN], [IN_RED_L], [ALL_OUT]]))
@example(([IN_RED_L, ALL_OUT, ALL_IN], [[ALL_IN], [ALL_OUT], [IN_RED_L]]))
def test_the_same_events_end_in_the_same_rows_in_whatever_order_and_batches(
    delivery: tuple[list[Event], list[list[Event]]],
) -> None:
    events, batches = delivery
    stock = after(*batches)
    rows = {about: (row.in_stock, row.follows_item, row.order, row.quantity) for about, row in stock.levels.items()}
    assert rows == newest(events)
    outs = [happened.order for happened in events if not happened.reference.options and not happened.in_stock]
    assert stock.out == max(outs, default=None)


OLD, NEW = event(RED_L, in_stock=True, minute=1, name="Old"), event(BLUE_L, in_stock=True, minute=2, name="New")
PRICE, LATE = event(ANY, in_stock=True, minute=3, price="1"), event(ANY, in_stock=True, minute=1, name="Late")


@given(deliveries())
@example(([OLD, NEW], [[NEW], [OLD]]))
@example(([PRICE, LATE], [[PRICE], [LATE]]))
def test_the_same_events_end_in_the_same_details_in_whatever_order_and_batches(
    delivery: tuple[list[Event], list[list[Event]]],
) -> None:
    events, batches = delivery
    details: dict[str, str | None] = {}
    for happened in sorted(events, key=lambda happened: happened.order):
        details |= happened.details
    assert after(*batches).details == details


@given(deliveries())
def test_whatever_changed_is_stored(delivery: tuple[list[Event], list[list[Event]]]) -> None:
    before = ItemStock()
    for batch in delivery[1]:
        stock = ItemStock(dict(before.levels), before.out, dict(before.details), dict(before.details_at))
        stock.apply(batch, now=NOON)
        changed = {about for about, row in stock.levels.items() if row != before.levels.get(about)}
        assert changed <= stock.touched <= stock.levels.keys()
        if stock.out != before.out:
            assert stock.touched
        before = stock


@given(deliveries())
def test_repeating_everything_changes_nothing_and_wakes_nobody(
    delivery: tuple[list[Event], list[list[Event]]],
) -> None:
    once = after(*delivery[1])
    twice = ItemStock(dict(once.levels), once.out, dict(once.details), dict(once.details_at))
    twice.apply(delivery[0], now=NOON + timedelta(hours=1))
    assert twice.levels == once.levels
    assert (twice.out, twice.details, twice.details_at) == (once.out, once.details, once.details_at)
    assert not twice.touched
    assert not twice.came_in
    assert twice.stale == sorted(delivery[0], key=lambda happened: happened.order)


def test_of_two_events_at_one_time_the_later_entry_wins() -> None:
    first, second = (
        event(ANY, in_stock=True, entry=9),
        event(ANY, in_stock=False, entry=10),
    )
    assert in_stock(after([second], [first])) == {ANY: False}
    assert in_stock(after([first], [second])) == {ANY: False}


def test_the_events_time_counts_before_its_entry() -> None:
    late_news = event(ANY, in_stock=True, minute=1, entry=99)
    assert in_stock(after([event(ANY, in_stock=False, minute=2, entry=1)], [late_news])) == {ANY: False}


# The item and its variants


def test_an_item_out_of_stock_sets_every_row_out() -> None:
    stock = after([came(RED_L, 1), came(BLUE_L, 1)], [went(ANY, 2)])
    assert in_stock(stock) == {RED_L: False, BLUE_L: False, ANY: False}
    assert stock.touched == {RED_L, BLUE_L, ANY}


def test_an_item_in_stock_changes_no_variant() -> None:
    stock = after([came(RED_L, 1), went(BLUE_L, 1)], [came(ANY, 2)])
    assert in_stock(stock) == {RED_L: True, BLUE_L: False, ANY: True}
    assert stock.touched == {ANY}


def test_a_variant_event_older_than_the_items_out_is_stale() -> None:
    old = came(RED_L, 1)
    stock = after([went(ANY, 2)], [old])
    assert stock.stale == [old]
    assert not stock.came_in
    assert not available(RED, stock.levels)


def test_a_variant_event_newer_than_the_items_out_brings_it_back() -> None:
    stock = after([came(RED_L, 1)], [went(ANY, 2)], [came(RED_L, 3)])
    assert in_stock(stock) == {RED_L: True, ANY: False}


def test_an_item_out_that_comes_late_still_sets_older_variants_out() -> None:
    stock = after([came(RED_L, 1), came(RED_M, 4)], [came(ANY, 3)], [went(ANY, 2)])
    assert in_stock(stock) == {RED_L: False, RED_M: True, ANY: True}


def test_many_outs_of_an_item_with_many_variants_are_applied_in_no_time() -> None:
    older, newer = (Level(True, (MORNING + timedelta(days=days), (1, 1))) for days in (-1, 10))
    stock = ItemStock({(("variantId", f"{number}"),): (older, newer)[number % 2] for number in range(200_000)})
    with bounded():
        stock.apply([went(ANY, minute) for minute in range(10_000)], now=NOON)
    assert [row.in_stock for row in islice(stock.levels.values(), 4)] == [False, True, False, True]
    assert len(stock.touched) == 100_001


@pytest.mark.parametrize(
    ("quantity", "flag", "expected"),
    [(5, None, True), (3, None, True), (2, None, False), (0, None, False), (0, True, True), (5, False, False)],
)
def test_in_stock_is_what_the_flag_says_else_a_quantity_of_the_minimum(
    quantity: int, flag: bool | None, expected: bool
) -> None:
    stock = ItemStock()
    stock.apply([event(ANY, in_stock=flag, quantity=quantity)], policies=Policies(3), now=NOON)
    assert in_stock(stock) == {ANY: expected}


# Which requests are woken


def woken(stock: ItemStock) -> set[Options]:
    return set(filter(Levels(stock.levels, stock.came_in).woken, [ANY, RED, RED_L, BLUE_L]))


def test_a_variant_wakes_those_whose_wish_it_meets() -> None:
    assert woken(after([came(RED_L)])) == {ANY, RED, RED_L}


def test_an_item_wakes_those_for_whom_no_variant_is_known() -> None:
    assert woken(after([came(ANY)])) == {ANY, RED, RED_L, BLUE_L}
    assert woken(after([went(RED_M, 1)], [came(ANY, 2)])) == {ANY, RED_L, BLUE_L}


def test_an_item_wakes_those_whose_variant_went_out_with_it() -> None:
    assert woken(after([came(RED_L, 1), went(BLUE_L, 1)], [went(ANY, 2)], [came(ANY, 3)])) == {ANY, RED, RED_L}
    assert woken(after([came(RED_L, 1)], [went(ANY, 2)], [went(RED_L, 3)], [came(ANY, 4)])) == {ANY, BLUE_L}


def test_any_event_in_stock_wakes_also_if_it_was_in_stock_before() -> None:
    assert woken(after([came(ANY, 1)], [came(ANY, 2)])) == {ANY, RED, RED_L, BLUE_L}


def test_an_event_out_of_stock_wakes_nobody() -> None:
    assert woken(after([came(ANY, 1)], [went(ANY, 2)])) == set()
    assert woken(after([came(RED_L, 1)], [went(RED_L, 2)])) == set()


def test_a_stale_event_wakes_nobody() -> None:
    assert woken(after([went(ANY, 2)], [came(ANY, 1)])) == set()
    assert woken(after([went(ANY, 2)], [came(RED_L, 1)])) == set()


def test_what_came_and_went_in_one_batch_is_not_available() -> None:
    stock = after([came(ANY, 1), went(ANY, 2)])
    assert not available(ANY, stock.levels)


def test_the_time_in_stock_is_when_it_was_applied_and_survives_selling_out() -> None:
    stock = ItemStock()
    stock.apply([came(ANY, 1)], now=MORNING)
    stock.apply([went(ANY, 2)], now=NOON)
    assert stock.levels[ANY].last_in_stock_at == MORNING
    stock.apply([came(ANY, 3)], now=NOON)
    assert stock.levels[ANY].last_in_stock_at == NOON


# Item details


def test_details_merge_key_by_key_where_absent_keeps_and_null_clears() -> None:
    stock = after(
        [event(ANY, in_stock=True, minute=1, name="Mug", price="12.50", url="https://shop.example/mug")],
        [event(ANY, in_stock=True, minute=2, price="9.90", url=None)],
    )
    assert stock.details == {"name": "Mug", "price": "9.90", "url": None}


def test_an_older_event_about_another_variant_overwrites_no_details() -> None:
    assert after([NEW], [OLD]).details == {"name": "New"}


def test_an_event_that_is_stale_for_its_variant_still_tells_the_newest_details() -> None:
    stock = after([went(RED_L, 5)], [event(RED_L, in_stock=True, minute=4, name="Mug")])
    assert len(stock.stale) == 1
    assert stock.details == {"name": "Mug"}


def test_a_newer_price_shields_no_older_name() -> None:
    assert after([PRICE], [LATE]).details == {"price": "1", "name": "Late"}


def test_a_stale_event_changes_no_details() -> None:
    stock = after([event(ANY, in_stock=True, minute=2, name="Mug")], [event(ANY, in_stock=True, minute=1, name="Old")])
    assert stock.details == {"name": "Mug"}


def test_items_come_in_key_order_since_that_is_how_they_are_locked() -> None:
    batch = [came(ANY), event(ANY, in_stock=True, item="cup-1"), event(RED, in_stock=True, item="mug-1")]
    groups = by_item(batch)
    assert list(groups) == [item_of("cup-1"), item_of("mug-1")]
    assert groups[item_of("mug-1")] == [batch[0], batch[2]]

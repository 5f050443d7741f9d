"""The query language: whatever comes is read or refused, and what a cursor says is what was asked."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.wix_filter import MAX_CONDITIONS, All, AnyOf, Condition, Field, Not, Op, read_filter
from worker.domain.wix_query import MAX_LIMIT, BadQuery, Place, Query, cursor_of, read_query

ID = "0192f7a0-7e1c-7c4e-9a51-2f6d1c0b8e11"
NAMES = st.sampled_from([*(field.value for field in Field), *(op.value for op in Op), "$and", "$or", "$not", "$x", ""])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(ID), st.just("RECEIVED")
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
FIELDS = st.sampled_from(["id", "contactId", "status", "autoNotified", "createdDate", "itemUrl"])
SORTS = st.lists(
    st.fixed_dictionaries({"fieldName": FIELDS, "order": st.sampled_from(["ASC", "DESC"])}),
    max_size=6,
    unique_by=lambda sort: sort["fieldName"],
)


def read_or_paths(raw: dict[str, Any]) -> Query | set[str]:
    """Returns the query, or the paths of what is wrong with it."""
    try:
        return read_query(raw)
    except BadQuery as bad:
        return {problem.path for problem in bad.problems}


@given(ANYTHING)
@settings(max_examples=150)
def test_any_filter_is_read_or_refused_with_a_reason(raw: object) -> None:
    clause, problems = read_filter(raw)
    assert isinstance(clause, Condition | All | AnyOf | Not)
    assert all(problem and problem.isprintable() for problem in problems)
    assert problems or isinstance(raw, dict)


@given(st.dictionaries(st.sampled_from(["filter", "sort", "cursorPaging", "paging"]), ANYTHING))
@settings(max_examples=150)
def test_any_query_is_read_or_refused_at_a_field(raw: dict[str, Any]) -> None:
    query = read_or_paths(raw)
    if isinstance(query, set):
        assert query
        assert all(path.startswith("query") for path in query)
    else:
        assert 1 <= query.limit <= MAX_LIMIT
        assert query.order[-1].field is Field.ID or Field.ID in {sort.field for sort in query.order}


@given(SORTS, st.booleans(), st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=20))
@settings(max_examples=100)
def test_a_cursor_goes_on_where_its_page_ended(sorts: list[dict[str, str]], is_backward: bool, link: str) -> None:
    first = read_query({"filter": {"itemUrl": link}, "sort": sorts})
    values: dict[Field, Any] = {
        Field.STATUS: "FAILED",
        Field.AUTO_NOTIFIED: None,
        Field.ITEM_URL: link,
    }
    by_id = read_query({"filter": {"id": ID, "createdDate": "2026-11-23T09:00:00.123456Z"}}).where
    assert isinstance(by_id, All)
    found = [part.values[0] for part in by_id.parts if isinstance(part, Condition)]
    values |= {Field.ID: found[0], Field.CONTACT_ID: found[0], Field.CREATED_DATE: found[1]}
    key = tuple(values[sort.field] for sort in first.order)
    cursor = cursor_of(first, key, is_backward=is_backward)
    again = read_query({"cursorPaging": {"cursor": cursor, "limit": 7}})
    assert (again.where, again.order, again.place, again.limit) == (
        first.where,
        first.order,
        Place(key, is_backward),
        7,
    )


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    query = read_or_paths({"cursorPaging": {"cursor": text}})
    if text:
        assert query == {"query.cursorPaging.cursor"}
    else:
        assert isinstance(query, Query)
        assert query.place is None


def test_limits_hold_at_their_edge() -> None:
    fits = {"$or": [{"status": "FAILED"}] * MAX_CONDITIONS}
    assert read_filter(fits)[1] == []
    assert read_filter({"$and": [fits, {"status": "FAILED"}]})[1] == [f"has over {MAX_CONDITIONS} conditions"]

"""Claims requests of items that tell only so many customers for each piece: each of them takes a seat.

Whose turn it is is decided among all lists of the item that are open, whichever bell was rung, so that nobody of one
list passes those of another whose turn is earlier. The item is locked, so only one claim at a time looks at its seats.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Options
from worker.store import lists
from worker.store.claim_sql import (
    COLUMN_TYPES,
    COLUMNS,
    FACT_TYPES,
    NOT_SUSPECT,
    SET_CLAIMED,
    SUSPECT,
    InTurn,
    in_line,
    turn,
)
from worker.store.contact_intervals import MOST_LOOKED, ROUNDS, Gate
from worker.store.seats import Ledger
from worker.store.sql import Sql

LEAST: Final = 20
"""So many of each list are looked at, at least."""
MOST_IN_TURN: Final = 500
"""Who is further behind than that goes in no digest: in a large wave his turn comes soon anyway."""

_IS_NEXT: Final = f"{lists.IN_LINE} AND {lists.IS_WOKEN} AND {lists.HAS_SETTLED} AND {lists.SENDING}"


class _Candidates(NamedTuple):
    """Those of some lists who are next, if there is a seat for them."""

    postgresql: Sql
    sqlite: Sql


def _candidates(rescued: str) -> _Candidates:
    condition = f"{_IS_NEXT} AND {rescued}"
    return _Candidates(
        Sql(
            f"""SELECT r.* FROM waiting_list AS w CROSS JOIN LATERAL ({in_line(condition, is_lateral=True)}) AS r
            WHERE w.id IN ROWS(list_id uuid)""",
            **FACT_TYPES,
        ),
        Sql(in_line(condition), **FACT_TYPES),
    )


_SEATED: Final = ", seat = :seat, seat_wave = :wave"
_ALIKE = InTurn(f"{lists.IN_LINE} AND {lists.IS_WOKEN} AND {lists.HAS_SETTLED}", more=_SEATED)
_NEXT, _NEXT_SUSPECTS = _candidates(NOT_SUSPECT), _candidates(SUSPECT)
# `|| ''`: see `claims.OWNED`.
_CLAIM = Sql(
    f"""WITH free AS MATERIALIZED (
        SELECT r.id AS free_id FROM request AS r WHERE r.id IN ROWS(request_id uuid)
          AND r.status || '' = 'RECEIVED' AND r.not_before IS NULL AND r.ordered_at IS NULL FOR UPDATE SKIP LOCKED)
    UPDATE request AS r SET {SET_CLAIMED}, seat = rows.its_seat, seat_wave = rows.wave
    FROM ROWS(request_id uuid, its_seat text, wave int)
    WHERE r.id = rows.request_id AND r.id IN (SELECT free_id FROM free) RETURNING {COLUMNS}""",
    **COLUMN_TYPES,
)


class Taken(NamedTuple):
    """What was claimed of an item."""

    rows: Sequence[Any]
    are_all: bool
    """nobody else could be told who has a seat"""
    passed_over: Collection[UUID] = ()
    """the lists of those who could, but have a mail on its way, or might have one"""


def claim(
    c: Connection, owner: UUID, ledger: Ledger, most: int, *, suspects: bool = False, gate: Gate | None = None
) -> Taken:
    """Claims at most `most` requests of a locked item, in their turn, as long as there are seats for them."""
    if gate is not None:
        return _claim_through(c, gate, owner, ledger, most, suspects=suspects)
    rows: list[Any] = []
    busy: set[UUID] = set()
    """others hold these rows at the moment"""
    if not suspects and (alike := ledger.taking.only_way) is not None:
        return _claim_alike(c, owner, ledger, *alike, most)
    while len(rows) < most:
        found = _next(c, ledger, most - len(rows), busy, suspects=suspects)
        if not found:
            return Taken(rows, True)
        claimed = claim_these(c, owner, ledger, [(row.id, row.waiting_list_id) for row in found], most - len(rows))
        rows += claimed.rows
        busy |= claimed.busy
        if not claimed.rows and not claimed.busy:
            return Taken(rows, True)
    return Taken(rows, False)


def _claim_through(c: Connection, gate: Gate, owner: UUID, ledger: Ledger, most: int, *, suspects: bool) -> Taken:
    """Does so with a contact interval: who rests takes no seat, and more are looked at then."""
    rows: list[Any] = []
    busy: dict[UUID, UUID] = {}
    """those that stay in line, each with its list"""
    rested = len(gate.rested)
    for number in range(ROUNDS):
        room = most - len(rows)
        if room <= 0:
            return Taken(rows, False, set(busy.values()))
        further = max(room, min(room << number, MOST_LOOKED))
        found = _next(c, ledger, further, busy.keys(), suspects=suspects)
        if not found:
            return Taken(rows, True, set(busy.values()))
        its_list = {row.id: row.waiting_list_id for row in found}
        sifted = gate.sift(c, list(its_list), further)
        claimed = claim_these(c, owner, ledger, [(id_, its_list[id_]) for id_ in sifted.ready], room, gate)
        rows += claimed.rows
        busy.update((id_, its_list[id_]) for id_ in sifted.passed_over | claimed.busy)
    is_stuck = not rows and len(gate.rested) == rested
    return Taken(rows, is_stuck, set(ledger.doors) if is_stuck else set(busy.values()))


def _claim_alike(c: Connection, owner: UUID, ledger: Ledger, list_id: UUID, about: Options, most: int) -> Taken:
    """Claims the first of the only list with seats, which are all of one row: in one statement, as without seats."""
    taking = ledger.taking
    most = min(most, taking.seats[about].left or 0)
    seat = {"seat": ledger.texts[about], "wave": taking.seats[about].wave}
    rows = _ALIKE(c, [list_id], owner=owner, each=most, **seat)
    taking.take_of(about, len(rows))
    return Taken(rows, len(rows) < most)


class Claimed(NamedTuple):
    """Of some requests those that were claimed, and those that others hold, or whose customers have their mail."""

    rows: Sequence[Any]
    busy: set[UUID]


def claim_these(
    c: Connection,
    owner: UUID,
    ledger: Ledger,
    requests: Sequence[tuple[UUID, UUID]],
    most: int,
    gate: Gate | None = None,
) -> Claimed:
    """Claims those of these requests (each with its list), in this order, for whom there is a seat; at most `most`."""
    taking = ledger.taking
    taken: dict[UUID, Options | None] = {}
    held: set[UUID] = set()
    for request_id, list_id in requests:
        if len(taken) == most:
            break
        if not taking.has_seat(list_id):
            continue
        if gate is not None and not gate.admits(request_id):
            held.add(request_id)
        else:
            taken[request_id] = taking.take(list_id)
    rows, busy = _claim_with(c, owner, ledger, taken)
    if gate is not None:
        gate.put_back(busy)
    return Claimed(rows, busy | held)


def _claim_with(c: Connection, owner: UUID, ledger: Ledger, taken: Mapping[UUID, Options | None]) -> Claimed:
    """Claims those of these requests that nobody else holds, each with the seat that was taken for it."""
    rows = _CLAIM(c, owner=owner, rows=[_seat_row(ledger, *each) for each in taken.items()]) if taken else ()
    busy = taken.keys() - {row.id for row in rows}
    for request_id in busy:
        if (about := taken[request_id]) is not None:
            ledger.taking.put_back(about)
    return Claimed(rows, busy)


def claim_in_turn(c: Connection, owner: UUID, ledger: Ledger, wanted: Collection[UUID]) -> Sequence[Any]:
    """Claims those of these requests whose turn it is: for all who come before them there is a seat, too.

    It looks at the `MOST_IN_TURN` who are next. Each takes the seat that it would have in its turn: another one may be
    the only one for somebody who comes before it.
    """
    trial = ledger.taking.copy()
    taken: dict[UUID, Options | None] = {}
    for row in _next(c, ledger, MOST_IN_TURN, set(), suspects=False):
        if trial.has_seat(row.waiting_list_id):
            about = trial.take(row.waiting_list_id)
            if row.id in wanted:
                taken[row.id] = about
    for about in taken.values():
        if about is not None:
            ledger.taking.take_of(about, 1)
    return _claim_with(c, owner, ledger, taken).rows


def _seat_row(ledger: Ledger, request_id: UUID, about: Options | None) -> Mapping[str, object]:
    text, wave = (None, None) if about is None else (ledger.texts[about], ledger.taking.seats[about].wave)
    return {"request_id": request_id, "its_seat": text, "wave": wave}


def _next(c: Connection, ledger: Ledger, most: int, busy: Collection[UUID], *, suspects: bool) -> Sequence[Any]:
    """Returns who of the lists with seats is next, as far as nobody before them can be missing."""
    open_lists = [list_id for list_id in ledger.doors if ledger.taking.has_seat(list_id)]
    if not open_lists:
        return ()
    each = most if len(open_lists) == 1 else max(LEAST, 2 * most // len(open_lists))
    each += len(busy)
    statements = _NEXT_SUSPECTS if suspects else _NEXT
    if c.dialect.name == "sqlite":
        found = [row for list_id in open_lists for row in statements.sqlite(c, list_id=list_id, each=each)]
    else:
        found = list(statements.postgresql(c, rows=lists.rows_of(open_lists), each=each))
    found.sort(key=turn)
    last: dict[UUID, tuple[int, Any]] = {}
    for row in found:
        last[row.waiting_list_id] = last.get(row.waiting_list_id, (0, None))[0] + 1, row
    # A list of which so many were found may have more, who come after its last one.
    until = min((turn(row) for n, row in last.values() if n == each), default=None)
    return [row for row in found if (until is None or turn(row) <= until) and row.id not in busy]

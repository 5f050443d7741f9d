"""Changes of many requests: what was previewed is what is done, once, and can be taken back."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import CUP, MUG, Shop
from worker.domain.outcomes import FailureCode
from worker.domain.returned import Cause
from worker.models import Action, ActionRequest, Status
from worker.services import acting
from worker.services.acting import Answer, Impossible, Runner
from worker.services.selection import Selection
from worker.store import actions, erasure, foreseeing, suppression
from worker.store.suppression import LEFT_ITEM

FAILED = Selection(status=Status.FAILED)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes chunks of two."""
    monkeypatch.setattr(acting, "CHUNK", 2)


def fail(shop: Shop, number: int = 1, *, code: str = "RETRIES_EXHAUSTED", ago: float = 60) -> list[UUID]:
    failed = shop.sign_up_many(number)
    shop.change(
        """UPDATE request SET status = 'FAILED', failure_code = :code, failure_reason = '450 4.2.2 full',
        failed_at = stockbell_now(-:ago), auto_notified = true, attempts = 5, unknowns = 1
        WHERE id IN ROWS(id uuid)""",
        rows=[{"id": id_} for id_ in failed],
        code=code,
        ago=ago,
    )
    return failed


def preview(shop: Shop, verb: str = "retry", selection: Selection = FAILED, **options: bool) -> UUID:
    return shop.write(acting.preview, "ada", verb, selection, **options)


def get(shop: Shop, action: UUID) -> actions.Action:
    found = shop.database.read(actions.get, action)
    assert found
    return found


def confirmed(shop: Shop, verb: str = "retry", selection: Selection = FAILED, **options: bool) -> UUID:
    action = preview(shop, verb, selection, **options)
    assert shop.write(acting.confirm, action, "ada") is Answer.DONE
    return action


def run(shop: Shop, runner: Runner | None = None, *, steps: int = 1000) -> Runner:
    runner = runner or Runner(shop.database)
    while steps and runner.step().is_any:
        steps -= 1
    return runner


def done(shop: Shop, verb: str = "retry", selection: Selection = FAILED, **options: bool) -> actions.Action:
    action = confirmed(shop, verb, selection, **options)
    run(shop)
    return get(shop, action)


def touched(shop: Shop, action: UUID) -> dict[UUID, str | None]:
    rows = shop.database.read(actions.requests_of, action, "all", UUID(int=0), 10_000)
    return {row.request_id: row.refusal for row in rows}


def state_of(shop: Shop) -> list[Any]:
    """Everything about requests but the number of their last change."""
    return [tuple(value for name, value in row._asdict().items() if name != "version") for row in shop.rows()]


# The preview


def test_a_preview_says_the_numbers_and_writes_nothing_else(shop: Shop) -> None:
    failed = [*fail(shop, 2), *fail(shop, code=FailureCode.OUTCOME_UNKNOWN)]
    shop.sign_up(CUP)
    before = state_of(shop)
    action = get(shop, preview(shop))
    assert state_of(shop) == before
    assert shop.count(ActionRequest) == 0
    assert (action.state, action.who, action.verb) == ("preview", "ada", "retry")
    assert action.foreseen["codes"] == {"RETRIES_EXHAUSTED": 2, "OUTCOME_UNKNOWN": 1}
    assert (action.foreseen["all"], action.foreseen["would"], action.foreseen["isExact"]) == (3, 2, True)
    assert [*action.foreseen["refused"].values()] == [1]
    assert {UUID(each) for each in action.foreseen["first"]} == set(failed)
    assert action.command == "stockbell retry --all"


def refusals(shop: Shop) -> None:
    """Makes failed requests of all kinds that are refused, and others."""
    fail(shop, 2)
    fail(shop, code="OUTCOME_UNKNOWN")
    fail(shop, code="SUPPRESSED")
    [superseded, twice] = fail(shop, 2)
    shop.sign_up(MUG, shop.row(superseded).email)
    again = shop.sign_up(MUG, shop.row(twice).email)
    shop.change("UPDATE request SET status = 'FAILED', failed_at = stockbell_now(-30) WHERE id = :id", id=again)
    [unwanted, left, unconfirmed] = fail(shop, 3)
    shop.write(suppression.suppress, [shop.row(unwanted).contact_id], Cause.MANUAL, "test")
    shop.change("UPDATE request SET failure_reason = :left WHERE id = :id", left=LEFT_ITEM, id=left)
    shop.change("UPDATE request SET not_before = '9999-01-01' WHERE id = :id", id=unconfirmed)
    shop.sign_up(CUP)
    shop.change("UPDATE request SET failure_code = 'UNCONFIRMED' WHERE id = :id", id=shop.sign_up(CUP))
    shop.change("UPDATE request SET status = 'PROCESSING' WHERE id = :id", id=shop.sign_up(CUP))
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id = :id", id=shop.sign_up(CUP))


@pytest.mark.parametrize("verb", acting.VERBS)
@pytest.mark.parametrize("force", [False, True])
def test_a_preview_foresees_just_what_is_done_then(shop: Shop, verb: str, force: bool) -> None:
    refusals(shop)
    selection = Selection(ids=tuple(row.id for row in shop.rows()))
    foreseen = get(shop, preview(shop, verb, selection, force=force)).foreseen
    action = done(shop, verb, selection, force=force)
    said = action.result["refused"]
    assert foreseen["refused"] == said
    assert foreseen["would"] == action.changed > 0
    assert sum(said.values()) == action.refused > 0
    if verb == "retry" and not force:
        assert len(said) == 9


def test_of_very_many_the_refusals_are_at_least_so_many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseeing, "MOST_JUDGED", 3)
    fail(shop, 5, code="OUTCOME_UNKNOWN")
    foreseen = get(shop, preview(shop)).foreseen
    assert (foreseen["all"], foreseen["would"], foreseen["isExact"], foreseen["isCounted"]) == (5, 5, False, True)
    assert foreseen["codes"] == {"OUTCOME_UNKNOWN": 5}
    told = shop.sign_up_many(5, CUP)
    shop.change(
        "UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id IN ROWS(id uuid)", rows=[{"id": i} for i in told]
    )
    foreseen = get(shop, preview(shop, "delete", Selection(status=Status.NOTIFICATION_SENT))).foreseen
    assert (foreseen["all"], foreseen["isCounted"]) == (3, False)


@pytest.mark.parametrize(
    ("verb", "selection"),
    [
        ("retry", Selection(status=Status.RECEIVED)),
        ("retry", Selection(waiting="soldOut")),
        ("mark-sent", Selection()),
        ("delete", Selection(status=Status.PROCESSING)),
        ("explode", FAILED),
    ],
)
def test_what_a_verb_can_not_change_is_refused_before_there_is_a_preview(
    shop: Shop, verb: str, selection: Selection
) -> None:
    with pytest.raises(Impossible):
        preview(shop, verb, selection)
    assert shop.count(Action) == 0


def test_the_audit_trail_has_no_address(shop: Shop) -> None:
    [failed] = fail(shop)
    row = shop.row(failed)
    action = get(shop, preview(shop, "retry", Selection(status=Status.FAILED, email=row.email)))
    assert (action.contact_id, action.foreseen["all"]) == (row.contact_id, 1)
    assert "@" not in json.dumps([action.about, action.command])
    assert f"--contact {row.contact_id}" in (action.command or "")
    nobody = get(shop, preview(shop, "retry", Selection(status=Status.FAILED, email="nobody@example.com")))
    assert nobody.foreseen["all"] == 0
    assert shop.write(acting.confirm, nobody.id, "ada") is Answer.NOBODY


# The run


def test_what_fails_after_the_preview_is_left_alone(shop: Shop, few: None) -> None:
    failed = fail(shop, 5)
    action = preview(shop)
    later = fail(shop, 4, ago=-60)
    assert shop.write(acting.confirm, action, "ada") is Answer.DONE
    run(shop)
    assert {shop.status(id_) for id_ in failed} == {Status.RECEIVED}
    assert {shop.status(id_) for id_ in later} == {Status.FAILED}
    assert get(shop, action).changed == 5
    assert set(touched(shop, action)) == set(failed)


def test_what_fails_again_while_it_runs_is_not_touched_twice(shop: Shop, few: None) -> None:
    failed = fail(shop, 5)
    action = confirmed(shop)
    runner = run(shop, steps=1)
    again = next(id_ for id_ in failed if shop.status(id_) is Status.RECEIVED)
    shop.change("UPDATE request SET status = 'FAILED', failed_at = stockbell_now(1) WHERE id = :id", id=again)
    run(shop, runner)
    assert shop.status(again) is Status.FAILED
    assert get(shop, action).changed == 5


def test_one_that_was_picked_and_has_failed_again_is_refused(shop: Shop) -> None:
    [failed] = fail(shop)
    action = preview(shop, selection=Selection(ids=(failed,)))
    shop.change("UPDATE request SET failed_at = stockbell_now(1)")
    assert shop.write(acting.confirm, action, "ada") is Answer.DONE
    run(shop)
    assert list(touched(shop, action).values()) == ["it has failed again since the preview"]


def test_what_was_done_or_deleted_meanwhile_is_said(shop: Shop, few: None) -> None:
    failed = fail(shop, 5)
    action = confirmed(shop)
    shop.change("DELETE FROM request WHERE id = :id", id=failed[0])
    shop.change("UPDATE request SET status = 'RECEIVED', failed_at = NULL WHERE id = :id", id=failed[1])
    run(shop)
    found = get(shop, action)
    assert (found.state, found.changed, found.result["gone"]) == ("done", 3, 2)
    picked = done(shop, selection=Selection(ids=tuple(failed[:2])), verb="mark-sent")
    assert picked.result["refused"] == {"no such request": 1}


def test_failures_that_an_older_program_did_not_date_are_not_forgotten(shop: Shop, few: None) -> None:
    fail(shop, 5)
    shop.change("UPDATE request SET failed_at = NULL WHERE id IN (SELECT id FROM request LIMIT 3)")
    assert done(shop).changed == 5


def test_a_retry_keeps_its_mails_back_for_ten_seconds(shop: Shop) -> None:
    fail(shop, 2)
    done(shop)
    assert {shop.waiting_for(row.id) for row in shop.rows()} == {"backoff"}
    assert {0 < (row.not_before - shop.now()).total_seconds() <= 10 for row in shop.rows()} == {True}


def test_an_action_confirmed_twice_runs_once(shop: Shop, few: None) -> None:
    fail(shop, 3)
    action = preview(shop)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda who: shop.write(acting.confirm, action, who), ["ada", "bob", "ada", "bob"]))
    assert sorted(answers, key=str) == [Answer.ALREADY] * 3 + [Answer.DONE]
    run(shop)
    assert shop.write(acting.confirm, action, "ada") is Answer.ALREADY
    assert (get(shop, action).changed, len(touched(shop, action))) == (3, 3)
    assert get(shop, action).options["confirmedBy"] in ("ada", "bob")


def test_a_large_number_is_typed_and_an_old_preview_is_made_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "TYPED_FROM", 2)
    fail(shop, 3)
    action = preview(shop)
    for typed in ("", "2", "33", "three"):
        assert shop.write(acting.confirm, action, "ada", typed) is Answer.WRONG_NUMBER
    shop.change("UPDATE action SET at = stockbell_now(-3601)")
    assert shop.write(acting.confirm, action, "ada", "3") is Answer.EXPIRED
    shop.change("UPDATE action SET at = stockbell_now(0)")
    assert shop.write(acting.confirm, action, "ada", " 3 ") is Answer.DONE
    assert shop.write(acting.confirm, uuid4(), "ada", "3") is Answer.NOBODY


def test_whoever_lost_the_lease_writes_nothing_more(shop: Shop, few: None) -> None:
    fail(shop, 5)
    action = confirmed(shop)
    first = run(shop, steps=1)
    stale = get(shop, action)
    second = Runner(shop.database)
    assert not second.step().is_any
    shop.change("UPDATE action SET lease_until = stockbell_now(-1)")
    assert second.step().is_any
    before = state_of(shop)
    assert shop.write(acting._chunk, stale, first.owner).is_any
    assert state_of(shop) == before
    run(shop, second)
    assert (get(shop, action).changed, len(touched(shop, action))) == (5, 5)


def test_a_process_that_ends_gives_back_what_it_was_at(shop: Shop, few: None) -> None:
    fail(shop, 5)
    action = confirmed(shop)
    run(shop, steps=1).release()
    run(shop)
    assert get(shop, action).state == "done"


def test_a_fault_of_ours_ends_one_action_and_not_all(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(shop, 2)
    bad, good = confirmed(shop), confirmed(shop)
    shop.change('UPDATE action SET about = \'{"status": ["FAILED"], "id": 1}\' WHERE id = :id', id=bad)
    run(shop)
    assert (get(shop, bad).state, get(shop, good).state) == ("failed", "done")


def test_a_small_action_does_not_wait_for_a_large_one(shop: Shop, few: None) -> None:
    failed = fail(shop, 9)
    large = confirmed(shop)
    runner = run(shop, steps=1)
    left = next(id_ for id_ in failed if shop.status(id_) is Status.FAILED)
    small = confirmed(shop, selection=Selection(ids=(left,)))
    run(shop, runner, steps=2)
    assert (get(shop, large).state, get(shop, small).state) == ("running", "done")


# Stop and undo


def test_a_stop_takes_effect_between_two_chunks(shop: Shop, few: None) -> None:
    fail(shop, 5)
    action = confirmed(shop)
    runner = run(shop, steps=1)
    assert shop.write(acting.stop, action, "bob") is Answer.DONE
    run(shop, runner)
    found = get(shop, action)
    assert (found.state, found.changed, found.options["stoppedBy"]) == ("stopped", 2, "bob")
    assert shop.write(acting.stop, action, "bob") is Answer.ALREADY
    assert shop.write(acting.stop, uuid4(), "bob") is Answer.NOBODY


@pytest.mark.parametrize("verb", ["retry", "report", "mark-sent"])
def test_an_undo_in_time_brings_everything_back(shop: Shop, few: None, verb: str) -> None:
    fail(shop, 3)
    waiting = shop.sign_up_many(3, CUP)
    shop.change("UPDATE request SET not_before = stockbell_now(900) WHERE id = :id", id=waiting[0])
    before = state_of(shop)
    selection = Selection(status=Status.RECEIVED) if verb == "report" else FAILED
    action = done(shop, verb, selection)
    assert state_of(shop) != before
    assert shop.write(acting.undo, action.id, "ada") is Answer.DONE
    assert get(shop, action.id).is_undone_now
    run(shop)
    assert state_of(shop) == before
    found = get(shop, action.id)
    assert (found.state, found.result["undone"], found.result["late"]) == ("undone", 3, 0)
    assert shop.write(acting.undo, action.id, "ada") is Answer.ALREADY


def test_who_waits_again_after_an_undo_waits_once_and_wants_mail(shop: Shop) -> None:
    free, again, unwanted = shop.sign_up_many(3)
    action = done(shop, "mark-sent", Selection(status=Status.RECEIVED))
    shop.sign_up(MUG, shop.row(again).email)
    shop.write(suppression.suppress, [shop.row(unwanted).contact_id], Cause.MANUAL, "test")
    assert shop.write(acting.undo, action.id, "ada") is Answer.DONE
    run(shop)
    assert [shop.status(id_) for id_ in (free, again, unwanted)] == [
        Status.RECEIVED,
        Status.NOTIFICATION_SENT,
        Status.NOTIFICATION_SENT,
    ]
    assert get(shop, action.id).result["late"] == 2


def test_an_undo_brings_nothing_back_of_who_was_erased(shop: Shop) -> None:
    (failed,) = fail(shop)
    shop.change("UPDATE request SET failure_reason = '550 Secret is away', receipt = 'ok Secret'")
    action = done(shop, "mark-sent")
    kept = "SELECT before FROM action_request"
    assert "Secret" in shop.ask(kept)[0].before
    shop.write(erasure.erase, shop.row(failed).contact_id, None)
    assert shop.ask(kept)[0].before is None, "it would stay for 90 days"
    assert shop.write(acting.undo, action.id, "ada") is Answer.DONE
    run(shop)
    found = get(shop, action.id)
    assert (found.state, found.result["undone"], found.result["late"]) == ("undone", 0, 1)
    assert (shop.row(failed).status, shop.row(failed).failure_reason) == (Status.NOTIFICATION_SENT, None)


@pytest.mark.parametrize("meanwhile", ["suppressed", "erased"])
@pytest.mark.parametrize("verb", ["retry", "report", "mark-sent"])
def test_after_an_undo_nobody_waits_who_wants_no_mail(shop: Shop, verb: str, meanwhile: str) -> None:
    (id_,) = shop.sign_up_many(1) if verb != "retry" else fail(shop)
    action = done(shop, verb, FAILED if verb == "retry" else Selection(status=Status.RECEIVED))
    contact = shop.row(id_).contact_id
    if meanwhile == "erased":
        shop.write(erasure.erase, contact, None)
    else:
        shop.write(suppression.suppress, [contact], Cause.MANUAL, "test")
    assert shop.write(acting.undo, action.id, "ada") is Answer.DONE
    run(shop)
    assert get(shop, action.id).state == "undone"
    assert shop.status(id_) is not Status.RECEIVED


def test_what_can_not_be_read_any_more_is_not_done(shop: Shop) -> None:
    """A code that a later version does not know must not make it all that failed."""
    fail(shop, 2)
    action = confirmed(shop, selection=Selection(status=Status.FAILED, code="RETRIES_EXHAUSTED"))
    shop.change('UPDATE action SET about = \'{"status": "FAILED", "code": "OLD_CODE"}\'')
    run(shop)
    assert (get(shop, action).state, get(shop, action).changed) == ("failed", 0)


def test_an_undo_leaves_what_was_claimed_meanwhile(shop: Shop) -> None:
    failed = fail(shop, 4)
    shop.tell()
    action = done(shop)
    shop.end_back_offs()
    assert len(shop.claim(shop.owner(), most=2).claims) == 2
    assert shop.write(acting.undo, action.id, "ada") is Answer.DONE
    run(shop)
    found = get(shop, action.id)
    assert (found.result["undone"], found.result["late"]) == (2, 2)
    assert sorted(shop.status(id_) for id_ in failed) == ["FAILED", "FAILED", "PROCESSING", "PROCESSING"]


def test_an_undo_in_the_middle_stops_the_run_first(shop: Shop, few: None) -> None:
    fail(shop, 5)
    before = state_of(shop)
    action = confirmed(shop)
    runner = run(shop, steps=1)
    stale = get(shop, action)
    assert shop.write(acting.undo, action, "ada") is Answer.DONE
    shop.write(acting._chunk, stale, runner.owner)
    run(shop)
    assert state_of(shop) == before
    assert (get(shop, action).state, get(shop, action).result["undone"]) == ("undone", 2)


def test_it_is_too_late_to_undo_after_a_while_and_never_possible_for_a_deletion(shop: Shop) -> None:
    fail(shop, 2)
    action = done(shop)
    shop.change("UPDATE action SET undo_until = stockbell_now(-1)")
    assert shop.write(acting.undo, action.id, "ada") is Answer.EXPIRED
    fail(shop, 2)
    deleted = done(shop, "delete")
    assert (deleted.changed, deleted.undo_until) == (2, None)
    assert shop.write(acting.undo, deleted.id, "ada") is Answer.NOBODY
    assert shop.write(acting.undo, uuid4(), "ada") is Answer.NOBODY


# What is forgotten


def test_what_is_too_old_is_forgotten(shop: Shop) -> None:
    fail(shop, 2)
    action, kept = done(shop), preview(shop, selection=Selection(status=Status.FAILED, code="BOUNCED"))
    shop.write(actions.tidy)
    assert (shop.count(Action), shop.count(ActionRequest)) == (2, 2)
    age(shop, action.id, 100)
    age(shop, kept, 2)
    shop.write(actions.tidy)
    assert (shop.count(Action), shop.count(ActionRequest)) == (1, 0)
    age(shop, shop.ask("SELECT id FROM action", id="uuid")[0].id, 400)
    shop.write(actions.tidy)
    assert shop.count(Action) == 0


def age(shop: Shop, action: UUID, days: int) -> None:
    """Makes an action so old: its id tells its time."""
    old = UUID(int=action.int - ((days * 86_400_000) << 80))
    copied = shop.ask(f"SELECT {actions._COLUMNS} FROM action", **actions._TYPES)
    columns: Sequence[str] = copied[0]._fields
    names = ", ".join(columns)
    shop.change(
        f"INSERT INTO action ({names}) SELECT {names.replace('id,', ':new,', 1)} FROM action WHERE id = :id",
        new=old,
        id=action,
    )
    shop.change("UPDATE action_request SET action_id = :new WHERE action_id = :id", new=old, id=action)
    shop.change("DELETE FROM action WHERE id = :id", id=action)

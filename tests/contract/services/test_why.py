"""Why somebody was told or was not, after real runs through the store's verbs. On SQLite and PostgreSQL."""

import json
import shlex
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from tests.contract.lines import NotedBell
from tests.contract.reporting import report, return_token, take, told_together
from tests.contract.shop import CUP, LEASE, MUG, Shop, ref
from worker import cli
from worker.cli import session
from worker.domain import reply_rules
from worker.domain.catalog import CatalogReference
from worker.domain.errors import BadAddress, Refused
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.returned import Cause, Kind
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.services import item_policies, why
from worker.services.intake import take_events
from worker.services.story import Story
from worker.store import actions, admin, breaker, erasure, pauses, recording, requests, suppression
from worker.store.claims import Claim
from worker.store.recording import Ended, Ends, Try
from worker.store.sql import Sql

LARGE, SMALL = ref("mug-1", Size="L"), ref("mug-1", Size="S")
JANE = "jane@example.com"
RULES = reply_rules.shipped()
_DONE_TO = Sql("INSERT INTO action_request (action_id, request_id) VALUES (:action, :request)")


def story(shop: Shop, request_id: UUID) -> Story:
    return why.story(shop.database, request_id, rules=RULES)


def words(told: Story) -> str:
    return " | ".join(moment.words for moment in told.moments)


def say(shop: Shop, reference: CatalogReference = MUG, *, quantity: int = 5) -> None:
    """An event that happens now."""
    number = int(shop.now().timestamp() * 1000)
    event = replace(shop.event(reference, at=shop.now()), in_stock=None, quantity=quantity, entry_id=f"{number}-0")
    take_events(shop.database, [replace(event, event_id=f"evt-{quantity}")])


def claim(shop: Shop, reference: CatalogReference = MUG) -> Claim:
    (claimed,) = shop.claim(shop.owner(), reference).claims
    return claimed


def record(shop: Shop, ends: Ends) -> None:
    assert shop.write(recording.record, ends)


def refuse(shop: Shop, claimed: Claim, reply: str, *, code: str | None = None) -> None:
    ended = Ended(claimed, Tries(1), code, reply, 3600)
    entry = Try(claimed, "rejected" if code else "deferred", None, None, reply)
    record(shop, Ends(failed=[ended], log=[entry]) if code else Ends(deferred=[ended], log=[entry]))


def test_the_whole_way_of_one_who_was_told(shop: Shop) -> None:
    request_id = shop.sign_up(LARGE, JANE)
    say(shop, SMALL, quantity=3)
    assert "was about Size: S, and they wait for Size: L" in story(shop, request_id).sentence
    say(shop, LARGE)
    assert story(shop, request_id).sentence.endswith("but no worker is running.")
    claimed = claim(shop, LARGE)
    assert story(shop, request_id).sentence.startswith("Is being told now: a worker took it")
    refuse(shop, claimed, "452 4.2.2 mailbox full")
    waits = story(shop, request_id)
    assert "the relay put its mail off (“452 4.2.2 mailbox full”), and it is tried again on" in waits.sentence
    shop.end_back_offs()
    record(shop, Ends(told=[claim(shop, LARGE)], receipts=["2.0.0 Ok: queued as 4bXq"]))
    told = story(shop, request_id)
    assert told.sentence.startswith("Told on ")
    assert told.sentence.endswith(" s after the restock.")
    assert words(told) == (
        "Asked to be told about mug-1 (Size: L). | "
        'mug-1 (Size: S) came in stock: 3 pieces. This did not count here: they want Size="L", the event says "S". | '
        "mug-1 (Size: L) came in stock: 5 pieces. This woke the request. | "
        "The relay put the mail off. It is tried again later. | "
        "Told: the relay took the mail."
    )
    assert told.moments[-1].quote == "2.0.0 Ok: queued as 4bXq"
    assert told.path == {"claim", "back", "tell"}


def test_one_who_is_sold_out_before_the_mail_sees_both_events(shop: Shop) -> None:
    request_id = shop.sign_up()
    say(shop)
    say(shop, quantity=0)
    told = story(shop, request_id)
    assert "is sold out since" in told.sentence
    assert told.sentence.endswith("when an event said 0.")
    assert told.place == "The only one in line for mug-1."


def test_whom_a_lower_minimum_woke_sees_who_set_it(shop: Shop) -> None:
    others = item_policies.Wish(values={"min_quantity": 2})
    item_policies.change(shop.database, NotedBell(), CUP.item, others, NO_POLICIES, "ben")
    request_id = shop.sign_up()
    take_events(
        shop.database, [replace(shop.event(at=shop.now()), in_stock=None, quantity=2)], Policies(min_quantity=3)
    )
    wish = item_policies.Wish(values={"min_quantity": 2})
    item_policies.change(shop.database, NotedBell(), MUG.item, wish, Policies(min_quantity=3), "ada")
    told = story(shop, request_id)
    assert words(told).endswith(
        "mug-1 counted as out of stock: 2 pieces. | "
        "mug-1 came in stock, since its policies were changed. This woke the request."
    )
    assert told.moments[-1].note == "By ada: `stockbell items set mug-1 --min-quantity 2`."


def test_the_place_counts_who_is_claimed_before(shop: Shop) -> None:
    first, second, third = (shop.sign_up() for _ in range(3))
    shop.write(admin.report, [third])
    assert [story(shop, each).place for each in (third, first, second)] == [
        "1st of 3 in line for mug-1.",
        "2nd of 3 in line for mug-1.",
        "3rd of 3 in line for mug-1.",
    ]


def test_the_place_goes_by_priority_and_names_it(shop: Shop) -> None:
    ids = [shop.sign_up() for _ in range(3)]
    shop.change("UPDATE request SET priority = 5 WHERE id = :id", id=ids[1])
    assert [story(shop, each).place for each in ids] == [
        "2nd of 3 in line for mug-1.",
        "1st of 3 in line for mug-1, with priority 5.",
        "3rd of 3 in line for mug-1.",
    ]


def test_counts_of_the_line_stop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.store.stories.MOST_COUNTED", 2)
    monkeypatch.setattr("worker.services.story.MOST_COUNTED", 2)
    first, *_, last = (shop.sign_up() for _ in range(4))
    assert story(shop, first).place == "1st of over 2 in line for mug-1."
    assert (story(shop, last).place or "").startswith("More than 2 are told before this one")


def test_a_pause_names_who_paused(shop: Shop) -> None:
    request_id = shop.sign_up()

    def pause(c: Any) -> None:
        pauses.pause(c, MUG)
        actions.note(c, "ada", "pause", {"item": "mug-1"})

    shop.write(pause)
    assert story(shop, request_id).sentence.endswith(", by ada.")
    shop.write(pauses.pause, None)
    assert "for everything since" in story(shop, request_id).sentence


def test_a_relay_that_is_down_is_named_with_its_words(shop: Shop) -> None:
    request_id = shop.sign_up()
    say(shop)
    shop.write(breaker.trip, "535 5.7.8 login refused", "configuration")
    assert "no mail can be sent since" in story(shop, request_id).sentence
    assert "“535 5.7.8 login refused”" in story(shop, request_id).sentence


def test_what_admins_did_is_told_with_who_did_it(shop: Shop) -> None:
    request_id = shop.sign_up()
    say(shop)
    refuse(shop, claim(shop), "550 5.1.1 no such user", code="RECIPIENT_REJECTED")
    assert "Not told: the relay refused the address on" in story(shop, request_id).sentence

    def retry(c: Any) -> None:
        assert admin.retry(c, [request_id], ordered=True, force=False).ids
        action_id = actions.note(c, "ada", "retry", {"ids": [str(request_id)]}, options={"ordered": True})
        _DONE_TO(c, action=action_id, request=request_id)

    shop.write(retry)
    told = story(shop, request_id)
    assert "ada ordered on" in told.sentence
    assert "ada put it back in line (whatever the stock)." in words(told)
    assert "retry" in told.path


def test_suppression_is_told_with_its_source_and_its_end(shop: Shop) -> None:
    request_id = shop.sign_up(MUG, JANE)
    contact_id = shop.row(request_id).contact_id
    shop.write(suppression.suppress, [contact_id], Cause.COMPLAINED, "imap")
    told = story(shop, request_id)
    assert "the customer called a mail spam, as imap told, on" in told.sentence
    assert told.path == {"end"}

    def lift(c: Any) -> None:
        suppression.lift(c, [JANE], None)
        actions.note(c, "ada", "unsuppress", {}, contact_id=contact_id)

    shop.write(lift)
    assert "ada ended the suppression: the customer gets mail again." in words(story(shop, request_id))


def test_what_came_back_is_told(shop: Shop) -> None:
    request_id = shop.sign_up()
    say(shop)
    claimed = claim(shop)
    record(shop, Ends(told=[claimed]))
    take(shop, report(Kind.DEAD, return_token(claimed)), source="imap")
    told = story(shop, request_id)
    assert "The relay took the mail on" in told.sentence
    assert told.path == {"claim", "tell", "bounce"}
    assert "the mail did not arrive, and the address is dead" in words(told)


def test_an_erased_customer_has_no_words_left(shop: Shop) -> None:
    request_id = shop.sign_up(MUG, JANE)
    contact_id = shop.row(request_id).contact_id
    shop.write(erasure.erase, contact_id, None)
    told = story(shop, request_id)
    assert JANE not in repr(told)
    assert "as erase told" in told.sentence


def test_a_request_that_is_gone_is_refused(shop: Shop) -> None:
    request_id = shop.sign_up()
    shop.write(requests.remove, request_id)
    for gone in (request_id, uuid4()):
        with pytest.raises(Refused, match=f"no such request: {gone}"):
            story(shop, gone)


# Several in one mail


def test_all_that_one_mail_told_of_name_it(shop: Shop) -> None:
    first, other, last = told_together(shop)
    told_together(shop, 2, "john@example.com")
    assert story(shop, first.id).sentence.endswith(" Its mail told of 2 other requests as well.")
    for each in (other, last):
        told = story(shop, each.id)
        assert told.sentence.endswith(f" It was told in the same mail as 2 others: that of request {first.id}.")
        assert told.mail_id == first.id


def test_what_came_back_for_the_mail_is_in_the_story_of_each(shop: Shop) -> None:
    first, other = told_together(shop, 2)
    take(shop, report(Kind.FAILED, return_token(first)))
    told = story(shop, other.id)
    assert "came back" in told.sentence
    assert next(each.note for each in told.moments if "A report came back" in each.words) == "It came in by maildir."
    assert "bounce" in told.path


def test_others_are_counted_as_far_as_they_are_there_and_told_by_that_mail(shop: Shop) -> None:
    first, other, last = told_together(shop)
    shop.change("UPDATE request SET notified_date = stockbell_now(-3600) WHERE id = :id", id=other.id)
    assert "told of 1 other request" in story(shop, first.id).sentence
    shop.write(requests.remove, first.id)
    assert story(shop, last.id).sentence.endswith(
        f"in the same mail as 1 other: that of request {first.id}, which was deleted since."
    )


def test_who_waits_again_names_no_mail(shop: Shop) -> None:
    first, other = told_together(shop, 2)
    take(shop, report(Kind.FAILED, return_token(first)))
    shop.write(admin.retry, [other.id], ordered=True, force=False)
    told = story(shop, other.id)
    assert (told.mail_id, "same mail" in told.sentence) == (None, False)


# By address


def find(shop: Shop, address: str, reference: CatalogReference | None = None, **how: Any) -> why.Answer:
    return why.find(shop.database, address, reference, rules=RULES, **how)


def test_an_address_and_an_item_lead_to_the_story(shop: Shop) -> None:
    wanted, other = shop.sign_up(LARGE, JANE), shop.sign_up(CUP, JANE)
    for asked in (LARGE, MUG):
        found = find(shop, " Jane <JANE@example.com> ", asked)
        assert found.story
        assert (found.story.request.id, [row.id for row in found.nearest]) == (wanted, [other])
    assert [row.id for row in find(shop, JANE).requests] == [other, wanted]


def test_one_that_waits_is_told_before_a_newer_one_that_ended(shop: Shop) -> None:
    waits = shop.sign_up(LARGE, JANE)
    ended = shop.sign_up(SMALL, JANE)
    shop.write(admin.mark_sent, [ended])
    found = find(shop, JANE, MUG)
    assert found.story
    assert found.story.request.id == waits


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (SMALL, "The customer asked for Size: L, not for Size: S."),
        (
            CUP,
            "The customer never asked for an item with the id cup-1, or it was deleted. "
            "They asked for mug-1 (Size: L).",
        ),
    ],
)
def test_who_asked_for_something_else_is_told_so(shop: Shop, asked: CatalogReference, says: str) -> None:
    shop.sign_up(LARGE, JANE)
    found = find(shop, JANE, asked)
    assert (found.story, list(found.sentences)) == (None, [says])


def test_whoever_asks_by_the_name_is_told_the_id(shop: Shop) -> None:
    shop.sign_up(CUP, JANE)
    shop.sign_up(MUG, JANE)
    shop.tell(MUG, name="Blue mug")
    found = find(shop, JANE, ref("blue MUG"))
    assert list(found.sentences) == ["blue MUG is a name: the id of that item is mug-1."]
    (says,) = find(shop, JANE, ref("pan-1")).sentences
    assert says.endswith("They asked for Blue mug (its id is mug-1), cup-1.")


def test_who_is_known_but_has_no_request_is_told_so(shop: Shop) -> None:
    request_id = shop.sign_up(MUG, JANE)
    shop.write(suppression.suppress, [shop.row(request_id).contact_id], Cause.UNSUBSCRIBED, "link")
    shop.write(requests.remove, request_id)
    first, second = find(shop, JANE).sentences
    assert first.startswith("The customer gets no mail since ")
    assert first.endswith("they left by their own wish, as link told.")
    assert "has no request now. A deleted request leaves no trace." in second


def test_another_spelling_is_named_with_its_requests(shop: Shop) -> None:
    request_id = shop.sign_up(MUG, JANE)
    found = find(shop, "jane+shop@example.com", MUG)
    assert "Nobody with this address has asked" in found.sentences[0]
    assert [(other.address, [row.id for row in other.requests]) for other in found.others] == [(JANE, [request_id])]


def test_an_address_that_was_erased_while_suppressed_is_recognised_by_its_key(shop: Shop) -> None:
    tokens = Tokens([b"k" * 32])
    contact_id = shop.row(shop.sign_up(MUG, JANE)).contact_id
    shop.write(suppression.suppress, [contact_id], Cause.COMPLAINED, "imap")
    shop.write(erasure.erase, contact_id, tokens)
    assert find(shop, JANE, tokens=tokens).sentences == [
        "A customer with this address was erased. They called a mail spam, and get no mail."
    ]
    assert "Nobody with this address" in find(shop, JANE).sentences[0]


def test_an_address_that_is_none_is_refused(shop: Shop) -> None:
    with pytest.raises(BadAddress):
        find(shop, "jane")


# The commands


@pytest.fixture
def shop_of_commands(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    parts = SimpleNamespace(
        database=shop.database, settings=SimpleNamespace(lease_seconds=LEASE), reply_rules=RULES, tokens=None
    )
    monkeypatch.setattr(session, "ready_parts", lambda: parts)
    return shop


def run(line: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, shlex.split(line))
    return done.exit_code, done.output


def test_the_command_tells_the_story_in_lines_of_80(shop_of_commands: Shop) -> None:
    shop = shop_of_commands
    request_id = shop.sign_up(LARGE, JANE)
    say(shop, SMALL)
    code, text = run(f"why {JANE} mug-1")
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert f"request {request_id}" in text
    assert "This did not count here" in " ".join(text.split())
    assert run(f"why {request_id}") == (0, text)
    assert run(f"requests show {request_id}")[1].endswith(text[text.index("Waits since") :])


def test_the_command_has_json_for_programs(shop_of_commands: Shop) -> None:
    request_id = shop_of_commands.sign_up(LARGE, JANE)
    code, text = run(f"why {JANE} mug-1 --option size=l --json")
    found = json.loads(text)
    assert (code, found["found"], found["request"]["id"]) == (0, True, str(request_id))
    assert [moment["words"] for moment in found["story"]] == ["Asked to be told about mug-1 (Size: L)."]
    assert json.loads(run(f"requests show {request_id} --json")[1])["why"]["sentence"] == found["sentence"]


def test_the_commands_name_the_request_whose_mail_it_was(shop_of_commands: Shop) -> None:
    first, other = told_together(shop_of_commands, 2)
    take(shop_of_commands, report(Kind.FAILED, return_token(first)))
    shown = json.loads(run(f"requests show {other.id} --json")[1])
    assert shown["mailId"] == shown["why"]["mailId"] == str(first.id)
    assert [each["requestId"] for each in shown["cameBack"]] == [str(first.id)]
    told = json.loads(run(f"why {other.id} --json")[1])
    assert (told["mailId"], "mailId" in told["request"]) == (str(first.id), False)
    assert f"mailId {first.id}" in " ".join(run(f"requests show {other.id}")[1].split())
    assert "mailId" not in run(f"requests show {first.id} --json")[1]
    assert "told of 1 other request" in " ".join(run(f"why {first.id}")[1].split())


def test_nobody_found_is_exit_1_and_names_what_is_near(shop_of_commands: Shop) -> None:
    shop_of_commands.sign_up(LARGE, JANE)
    code, text = run(f"why {JANE} mug-1 --option size=S")
    assert (code, "asked for Size: L, not for size: S" in text, "RECEIVED noStock" in text) == (1, True, True)
    code, text = run("why jane+x@example.com")
    assert (code, "Another spelling of the address, jane@example.com" in text) == (1, True)
    code, text = run("why jane+x@example.com --json")
    assert (code, json.loads(text)["otherSpellings"][0]["address"]) == (1, JANE)


def test_the_terminal_is_not_controlled_by_names(shop_of_commands: Shop) -> None:
    request_id = shop_of_commands.sign_up(MUG, JANE)
    shop_of_commands.change("UPDATE item SET name = :name", name="Mug \x1b[31m\u202e")
    assert "\x1b" not in run(f"why {request_id}")[1]
    assert "\u202e" not in run(f"why {request_id}")[1]


def test_the_outcome_of_a_try_is_told_after_it(shop: Shop) -> None:
    [claim] = shop.claimed()[1]
    ends = Ends(failed=[Ended(claim, Tries(1), "RECIPIENT_REJECTED", "550 5.1.1 no")])
    ends.log = [Try(claim, "rejected", 550, "5.1.1", "550 5.1.1 no")]
    shop.write(recording.record, ends)
    words = [moment.words for moment in why.story(shop.database, claim.id).moments]
    assert words[-2:] == ["The relay refused the mail.", "The request failed: RECIPIENT_REJECTED."]

"""The sentences about one request: why it waits, how it ended, and what happened. Each is read as people read it."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import pytest

from worker.domain import reply_rules
from worker.domain.catalog import WIX_STORES
from worker.domain.outcomes import INTERVAL, TEMPLATE_ERROR, FailureCode
from worker.domain.stock import Level
from worker.services.story import Story, tell
from worker.services.story_words import item_arguments, ordinal, span_words
from worker.store.stories import MOST_COUNTED, Known, Line, Pause, Together

ID: Final = UUID("01900000-0000-7000-8000-000000000001")
NOON: Final = datetime(2026, 5, 3, 12, tzinfo=UTC)
RULES: Final = reply_rules.shipped()


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def request(**changed: Any) -> Any:
    """A request for size L that was made at noon, and waits."""
    names = (
        *("notified_date", "ordered_at", "not_before", "claimed_at", "failure_code", "failure_reason", "failed_at"),
        *("receipt", "signup", "last_in_stock_at", "woken_at", "confirmed_at", "suppressed_at", "suppressed_why"),
        *("suppressed_by", "auto_notified", "item_url", "locale", "given", "opens_at", "settles_at", "seat_wave"),
        "mail_id",
    )
    row = dict.fromkeys(names) | {
        **{"id": ID, "waiting_list_id": ID, "contact_id": ID, "item_id": ID, "email": "jane@example.com"},
        **{"status": "RECEIVED", "waiting": "noStock", "created_date": NOON, "now": at(60)},
        **{"priority": 0, "claim_no": 0, "attempts": 0, "unknowns": 0, "rescues": 0, "in_stock": False},
        **{"options": '{"Size":"L"}', "options_key": '{"size":"l"}'},
        **{"app_id": WIX_STORES, "catalog_item_id": "mug-1", "name": "Blue mug"},
    }
    return SimpleNamespace(**(row | changed))


def event(minutes: float, *, in_stock: bool = True, size: str | None = "L", quantity: int | None = 5) -> Any:
    options = {} if size is None else {"Size": size}
    return SimpleNamespace(
        options=json.dumps(options),
        at=at(minutes),
        occurred_at=at(minutes),
        entry_id="1-0",
        event_id=f"evt-{minutes:g}",
        in_stock=in_stock,
        quantity=quantity,
        woke=0,
    )


def story(row: Any, *, events: tuple[Any, ...] = (), **known: Any) -> Story:
    """The story of a row. Events are given oldest first."""
    rest: dict[str, Any] = {
        **{"attempts": (), "reports": (), "actions": (), "confirmation": None, "pauses": (), "levels": {}},
        **{
            "relay": SimpleNamespace(state="closed", since=None, reason=None, probe_at=None),
            "workers": 1,
            "line": None,
        },
    }
    return tell(Known(row, tuple(reversed(events)), **(rest | known)), RULES)


def words(told: Story) -> list[str]:
    return [moment.words for moment in told.moments]


def action(verb: str, **changed: Any) -> Any:
    row = {"at": at(20), "who": "ada", "verb": verb, "options": "{}", "state": "done", "refusal": None}
    return SimpleNamespace(**(row | {"undone_at": None} | changed))


def attempt(kind: str, reply: str, minutes: float = 5) -> Any:
    return SimpleNamespace(at=at(minutes), event=kind, smtp_code=None, enhanced_code=None, reply=reply)


# Why it waits


def test_who_waits_for_the_end_of_quiet_hours_is_told_until_when() -> None:
    told = story(request(waiting="quietHours", quiet_until=at(60)), events=(event(5),))
    assert told.sentence.endswith("it is due, and quiet hours hold all mails until 3 May 2026 13:00:00 UTC.")
    assert told.moves[0] == "Nothing has to be done: mails go out again on 3 May 2026 13:00:00 UTC."


def test_who_waits_since_nothing_came_back_is_told_so() -> None:
    told = story(request())
    assert told.sentence == (
        "Waits since 3 May 2026 12:00:00 UTC: Blue mug (Size: L) has not come back in stock since."
    )
    assert told.moves[0] == "They would be told after the next in-stock event for Size: L of Blue mug."


def test_an_event_about_another_variant_is_said_not_to_count() -> None:
    told = story(request(), events=(event(5, size="M"),))
    assert told.sentence.endswith("the event of 3 May 2026 12:05:00 UTC was about Size: M, and they wait for Size: L.")
    assert words(told)[1] == (
        'Blue mug (Size: M) came in stock: 5 pieces. This did not count here: they want Size="L", the event says "M".'
    )


def test_an_event_about_the_whole_item_does_not_count_where_variants_have_their_own_stock() -> None:
    known = {(("size", "l"),): Level(False, (at(-5), (1, 0)))}
    told = story(request(), events=(event(5, size=None),), levels=known)
    assert "was about the whole item, and Size: L has stock of its own that events tell" in told.sentence
    assert "came back" in story(request(waiting="soldOut"), events=(event(5, size=None),)).sentence


def test_who_signed_up_while_it_was_in_stock_waits_for_the_next_event() -> None:
    told = story(request(in_stock=True, last_in_stock_at=at(-10)), events=(event(-10),))
    assert "was in stock already at the sign-up, and no event has said so again since" in told.sentence
    assert words(told) == ["Asked to be told about Blue mug (Size: L)."]


def test_what_is_sold_out_again_names_both_events_and_the_day_once() -> None:
    told = story(request(waiting="soldOut"), events=(event(5), event(9, in_stock=False, quantity=0)))
    assert told.sentence.endswith(
        "Blue mug (Size: L) came back on 3 May 2026 12:05:00 UTC, but is sold out since 12:09:00, when an event said 0."
    )
    assert words(told)[1:] == [
        "Blue mug (Size: L) came in stock: 5 pieces. This woke the request.",
        "Blue mug (Size: L) went out of stock: 0 pieces.",
    ]


def test_pieces_that_are_too_few_are_not_said_to_have_gone() -> None:
    told = story(request(), events=(event(9, in_stock=False, quantity=2),))
    assert words(told)[1] == "Blue mug (Size: L) counted as out of stock: 2 pieces."


@pytest.mark.parametrize("events", [(), (event(3, in_stock=False, quantity=2),), (event(3), event(4, in_stock=False))])
def test_a_change_of_policies_that_woke_is_named_with_who_did_it(events: tuple[Any, ...]) -> None:
    change = SimpleNamespace(who="cli:ada", command="stockbell items set mug-1 --min-quantity 2")
    told = story(request(waiting="queued", last_in_stock_at=at(5)), events=events, policies_set=change)
    woke = next(moment for moment in told.moments if "woke" in moment.words)
    assert (woke.at, woke.words) == (
        at(5),
        "Blue mug (Size: L) came in stock, since its policies were changed. This woke the request.",
    )
    assert woke.note == "By cli:ada: `stockbell items set mug-1 --min-quantity 2`."


def test_a_change_of_policies_before_the_event_that_woke_is_not_named() -> None:
    change = SimpleNamespace(who="cli:ada", command="stockbell items set mug-1 --min-quantity 2")
    told = story(request(waiting="queued", last_in_stock_at=at(5)), events=(event(5),), policies_set=change)
    assert words(told)[1] == "Blue mug (Size: L) came in stock: 5 pieces. This woke the request."


def test_a_wake_up_whose_event_is_not_kept_any_more_is_still_told() -> None:
    told = story(request(waiting="soldOut", last_in_stock_at=at(5)))
    assert "came back on 3 May 2026 12:05:00 UTC, but is sold out now" in told.sentence
    assert told.moments[1].note == "The event itself is not kept any more."


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (None, "has not confirmed, and is not asked any more"),
        ({"due_at": at(1)}, "the mail that asks is about to be sent"),
        ({"due_at": at(1), "why": "relay away"}, "could not be sent yet: “relay away”"),
        ({"sent_at": at(1), "why": "no such user"}, "could not be sent: “no such user”"),
        ({"sent_at": at(1)}, "they were asked by mail on 3 May 2026 12:01:00 UTC"),
    ],
)
def test_who_has_not_confirmed_was_asked_or_is_to_be(asked: dict[str, Any] | None, says: str) -> None:
    names = dict.fromkeys(("due_at", "sent_at", "why")) | {"asked_at": NOON, "expires_at": at(9), "tries": 1}
    confirmation = None if asked is None else SimpleNamespace(**(names | asked))
    told = story(request(waiting="unconfirmed"), confirmation=confirmation)
    assert says in told.sentence
    assert "follow the link" in told.moves[0]


@pytest.mark.parametrize(
    ("what", "of", "command"),
    [
        ("everything", "for everything", "`stockbell resume`"),
        ("item", "for the item", "`stockbell resume --item mug-1`"),
        ("options", "for this variant", "`stockbell resume --item mug-1 --option Size=L`"),
    ],
)
def test_a_pause_says_since_when_and_by_whom(what: str, of: str, command: str) -> None:
    told = story(request(waiting="paused"), pauses=(Pause(at(3), what, "ada"),))
    assert told.sentence.endswith(f"sending is paused {of} since 3 May 2026 12:03:00 UTC, by ada.")
    assert command in told.moves[0]


def test_a_backoff_says_the_words_and_the_next_try() -> None:
    told = story(request(waiting="backoff", not_before=at(70), failure_reason="452 4.2.2 mailbox full", attempts=1))
    assert "put its mail off (“452 4.2.2 mailbox full”), and it is tried again on 3 May 2026 13:10:00" in told.sentence
    broken = story(request(waiting="backoff", not_before=at(70), failure_code=TEMPLATE_ERROR))
    assert "no mail can be made" in broken.sentence


def test_who_had_a_mail_a_while_ago_learns_until_when_they_rest() -> None:
    told = story(request(waiting="interval", not_before=at(90), failure_code=INTERVAL), events=(event(5),))
    assert told.sentence.endswith(
        "the customer had a mail a while ago, and gets no other one before 3 May 2026 13:30:00 UTC."
    )
    assert told.moves[0] == "Nothing has to be done: they are told then, if it is still in stock."
    assert told.moves[-1].startswith("An admin can have them told whatever the stock")


def test_a_relay_that_is_down_says_since_when_and_its_words() -> None:
    relay = SimpleNamespace(state="open", since=at(30), reason="535 login refused", probe_at=at(61))
    told = story(request(waiting="relayDown"), relay=relay)
    assert "no mail can be sent since 3 May 2026 12:30:00 UTC: “535 login refused”" in told.sentence
    assert "next on 3 May 2026 13:01:00 UTC" in told.moves[0]


def test_who_is_in_line_is_told_soon_unless_no_worker_runs() -> None:
    back = (event(59),)
    assert "and the mail is about to be sent" in story(request(waiting="queued"), events=back).sentence
    idle = story(request(waiting="queued"), events=back, workers=0)
    assert idle.sentence.endswith("Blue mug (Size: L) is back since 3 May 2026 12:59:00 UTC, but no worker is running.")
    assert list(idle.moves) == ["A worker has to be started: `stockbell work`."]
    ordered = story(request(waiting="queued", ordered_at=at(20)), actions=(action("report"),))
    assert "ada ordered on 3 May 2026 12:20:00 UTC to tell them whatever the stock" in ordered.sentence


# The place


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (None, None),
        (Line(0, 1), "The only one in line for Blue mug (Size: L)."),
        (Line(0, 3), "1st of 3 in line for Blue mug (Size: L)."),
        (Line(211, 1204), "212th of 1,204 in line for Blue mug (Size: L)."),
        (Line(211, MOST_COUNTED), "212th of over 10,000 in line for Blue mug (Size: L)."),
        (
            Line(MOST_COUNTED, MOST_COUNTED),
            "More than 10,000 are told before this one, of all who wait for Blue mug (Size: L).",
        ),
    ],
)
def test_the_place_in_line_is_by_the_order_of_the_claim(line: Line | None, place: str | None) -> None:
    assert story(request(), line=line).place == place


def test_how_long_it_would_take_is_said_only_if_a_rate_is_known() -> None:
    line = Line(211, 1204)
    assert "at the rate of the last hour within 0.2 s of it." in story(request(), line=line, rate=1000.0).moves[0]
    assert "rate" not in story(request(), line=line).moves[0]


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (112, "112th"), (1021, "1,021st")]
)
def test_an_ordinal(number: int, text: str) -> None:
    assert ordinal(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (900_000, "10 d")]
)
def test_a_span(seconds: float, text: str) -> None:
    assert span_words(seconds) == text


def test_who_waits_for_a_seat_or_for_stock_to_settle_learns_until_when() -> None:
    back = (event(59),)
    tight = story(request(waiting="wave", opens_at=at(90)), events=back)
    assert tight.sentence.endswith(
        "but all seats of this wave are taken; the next one begins on 3 May 2026 13:30:00 UTC."
    )
    assert tight.moves[0] == "Nothing has to be done: the next wave begins by itself, if pieces are left."
    new = story(request(waiting="settling", settles_at=at(65)), events=back)
    assert "has to stay in stock until 3 May 2026 13:05:00 UTC before anybody is told" in new.sentence
    assert new.moves[-1].startswith("An admin can have them told whatever the stock")


def test_who_was_told_in_a_wave_sees_which() -> None:
    row = request(status="NOTIFICATION_SENT", auto_notified=True, notified_date=at(5), seat_wave=2)
    assert story(row, events=(event(2),)).moments[-1].note == "It had a seat of wave 2."


# The ends


# Several in one mail


TOLD: Final[Any] = {"status": "NOTIFICATION_SENT", "auto_notified": True, "notified_date": at(6)}
OTHER: Final = UUID("01900000-0000-7000-8000-000000000002")


@pytest.mark.parametrize(
    ("together", "says", "mail_id"),
    [
        (Together(ID, 3, is_there=True), "Its mail told of 3 other requests as well.", None),
        (Together(ID, 1, is_there=True), "Its mail told of 1 other request as well.", None),
        (
            Together(OTHER, 2, is_there=True),
            f"It was told in the same mail as 2 others: that of request {OTHER}.",
            OTHER,
        ),
        (
            Together(OTHER, 1, is_there=False),
            f"It was told in the same mail as 1 other: that of request {OTHER}, which was deleted since.",
            OTHER,
        ),
    ],
)
def test_what_else_its_mail_told_of_is_said(together: Together, says: str, mail_id: UUID | None) -> None:
    told = story(request(**TOLD), together=together)
    assert told.sentence == f"Told on 3 May 2026 12:06:00 UTC. {says}"
    assert told.mail_id == mail_id
    assert told.as_json().get("mailId") == (mail_id and str(mail_id))
    bounced = request(**TOLD | {"status": "FAILED", "failure_code": "BOUNCED", "failed_at": at(7)})
    assert story(bounced, together=together).sentence.endswith(f"came back on 3 May 2026 12:07:00 UTC. {says}")


def test_who_was_told_by_a_mail_of_their_own_is_told_nothing_of_others() -> None:
    told = story(request(**TOLD))
    assert told.sentence == "Told on 3 May 2026 12:06:00 UTC."
    assert "mailId" not in told.as_json()


@pytest.mark.parametrize(("minutes", "is_its_mail"), [(10, True), (-30, True), (-70, False)])
def test_what_came_back_for_its_mail_is_told_as_its_own(minutes: float, is_its_mail: bool) -> None:
    came = SimpleNamespace(at=at(minutes), kind="dead", words="no", status=None, source="imap", request_id=OTHER)
    told = story(request(**TOLD), reports=(came,), together=Together(OTHER, 1, is_there=True))
    [moment] = [each for each in told.moments if each.quote == "no"]
    assert (moment.tone, "another mail" in (moment.note or "")) == (("bad", False) if is_its_mail else ("", True))


def test_who_was_told_sees_how_long_after_the_restock_and_the_relays_words() -> None:
    row = request(
        status="NOTIFICATION_SENT", auto_notified=True, notified_date=at(5.01), receipt="2.0.0 queued as 4bXq"
    )
    told = story(row, events=(event(2), event(5), event(9, in_stock=False)))
    assert told.sentence == "Told on 3 May 2026 12:05:00 UTC, 0.6 s after the restock."
    assert (told.moments[-1].words, told.moments[-1].quote) == (
        "Told: the relay took the mail.",
        "2.0.0 queued as 4bXq",
    )
    assert "woke" in words(told)[1]
    assert len(told.moments) == 3
    assert told.path == {"tell"}
    assert not list(told.moves)


def test_who_was_marked_got_no_mail_of_ours() -> None:
    row = request(status="NOTIFICATION_SENT", auto_notified=False, notified_date=at(21))
    told = story(row, actions=(action("mark-sent"),))
    assert told.sentence.startswith("Marked as told by other means on 3 May 2026 12:21:00 UTC by ada.")
    assert told.path == {"mark"}


def test_who_was_ordered_is_told_after_the_order() -> None:
    row = request(status="NOTIFICATION_SENT", auto_notified=True, notified_date=at(21), ordered_at=at(20))
    assert story(row, actions=(action("report"),)).sentence.endswith("1 min after ada ordered it.")
    assert "An admin or the API ordered" in " ".join(words(story(row)))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (FailureCode.RECIPIENT_REJECTED, "Not told: the relay refused the address on 3 May 2026 12:30:00 UTC: “why”."),
        (FailureCode.MESSAGE_REJECTED, "Not told: the relay refused the mail on"),
        (FailureCode.INVALID_ADDRESS, "Not told: no mail can be sent to this address"),
        (FailureCode.SUPPRESSED, "no mail was sent: why. The request ended on"),
        (FailureCode.RETRIES_EXHAUSTED, "until 10 tries were spent"),
        (FailureCode.OUTCOME_UNKNOWN, "May have been told: the mail was handed over, but no answer came"),
        (FailureCode.MISSING_ITEM_URL, "no link to Blue mug was known"),
        (FailureCode.EXPIRED, "expired on 3 May 2026 12:30:00 UTC"),
        (FailureCode.BOUNCED, "It came back on 3 May 2026 12:30:00 UTC: “why”."),
        ("SOMETHING_NEW", "the request ended on 3 May 2026 12:30:00 UTC as SOMETHING_NEW: “why”."),
    ],
)
def test_each_failure_has_a_sentence(code: str, says: str) -> None:
    row = request(status="FAILED", failure_code=code, failure_reason="why", failed_at=at(30), attempts=10, waiting=None)
    told = story(row)
    assert says in told.sentence
    force = " --force" if code in ("SUPPRESSED", "OUTCOME_UNKNOWN") else ""
    assert told.moves[-1] == f"An admin can send it again: `stockbell retry {ID}{force}`."
    is_for_good = code in ("RECIPIENT_REJECTED", "INVALID_ADDRESS", "BOUNCED")
    assert ["the customer has to give another one" in move for move in told.moves[:-1]] == [True] * is_for_good


def test_every_failure_code_is_tried_above() -> None:
    marks = [mark for mark in test_each_failure_has_a_sentence.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert set(FailureCode) <= {code for code, _ in marks[0].args[1]}


def test_a_suppressed_customer_is_named_with_cause_and_source() -> None:
    row = request(
        **{"status": "FAILED", "failure_code": "SUPPRESSED", "failed_at": at(30), "waiting": None},
        **{"suppressed_at": at(30), "suppressed_why": "complained", "suppressed_by": "imap"},
    )
    told = story(row)
    assert "the customer called a mail spam, as imap told, on 3 May 2026 12:30:00 UTC" in told.sentence
    assert "unsuppress" in told.moves[0]
    assert told.path == {"end"}


def test_what_came_back_says_when_the_relay_took_it() -> None:
    row = request(
        **{"status": "FAILED", "failure_code": "BOUNCED", "failed_at": at(30), "waiting": None, "claim_no": 1},
        **{"notified_date": at(5), "auto_notified": True, "failure_reason": "550 5.1.1 no such user"},
    )
    report = SimpleNamespace(
        at=at(30), kind="dead", code=550, status="5.1.1", words="550 5.1.1 no such user", source="imap", request_id=ID
    )
    told = story(row, reports=(report,))
    assert told.sentence.startswith("The relay took the mail on 3 May 2026 12:05:00 UTC, but it came back on")
    assert told.path == {"claim", "tell", "bounce"}
    assert "A report came back: the mail did not arrive, and the address is dead." in words(told)


# What happened


def test_the_sign_up_says_how_and_by_what_consent() -> None:
    proof = json.dumps({"public": True, "key": "abcd1234", "page": "https://shop.example/p/1", "consent": "v3"})
    first = story(request(signup=proof, locale="de")).moments[0]
    assert first.note == (
        "Signed up by the form on a page (key abcd1234), on https://shop.example/p/1, in de. They agreed to “v3”."
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("deferred", "The relay put the mail off."),
        ("rejected", "The relay refused the mail."),
        ("unknown", "it may have arrived"),
        ("rescued", "The worker that had it was gone."),
        ("put off", "No try was spent."),
        ("not made", "No mail could be made for it."),
        ("odd", "A try ended: odd."),
    ],
)
def test_each_try_is_told_with_the_relays_own_words(kind: str, says: str) -> None:
    told = story(request(), attempts=(attempt(kind, "550 5.1.1 no such user"),))
    assert says in told.moments[1].words
    assert told.moments[1].quote == "550 5.1.1 no such user"


def test_the_relays_words_are_explained_where_the_table_knows_them() -> None:
    known = story(
        request(), attempts=(attempt("rejected", "550 5.1.1 The email account that you tried to reach does not exist"),)
    )
    assert "These words are about this address, for good" in (known.moments[1].note or "")
    assert story(request(), attempts=(attempt("rejected", "gibberish"),)).moments[1].note is None


def test_events_that_say_the_same_are_told_once() -> None:
    told = story(request(waiting="queued"), events=tuple(event(minute) for minute in range(1, 21)))
    assert len(told.moments) == 2
    assert "20 events said so, from 3 May 2026 12:01:00 UTC to 3 May 2026 12:20:00 UTC." in (told.moments[1].note or "")


def test_what_happened_after_the_end_is_not_told() -> None:
    row = request(status="NOTIFICATION_SENT", auto_notified=True, notified_date=at(5))
    assert len(words(story(row, events=(event(4), event(6), event(7, in_stock=False))))) == 3


def test_admins_are_named_with_what_they_did_and_what_was_refused() -> None:
    told = story(
        request(),
        actions=(
            action("retry", options='{"ordered": true}'),
            action("retry", refusal="being sent"),
            action("delete", state="preview"),
            action("retry", state="undone", undone_at=at(21)),
        ),
    )
    assert words(told)[1:] == [
        "ada put it back in line (whatever the stock).",
        "ada wanted to: retry. It was refused.",
        "ada put it back in line.",
        "That was undone: retry.",
    ]


def test_long_words_of_others_are_cut_in_the_sentence_and_whole_below() -> None:
    row = request(status="FAILED", failure_code="MESSAGE_REJECTED", failure_reason="x" * 10_000, failed_at=at(1))
    told = story(row)
    assert len(told.sentence) < 300
    assert told.moments[-1].quote == "x" * 10_000


def test_an_item_is_quoted_for_a_shell() -> None:
    row = request(catalog_item_id="a b", app_id="app", options='{"Size":"L; rm"}')
    assert item_arguments(row) == "'a b' --app-id app --option 'Size=L; rm'"

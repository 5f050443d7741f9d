"""A selection says the same in a URL, in the audit trail and as a command line."""

import json
import shlex
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from worker.models import Status
from worker.services.selection import MOST_IDS, Selection

ID = UUID("0190b2a0-0000-7000-8000-000000000000")
WHOLE = Selection(
    status=Status.FAILED,
    item="mug-1",
    options=("size=L", "color=deep blue"),
    contact=ID,
    code="BOUNCED",
    domain="example.com",
    words='user "unknown" \u2026',
    since=datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC),
    until=datetime(2026, 11, 24, tzinfo=UTC),
    locale="de",
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status", "WAITING"),
        ("code", "NO_LUCK"),
        ("waiting", "bored"),
        ("since", "yesterday"),
        ("until", "0000-00-00"),
        ("option", "size"),
        ("option", "=L"),
        ("item", "x" * 37),
        ("item", "a\x00b"),
        ("words", "x" * 501),
        ("words", "a\nb"),
        ("domain", "not a domain"),
        ("locale", "de'; --"),
        ("email", "no-address"),
        ("contact", "me"),
        ("id", "1"),
    ],
)
def test_what_can_not_be_read_is_named_by_its_field_and_selects_nothing(name: str, text: str) -> None:
    selection, errors = Selection.read([("item", "mug-1"), (name, text)] if name == "option" else [(name, text)])
    assert set(errors) == {name}
    assert selection.is_everything or name == "option"


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("option", "size=L")], "item"),
        ([("app", "app-1")], "item"),
        ([("since", "2026-11-24"), ("until", "2026-11-23")], "until"),
        ([("status", "FAILED"), ("waiting", "soldOut")], "waiting"),
        ([("code", "BOUNCED"), ("code", "EXPIRED")], "code"),
        ([("item", "m"), ("option", "a=1"), ("option", "a=2")], "option"),
        ([("id", str(uuid4())) for _ in range(MOST_IDS + 1)], "id"),
    ],
)
def test_fields_that_do_not_go_together_are_told(pairs: list[tuple[str, str]], field: str) -> None:
    assert set(Selection.read(pairs)[1]) == {field}


def test_a_field_that_is_empty_or_unknown_is_an_error_for_what_acts() -> None:
    pairs = [("status", "FAILED"), ("itme", "mug-1"), ("code", " "), ("verb", "retry")]
    assert set(Selection.read_strictly(pairs, {"verb"})[1]) == {"itme", "code"}
    assert Selection.read_strictly([("status", "FAILED"), ("verb", "retry")], {"verb"}) == (
        Selection(status=Status.FAILED),
        {},
    )


def test_what_was_kept_and_can_not_be_read_any_more_is_not_left_out() -> None:
    with pytest.raises(ValueError, match="code"):
        Selection.from_json({"status": "FAILED", "code": "OLD_CODE"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no jane@example.com here", "no ***@*** here"),
        ('"no <jane@example.com>\u2026"', '"no <***@***>\u2026"'),
        ('"no ***@***\u2026 <a>"', '"no ***@***\u2026 <a>"'),
        ("<script>", "<script>"),
    ],
)
def test_words_have_no_address_as_what_relays_said_has_none(text: str, words: str) -> None:
    assert Selection.read([("words", text)])[0].words == words


def test_empty_and_unknown_fields_are_left_out() -> None:
    assert Selection.read([("code", " "), ("verb", "retry"), ("item", "")]) == (Selection(), {})
    assert Selection.read([("code", "bounced"), ("domain", "Jane@Example.COM.")])[0] == Selection(
        code="BOUNCED", domain="example.com"
    )


def test_it_comes_back_from_a_query_and_from_the_audit_trail() -> None:
    assert Selection.read(WHOLE.as_pairs()) == (WHOLE, {})
    assert Selection.from_json(json.dumps(WHOLE.as_json())) == WHOLE
    ids = Selection(ids=(ID, uuid4()))
    assert Selection.from_json(ids.as_json()) == ids


def test_an_address_never_gets_into_the_audit_trail() -> None:
    selection = Selection(email="jane@example.com")
    assert "jane" not in repr(selection)
    with pytest.raises(ValueError, match="audit"):
        selection.as_json()


def test_the_command_line_survives_a_shell() -> None:
    words = shlex.split(WHOLE.command("retry", force=True, ordered=True))
    assert words[:2] == ["stockbell", "retry"]
    assert "--status" not in words
    assert words[words.index("--words") + 1] == WHOLE.words
    assert words[words.index("--since") + 1] == "2026-11-23T09:00:00.123456Z"
    assert [words[place + 1] for place, word in enumerate(words) if word == "--option"] == list(WHOLE.options)
    assert words[-2:] == ["--force", "--even-if-sold-out"]
    one = Selection(ids=(UUID(int=1),))
    assert one.command("retry", ordered=True).split()[2:] == [str(UUID(int=1))]
    assert one.command("retry").split()[2:] == [str(UUID(int=1)), "--when-in-stock"]
    assert Selection(words="-x").command("retry") == "stockbell retry --words=-x"
    assert Selection().command("retry") == "stockbell retry --all"
    assert Selection().command("list") == "stockbell requests list"
    assert Selection(ids=(ID,)).command("retry", ordered=True) == f"stockbell retry {ID}"

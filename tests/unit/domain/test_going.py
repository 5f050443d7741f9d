"""How it goes, as one sentence: what stops everything comes first, then what needs attention."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from worker.domain.going import Facts, Tone, Trouble, duration, rate_words, sentence_of

WELL = Facts(waiting=1204, due=0, sending=0, workers=2, sweep_seconds=3.0)
SENDING = replace(WELL, due=4000, sending=100, rate=312.0)
NINE = datetime(2026, 11, 28, 9, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "words", "tone", "see"),
    [
        (WELL, "All is well: 1,204 wait, nobody is due.", Tone.GOOD, ""),
        (replace(WELL, waiting=1), "All is well: 1 waits, nobody is due.", Tone.GOOD, ""),
        (replace(WELL, waiting=0), "All is well: nobody waits, nobody is due.", Tone.GOOD, ""),
        (replace(WELL, paused_items=2), "All is well: 1,204 wait, nobody is due. 2 items are paused.", Tone.GOOD, ""),
        (
            replace(WELL, waiting=0, sweep_seconds=None, is_empty=True),
            "All is well, and nobody has signed up yet.",
            Tone.GOOD,
            "",
        ),
        (SENDING, "Mails are being sent: 312 a second, 4,100 left, about 13 s.", Tone.INFO, ""),
        (replace(SENDING, rate=None), "Mails are being sent: 4,100 left.", Tone.INFO, ""),
        (replace(SENDING, rate=0.0), "Mails are being sent: 4,100 left.", Tone.INFO, ""),
        (replace(SENDING, late=True), "Mails are being sent: 312 a second, 4,100 left, about 13 s.", Tone.INFO, ""),
        (
            replace(SENDING, late=True, rate=0.0),
            "This needs attention: 4,000 are due for over a minute, and nobody is told.",
            Tone.BAD,
            "/system",
        ),
        (
            replace(SENDING, down=True, down_since=NINE, down_why="535 5.7.8 wrong password."),
            "Nothing is sent: the relay is down since 09:12 UTC: 535 5.7.8 wrong password. 4,100 are due.",
            Tone.BAD,
            "/system",
        ),
        (
            replace(SENDING, quiet_until=NINE),
            "Quiet hours until 2026-11-28 09:12 UTC: 4,100 are due, and told then.",
            Tone.INFO,
            "",
        ),
        (replace(WELL, quiet_until=NINE), "All is well: 1,204 wait, nobody is due.", Tone.GOOD, ""),
        (replace(WELL, down=True), "Nothing is sent: the relay is down. Nobody is due.", Tone.BAD, "/system"),
        (
            replace(SENDING, paused=True),
            "Nothing is sent: everything is paused. 4,100 are due.",
            Tone.WARN,
            "/#sending",
        ),
        (
            replace(SENDING, workers=0, due=1),
            "Nothing is sent: 1 is due, and no worker runs. Start `stockbell work`.",
            Tone.BAD,
            "/system",
        ),
        (
            replace(SENDING, troubles=[Trouble("all is lost", "/mail"), Trouble("so is this")]),
            "This needs attention: all is lost, and 1 more.",
            Tone.BAD,
            "/mail",
        ),
        (
            replace(WELL, sweep_seconds=300.0),
            "This needs attention: the last sweep ran 5 min ago: start `stockbell schedule`.",
            Tone.BAD,
            "/system",
        ),
        (
            replace(WELL, sweep_seconds=None),
            "This needs attention: the last sweep never ran: start `stockbell schedule`.",
            Tone.BAD,
            "/system",
        ),
        (
            replace(WELL, warnings=[Trouble("a webhook is disabled", "/webhooks")]),
            "1,204 wait, nobody is due. Look at this: a webhook is disabled.",
            Tone.WARN,
            "/webhooks",
        ),
    ],
)
def test_the_sentence(facts: Facts, words: str, tone: Tone, see: str) -> None:
    found = sentence_of(facts)
    assert (found.words, found.tone, found.see) == (words, tone, see)
    assert bool(found.link) == bool(see)


def test_what_stops_everything_is_told_before_all_else() -> None:
    all_at_once = replace(SENDING, down=True, paused=True, workers=0, troubles=[Trouble("x")], warnings=[Trouble("y")])
    assert sentence_of(all_at_once).words.startswith("Nothing is sent: the relay is down")
    assert sentence_of(replace(all_at_once, down=False)).words.startswith("Nothing is sent: everything is paused")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (13.1, "13 s"),
        (89, "89 s"),
        (100, "2 min"),
        (5390, "90 min"),
        (7500, "2 h 5 min"),
        (36_000, "10 h"),
        (7200, "2 h"),
        (90_000, "25 h"),
        (260_000, "3 d"),
    ],
)
def test_durations_are_rounded_to_what_people_say(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("rate", "words"), [(0.4, "0.4 a second"), (9.6, "10 a second"), (1204.4, "1,204 a second")])
def test_rates(rate: float, words: str) -> None:
    assert rate_words(rate) == words

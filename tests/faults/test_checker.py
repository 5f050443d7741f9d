"""The checker of the fault tests finds the breaches that it should find."""

from dataclasses import replace

import pytest

from tests.faults.checker import Break, History, Mail, Refusal, Request, Try, check

TOLD = Request("ann", "NOTIFICATION_SENT", auto_notified=True, is_dated=True)
FAILED = Request(
    "ann", "FAILED", auto_notified=True, attempts=1, failure_code="RECIPIENT_REJECTED", failure_reason="550"
)
REFUSED = Refusal("ann", "rcpt", 550)
REJECTED = Try("ann", "rejected", 550)
MAIL = Mail("ann", "<1@shop.example>")
BOB = Mail("bob", "<2@shop.example>")
WAITS = Request("ann", "RECEIVED")
GOOD = History(due={"ann"}, requests=[TOLD], mails=[MAIL])
KILL = Break("kill", began=1, ended=1, may_repeat=1)


@pytest.mark.parametrize(
    "history",
    [
        GOOD,
        replace(GOOD, due=set(), requests=[Request("ann", "RECEIVED")], mails=[]),
        replace(GOOD, requests=[WAITS], mails=[], waiting={"ann": "wave"}, may_wait={"ann": "wave"}),
        replace(GOOD, mails=[MAIL, MAIL], breaks=[KILL], counted={"told": 1, "released": 3}),
        replace(GOOD, mails=[MAIL, MAIL], breaks=[replace(KILL, ended=5)]),
        replace(GOOD, mails=[MAIL, MAIL], refusals=[Refusal("ann", "dot", took_it=True)]),
        replace(GOOD, requests=[FAILED], mails=[], refusals=[REFUSED], tries=[REJECTED], is_every_refusal_logged=True),
        replace(GOOD, requests=[TOLD, WAITS], waiting={"ann": "interval"}, may_wait={"ann": "interval"}),
    ],
)
def test_what_can_be_explained_is_no_breach(history: History) -> None:
    assert check(history).breaches == []


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (replace(GOOD, requests=[]), "lost: ann is missing"),
        (replace(GOOD, requests=[Request("ann", "RECEIVED")], mails=[]), "lost: ann is RECEIVED"),
        (replace(GOOD, requests=[WAITS], mails=[], waiting={"ann": "wave"}), "lost: ann is RECEIVED"),
        (replace(GOOD, requests=[WAITS], mails=[], may_wait={"ann": "wave"}), "lost: ann is RECEIVED"),
        (
            replace(GOOD, requests=[WAITS], mails=[], waiting={"ann": "queued"}, may_wait={"ann": "wave"}),
            "0 attempts, waits for queued",
        ),
        (replace(GOOD, requests=[Request("ann", "PROCESSING")], mails=[]), "stuck in PROCESSING: ann"),
        (replace(GOOD, requests=[WAITS, TOLD]), "lost: ann is RECEIVED"),
        (replace(GOOD, requests=[replace(FAILED, failure_reason=None)], mails=[]), "lost: ann is FAILED"),
        (replace(GOOD, due=set()), "no event woke them: ann"),
        (replace(GOOD, mails=[MAIL, MAIL]), "sent twice: 1 mails, and at most 0"),
        (replace(GOOD, mails=[MAIL, MAIL], breaks=[replace(KILL, began=5, ended=5)]), "for no reason: ann"),
        (replace(GOOD, mails=[BOB, MAIL, MAIL], breaks=[KILL]), "for no reason: ann, as mails 2 and 3"),
        (replace(GOOD, mails=[MAIL, MAIL, MAIL], breaks=[KILL]), "for no reason: ann, as mails 2 and 3"),
        (replace(GOOD, mails=[MAIL, Mail("ann", "<3>")], breaks=[KILL]), "more than one Message-ID: ann"),
        (
            replace(GOOD, requests=[replace(TOLD, rescues=2)], mails=[MAIL, Mail("ann", "<3>")], breaks=[KILL]),
            "more than one Message-ID: ann",
        ),
        (replace(GOOD, mails=[MAIL, Mail("bob", MAIL.message_id)]), "one Message-ID for 2 people"),
        (replace(GOOD, requests=[replace(TOLD, auto_notified=None)]), "autoNotified is None"),
        (replace(GOOD, requests=[replace(TOLD, is_dated=False)]), "notified date"),
        (replace(GOOD, mails=[]), "the relay took no mail: ann"),
        (replace(GOOD, requests=[FAILED]), "the relay took a mail, but it is FAILED"),
        (replace(GOOD, requests=[FAILED], mails=[]), "never gave reason for: ann"),
        (replace(GOOD, requests=[replace(TOLD, attempts=1)]), "1 attempts, but 0 in the log"),
        (replace(GOOD, requests=[replace(TOLD, rescues=1)]), "1 rescues, but 0 in the log"),
        (replace(GOOD, tries=[REJECTED]), "1 times 550 in the attempt log"),
        (replace(GOOD, refusals=[REFUSED], is_every_refusal_logged=True), "1 times 550 by the relay"),
        (
            replace(
                GOOD,
                requests=[replace(FAILED, id="1"), replace(FAILED, id="2")],
                tries=[replace(REJECTED, request="1"), replace(REJECTED, request="1")],
                refusals=[REFUSED, REFUSED],
                is_every_refusal_logged=True,
            ),
            "2 times 550 by the relay",
        ),
        (replace(GOOD, counted={}), "0 counted as told, but 1 are NOTIFICATION_SENT"),
        (replace(GOOD, counted={"told": 2}), "2 counted as told, but 1 are NOTIFICATION_SENT"),
        (replace(GOOD, counted={"told": 1, "failed": 1}), "1 counted as failed, but 0 are FAILED"),
    ],
)
def test_what_cannot_be_explained_is_one(history: History, words: str) -> None:
    assert any(words in breach for breach in check(history).breaches)


def test_it_counts() -> None:
    history = replace(GOOD, due={"ann", "bob"}, mails=[MAIL, MAIL], breaks=[KILL])
    found = check(history)
    assert (found.due, found.lost, found.twice, found.bound, found.stuck, found.waiting) == (2, 1, 1, 1, 0, 0)


def test_it_counts_who_waits_for_a_reason() -> None:
    requests = [TOLD, Request("bob", "RECEIVED")]
    history = replace(GOOD, due={"ann", "bob"}, requests=requests, waiting={"bob": "wave"}, may_wait={"bob": "wave"})
    found = check(history)
    assert (found.due, found.waiting, found.lost) == (2, 1, 0)

"""Reasons that differ in an id or an address are one group."""

import pytest

from worker.domain.reply_groups import group_of


@pytest.mark.parametrize(
    ("group", "reasons"),
    [
        (
            "550 5.1.1 <\u2026> user unknown (id \u2026)",
            [
                "550 5.1.1 <\u2026> user unknown (id 123)",
                "550 5.1.1 <\u2026> user unknown (id a4f-99)",
                "550 5.1.1 <\u2026> user unknown (id 0190b2a0-0000-7000-8000-000000000000)",
            ],
        ),
        (
            "452 4.2.2 Mailbox full, try in \u2026 minutes [\u2026]",
            [
                "452 4.2.2 Mailbox full, try in 5 minutes [10.0.0.1]",
                "452 4.2.2 Mailbox full, try in 60 minutes [2001-db8]",
            ],
        ),
        ("550-5.7.1 refused; see https:\u2026", ["550-5.7.1 refused; see https://mail.example/answer/6596"]),
        ("550 \u2026 unknown", ["550 jane@example.com unknown", "550 ***@*** unknown"]),
        ("550 <***> unknown", ["550 <***> unknown"]),
        ("554 too many hops \u2026", ["554 too many hops 26 27", "554 too many hops 30"]),
        ("relay said: \u2026 gone", ["relay said: 550 5.2.1 gone", "relay said: 551 5.2.1 gone"]),
        ("its workers died too often", ["its workers died too often"]),
        ("", [""]),
    ],
)
def test_what_differs_from_mail_to_mail_is_left_out(group: str, reasons: list[str]) -> None:
    assert {group_of(reason) for reason in reasons} == {group}


def test_codes_stay_apart() -> None:
    replies = ["550 5.1.1 no", "550 5.1.2 no", "551 5.1.1 no", "550 no"]
    assert len({group_of(reply) for reply in replies}) == len(replies)


def test_a_hostile_reason_takes_no_time_and_has_an_end() -> None:
    for hostile in ("@" * 300, "1@" * 150, "<" * 300, "a" * 299 + "@", "5.1." * 75):
        assert len(group_of(hostile * 10)) <= 410

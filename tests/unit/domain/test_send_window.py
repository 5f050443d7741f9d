"""The send window: what people write, and that it is open by the clock on the wall, whatever that clock does."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker.domain import send_window
from worker.domain.send_window import EXAMPLE, SendWindow, parse_send_window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTE = timedelta(minutes=1)
CHANGES = {
    "Europe/Vienna": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),  # by half an hour
    "America/Havana": ("2026-03-08T05:00", "2026-11-01T05:00"),  # at midnight
    "Pacific/Apia": ("2011-12-30T10:00",),  # a whole day
    "Asia/Pyongyang": ("2018-05-04T15:00",),  # for good, just before midnight
    "UTC": (),
}

Entry = tuple[int, int, int]
"""A day, and from one minute of it up to before another, which is on the next day if it is not later."""
MINUTES = some.one_of(some.integers(0, 1439), some.integers(0, 47).map(lambda half: half * 30))
ENTRIES = some.lists(
    some.tuples(some.integers(0, 6), MINUTES, MINUTES).filter(lambda entry: entry[1] != entry[2]),
    min_size=1,
    max_size=4,
)


@some.composite
def moments(draw: some.DrawFn) -> tuple[str, datetime]:
    """A zone, and a moment there, most often within a day of a change of its clock."""
    zone = draw(some.sampled_from(list(CHANGES)))
    around = datetime.fromisoformat(draw(some.sampled_from([*CHANGES[zone], "2026-07-15T12:00"]))).replace(tzinfo=UTC)
    return zone, around + draw(some.integers(-1440, 1440)) * MINUTE


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def written(entries: list[Entry], zone: str) -> str:
    return (
        ", ".join(
            f"{DAYS[day]} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}" for day, begin, end in entries
        )
        + f" {zone}"
    )


def shows_an_open_minute(entries: list[Entry], wall: datetime) -> bool:
    day, minute = wall.weekday(), wall.hour * 60 + wall.minute
    return any(
        (begin <= minute < end and day == its_day)
        if begin < end
        else ((day == its_day and minute >= begin) or (day == (its_day + 1) % 7 and minute < end))
        for its_day, begin, end in entries
    )


@given(ENTRIES, moments())
def test_it_opens_and_closes_as_a_clock_that_is_looked_at_every_minute(
    entries: list[Entry], moment: tuple[str, datetime]
) -> None:
    zone, now = moment
    window = parse_send_window(written(entries, zone))

    def is_open(time: datetime) -> bool:
        return shows_an_open_minute(entries, time.astimezone(ZoneInfo(zone)))

    later = (now + minutes * MINUTE for minutes in range(16 * 1440))
    change = next((time for time in later if is_open(time) != is_open(now)), None)
    assert window.is_open(now) is is_open(now)
    if is_open(now):
        assert window.next_opening(now) == now
        assert window.closes_at(now) == change
    else:
        assert window.next_opening(now) == change
        assert window.closes_at(now) == now


@given(ENTRIES, moments())
def test_it_knows_since_when_it_is_open(entries: list[Entry], moment: tuple[str, datetime]) -> None:
    zone, now = moment
    window = parse_send_window(written(entries, zone))

    def is_open(time: datetime) -> bool:
        return shows_an_open_minute(entries, time.astimezone(ZoneInfo(zone)))

    opened = now
    while is_open(opened - MINUTE) and now - opened < timedelta(days=15):
        opened -= MINUTE
    expected = opened if is_open(now) and window.closes_at(now) else None
    assert window.opened_at(now) == expected


@given(ENTRIES, moments(), some.integers(1, 59_999_999))
def test_what_happens_within_a_minute_changes_nothing(
    entries: list[Entry], moment: tuple[str, datetime], microseconds: int
) -> None:
    zone, minute = moment
    window, now = parse_send_window(written(entries, zone)), minute + timedelta(microseconds=microseconds)
    assert window.is_open(now) is window.is_open(minute)
    if not window.is_open(now):
        assert window.next_opening(now) == window.next_opening(minute)
    elif window.closes_at(minute):
        assert window.closes_at(now) == window.closes_at(minute)


@given(ENTRIES)
def test_its_text_is_read_as_the_same_window(entries: list[Entry]) -> None:
    window = parse_send_window(written(entries, "Europe/Vienna"))
    assert parse_send_window(str(window)) == window
    assert parse_send_window(written(entries[::-1], "Europe/Vienna")) == window
    assert str(parse_send_window(str(window))) == str(window)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (EXAMPLE, EXAMPLE),
        ("  Mon – Fri 8-20 ;SAT 9:00 — 18:00 europe/VIENNA ", EXAMPLE),
        ("Monday-Friday 08:00-20:00, Saturday 09:00-18:00, Europe/Vienna", EXAMPLE),
        ("mon-fri 08:00-20:00 sat 09:00-18:00 Europe/Vienna", EXAMPLE),
        ("mon,tue, wed-fri 08:00-20:00, sat 09:00-18:00 Europe/Vienna", EXAMPLE),
        ("08:00-20:00 UTC", "daily 08:00-20:00 UTC"),
        ("Daily 8-20 utc", "daily 08:00-20:00 UTC"),
        ("sat-mon 10-12 UTC", "mon, sat-sun 10:00-12:00 UTC"),
        ("mon-fri 8-12, 13-18 UTC", "mon-fri 08:00-12:00, mon-fri 13:00-18:00 UTC"),
        ("fri 20:00-02:00 UTC", "fri 20:00-02:00 UTC"),
        ("fri 20:00-00:00 UTC", "fri 20:00-24:00 UTC"),
        ("fri 20:00-24:00, sat 00:00-02:00 UTC", "fri 20:00-02:00 UTC"),
        ("sun 22:00-02:00, mon 01:00-03:00 UTC", "sun 22:00-03:00 UTC"),
        ("mon 08:00-12:00, mon 10:00-14:00, mon 14:00-15:00 UTC", "mon 08:00-15:00 UTC"),
        ("fri 18:00-24:00, sat-sun 0-24, mon 0-6 UTC", "mon 00:00-06:00, fri 18:00-24:00, sat-sun 00:00-24:00 UTC"),
        ("daily 0-24 UTC", "daily 00:00-24:00 UTC"),
        ("mon 8-9 America/Port-au-Prince", "mon 08:00-09:00 America/Port-au-Prince"),
        ("mon 8-9 etc/gmt-3", "mon 08:00-09:00 Etc/GMT-3"),
    ],
)
def test_what_people_write_is_shown_in_one_way(text: str, canonical: str) -> None:
    assert str(parse_send_window(text)) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "days, times and the shop's zone"),
        (" ,; ", "days, times and the shop's zone"),
        ("Europe/Vienna", "days, times and the shop's zone"),
        ("mon-fri 08:00-20:00", "the shop's zone at the end"),
        ("mon-fri 08:00 - 20:00", "the shop's zone at the end"),
        ("08:00-20:00 mon-fri", "the shop's zone at the end"),
        ("mon 08:00-20:00 Europe/Viena", "must end with the shop's zone"),
        ("mon 08:00-20:00 Europe", "must end with the shop's zone"),
        ("mon 08:00-20:00 ../UTC", "the shop's zone at the end"),
        ("mon 08:00-20:00 CEST", "must end with the shop's zone"),
        ("mon 08:00-20:00 Europe/Vienna hunter2", "must end with the shop's zone"),
        ("mo-fr 08:00-20:00 UTC", "must name days as mon"),
        ("mon-tue-wed 08:00-20:00 UTC", "must name days as mon"),
        ("mon- 08:00-20:00 UTC", "must name days as mon"),
        ("- 08:00-20:00 UTC", "must name days as mon"),
        ("mon 25:00-26:00 UTC", "from 00:00 to 24:00"),
        ("mon 08:60-09:00 UTC", "from 00:00 to 24:00"),
        ("mon 08:00-24:01 UTC", "from 00:00 to 24:00"),
        ("mon 24:00-08:00 UTC", "from 00:00 to 23:59"),
        ("mon 08:00-08:00 UTC", "a whole day is 00:00-24:00"),
        ("mon 00:00-00:00 UTC", "a whole day is 00:00-24:00"),
        ("mon 08:00 UTC", "must have times like"),
        ("mon 8am-8pm UTC", "a clock of 24 hours"),
        ("mon ٠٨:٠٠-٢٠:٠٠ UTC", "a clock of 24 hours"),
        ("mon, tue 08:00-20:00, wed UTC", "times after each day"),
        ("mon UTC", "times after each day"),
        ("mon 08:00-20:00\nUTC", "control characters"),
        ("mon 08:00-20:00 \x00UTC", "control characters"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_the_text(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_send_window(text)
    assert str(caught.value).isprintable()
    assert "hunter2" not in str(caught.value)


def test_a_machine_without_zones_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_window, "available_timezones", set)
    with pytest.raises(ValueError, match="install tzdata"):
        parse_send_window(EXAMPLE)


def test_one_second_decides() -> None:
    window = parse_send_window(EXAMPLE)  # in January, Vienna is an hour ahead
    assert not window.is_open(at("2026-01-05T06:59:59.999999"))
    assert window.is_open(at("2026-01-05T07:00"))
    assert window.is_open(at("2026-01-05T18:59:59.999999"))
    assert not window.is_open(at("2026-01-05T19:00"))
    assert window.next_opening(at("2026-01-10T17:00")) == at("2026-01-12T07:00"), "after Saturday comes Monday"


@pytest.mark.parametrize(
    ("text", "moment", "opens"),
    [
        # There is no 02:30 in this night: 03:00 comes next, and is within the window.
        ("sun 02:30-04:00 Europe/Vienna", "2026-03-29T00:00", "2026-03-29T01:00"),
        ("sun 02:00-03:00 Europe/Vienna", "2026-03-29T00:00", "2026-04-05T00:00"),
        ("sun 02:30-03:00 Europe/Vienna", "2026-10-25T00:00", "2026-10-25T00:30"),
        ("sun 02:30-03:00 Europe/Vienna", "2026-10-25T01:00", "2026-10-25T01:30"),  # 02:30 for the second time
        ("mon 08:00-20:00 Europe/Vienna", "2026-03-28T12:00", "2026-03-30T06:00"),
        ("mon 08:00-20:00 Europe/Vienna", "2026-10-24T12:00", "2026-10-26T07:00"),
        ("sun 02:15-03:00 Australia/Lord_Howe", "2026-10-03T15:00", "2026-10-03T15:30"),  # 02:30 comes after 01:59
        ("sun 01:45-02:00 Australia/Lord_Howe", "2026-04-04T15:00", "2026-04-04T15:15"),  # 01:45 for the second time
        ("sun 00:00-06:00 America/Havana", "2026-03-08T04:00", "2026-03-08T05:00"),  # the day begins at 01:00
        ("fri 08:00-20:00 Pacific/Apia", "2011-12-30T09:00", "2012-01-05T18:00"),  # after Thursday came Saturday
    ],
)
def test_it_opens_by_the_clock_on_the_wall(text: str, moment: str, opens: str) -> None:
    assert parse_send_window(text).next_opening(at(moment)) == at(opens)


@pytest.mark.parametrize(
    ("text", "moment", "closes"),
    [
        ("sat 20:00-02:30 Europe/Vienna", "2026-03-28T20:00", "2026-03-29T01:00"),  # 02:30 is skipped
        ("sat 20:00-02:30 Europe/Vienna", "2026-10-24T20:00", "2026-10-25T00:30"),
        ("sat 20:00-02:30 Europe/Vienna", "2026-10-25T01:00", "2026-10-25T01:30"),  # 02:00 to 02:30 once more
        ("fri 20:00-02:00 UTC", "2026-01-09T21:00", "2026-01-10T02:00"),
        ("sun 20:00-24:00, mon 00:00-08:00 UTC", "2026-01-11T21:00", "2026-01-12T08:00"),
    ],
)
def test_it_closes_by_the_clock_on_the_wall(text: str, moment: str, closes: str) -> None:
    assert parse_send_window(text).is_open(at(moment))
    assert parse_send_window(text).closes_at(at(moment)) == at(closes)


def test_one_that_is_always_open_never_closes() -> None:
    window = parse_send_window("daily 00:00-24:00 Europe/Vienna")
    assert window.closes_at(at("2026-03-29T00:59")) is None
    assert window.opened_at(at("2026-03-29T00:59")) is None
    assert parse_send_window("mon 00:00-23:59, tue-sun 00:00-24:00 UTC").closes_at(at("2026-01-05T00:00")) == at(
        "2026-01-05T23:59"
    )


def test_windows_are_equal_if_they_are_open_at_the_same_times() -> None:
    assert parse_send_window("mon-tue 8-9 UTC") == parse_send_window("tue 08:00-09:00, mon 08:00-09:00 utc")
    assert parse_send_window("mon-fri08:00-20:00,sat9-18 UTC") == parse_send_window("mon-fri 8-20, sat 9-18 UTC")
    assert parse_send_window("mon 8-9 UTC") != parse_send_window("mon 8-9 Europe/Vienna")
    assert hash(parse_send_window("mon 8-9 UTC")) == hash(SendWindow(((480, 540),), "UTC"))

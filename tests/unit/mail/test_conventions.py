"""Days as people of each country write them."""

from datetime import date

import pytest
from babel import Locale, localedata
from babel.dates import format_date

from worker.mail.conventions import shown_day

DAY = date(2026, 3, 8)


@pytest.mark.parametrize(
    ("mail", "region", "shown"),
    [
        ("en", None, "March 8, 2026"),
        ("en", "GB", "8 March 2026"),
        ("de", "AT", "8. März 2026"),
        ("fr", None, "8 mars 2026"),
        ("es", None, "8 de marzo de 2026"),
        ("it", None, "8 marzo 2026"),
        ("nl", None, "8 maart 2026"),
        ("pl", None, "8 marca 2026"),
        ("pt-BR", None, "8 de março de 2026"),
        ("ja", None, "2026年3月8日"),
        ("ar", None, "8 مارس 2026"),
        ("xx", None, "March 8, 2026"),
        ("th", None, "2026-03-08"),
    ],
)
def test_a_day_is_written_as_in_its_readers_country(mail: str, region: str | None, shown: str) -> None:
    assert shown_day(DAY, mail, region) == shown


def test_every_language_is_written_as_babel_does() -> None:
    seen = 0
    for name in localedata.locale_identifiers():
        if (
            "_" not in name
            and "(G)" not in (form := Locale.parse(name).date_formats["long"].format)
            and "(MMM)" not in form
        ):
            for month in (1, 12):
                day = date(2026, month, 8)
                assert shown_day(day, name, None) == format_date(day, "long", name), name
            seen += 1
        localedata.clear_caches()
    assert seen > 200

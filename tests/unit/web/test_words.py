"""Pages for people: every language says all that English does, with the same values in it."""

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from worker.web import pages
from worker.web.dates import day

LANGUAGES = {"en", "de", "fr", "es", "it", "nl", "pl", "pt-BR", "ja", "ar"}
FILES = sorted((pages.STATIC.parent / "words").glob("*.toml"))


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w*)\}", text))


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_every_language_says_everything(name: str) -> None:
    file = pages.STATIC.parent / "words" / f"{name}.toml"
    found: Mapping[str, Mapping[str, str]] = tomllib.loads(file.read_text(encoding="utf-8"))
    assert set(found) == LANGUAGES
    for language, words in found.items():
        assert (language, set(words)) == (language, set(found["en"]))
        assert {key: places(text) for key, text in words.items()} == {
            key: places(text) for key, text in found["en"].items()
        }, language
        assert all(text.strip() == text and text for text in words.values())


def test_every_language_writes_dates_in_its_own_way() -> None:
    at = datetime(2026, 11, 3, 12, tzinfo=UTC)
    assert day(at, "en") == "November 3, 2026"
    assert day(at, "de") == "3. November 2026"
    assert day(at, "pt-BR") == "3 de novembro de 2026"
    assert day(at, "ja") == "2026年11月3日"

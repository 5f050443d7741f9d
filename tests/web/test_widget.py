"""The sign-up form in Chromium: for people with a keyboard only, in Arabic, without JavaScript, and who come back."""

from typing import Any

import pytest

from tests.ports import free_port
from tests.web.conftest import Site
from worker.domain.api_keys import Scope


@pytest.fixture(scope="module")
def seen(in_pages: None, site: Site) -> Any:
    """What happened in the pages of widget.mjs."""
    port = free_port()
    return site.run("widget.mjs", shopKey=site.key(Scope.CREATE, f"http://127.0.0.1:{port}"), shopPort=port)


@pytest.fixture
def script(seen: Any) -> Any:
    """What happened in pages with JavaScript."""
    return seen["script"]


def test_a_wrong_address_is_told_beside_the_field_and_the_focus_is_there(script: Any) -> None:
    assert script["wrong"] == {
        "says": "",
        "error": "Bitte geben Sie eine E-Mail-Adresse ein, etwa name@example.com.",
        "hasForm": True,
    }
    assert script["focus"] == "email"


def test_a_sign_up_by_keyboard_is_said_and_the_focus_is_not_lost(script: Any) -> None:
    assert script["done"] == {
        "says": "Vielen Dank. Wir schreiben Ihnen, wenn es wieder da ist.",
        "error": "",
        "hasForm": False,
    }
    assert script["focusAfter"] == "stockbell-again"
    assert script["told"] == {"item": "mug-1", "options": {"Colour": "Blue"}}


def test_a_second_visit_is_remembered_for_each_variant_without_the_address(script: Any) -> None:
    assert script["again"]["says"] == "Wir schreiben Ihnen, wenn es wieder da ist."
    assert not script["again"]["hasForm"]
    assert script["other"]["hasForm"]
    assert script["inStock"] == "hidden"
    assert script["stored"] == 'stockbell:["mug-1",[["Colour","Blue"]]]'
    assert script["values"].isdecimal()


def test_a_shop_s_script_says_what_is_shown(script: Any) -> None:
    assert script["set"] == {
        "item": "set-by-script",
        "options": {"Size": "L", "Colour": "Red"},
        "inStock": False,
    }


def test_it_asks_nobody_before_somebody_signs_up_and_sets_no_cookie(script: Any) -> None:
    assert sorted(script["before"]) == ["v1.css", "v1.js"]
    assert script["cookies"] == []
    assert script["foreign"] == []
    assert script["errors"] == []


def test_it_runs_under_a_strict_policy(script: Any) -> None:
    assert script["violations"] == []


def test_it_is_written_from_right_to_left_where_the_page_is_and_fits_a_phone(script: Any) -> None:
    assert script["arabic"] == {"label": "البريد الإلكتروني", "align": "right", "isTooWide": False, "height": 44}


@pytest.mark.parametrize("state", ["axe", "axeAgain", "axeArabic", "axeOurs"])
def test_axe_finds_nothing(script: Any, state: str) -> None:
    assert script[state] == []


def test_without_javascript_a_page_of_ours_asks_once_more_and_then_thanks(seen: Any) -> None:
    assert seen["plain"] == {"asked": "One more click", "done": "Thank you", "foreign": []}


def test_our_page_says_beside_the_field_what_is_wrong(script: Any) -> None:
    assert script["ours"] == "Please enter an email address, such as name@example.com."

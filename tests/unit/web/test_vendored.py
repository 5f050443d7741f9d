"""Scripts of others are unchanged, whole, licensed, and no other host is asked for them."""

import re
import tomllib
from hashlib import sha256
from typing import Any, Final

import pytest

from worker.web.pages import STATIC

ADMIN: Final = STATIC / "admin"
VENDOR: Final = ADMIN / "vendor"
LIST: Final[dict[str, Any]] = tomllib.loads((VENDOR / "VENDORED").read_text())
OWN: Final = ("admin.js", "charts.js")
MOST: Final = 10_240


def test_each_file_is_as_its_package_has_it() -> None:
    files = {name: about["sha256"] for package in LIST["package"] for name, about in package["files"].items()}
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    del found["VENDORED"]
    assert found == files


def test_each_package_is_named_with_its_hash_and_licence() -> None:
    assert [(each["name"], each["version"], each["licence"]) for each in LIST["package"]] == [
        ("htmx.org", "4.0.1", "0BSD"),
        ("chart.js", "4.6.1", "MIT"),
    ]
    for package in LIST["package"]:
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"])
        assert any("LICENSE" in name for name in package["files"])


@pytest.mark.parametrize("name", OWN)
def test_our_own_scripts_are_small_and_ask_no_other_host(name: str) -> None:
    text = (ADMIN / name).read_text()
    assert len(text.encode()) < MOST
    assert "://" not in text
    assert not re.search(r"\beval\b|new Function|innerHTML|\.style\s*=", text)


def test_no_template_has_what_needs_eval_or_what_the_policy_forbids() -> None:
    for path in (STATIC.parent / "pages" / "admin").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"hx-on|\son[a-z]+=|\sstyle=|<style|<script(?![^>]* src=)|hx-trigger=\"[^\"]*\[", text), (
            path
        )
        assert not re.search(r"(src|href)=\"(https?:)?//", text), path

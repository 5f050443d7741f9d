"""The sign-up script as it is sent: small, whole, kept by browsers, and usable from every page."""

import gzip
import re
import tomllib
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from worker.web import pages, widget_files

MOST = 4096
LANGUAGES = {"en", "de", "fr", "es", "ja"}
SOURCE = (pages.STATIC / "v1.js").read_text()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI()

    @app.get("/{name}")
    def file(name: str, request: Request) -> Response:
        return widget_files.answer(name, request)

    with TestClient(app) as opened:
        yield opened


def test_the_script_is_under_four_kilobytes(client: TestClient) -> None:
    reply = client.get("/v1.js", headers={"Accept-Encoding": "gzip, br"})
    assert reply.headers["content-encoding"] == "gzip"
    assert int(reply.headers["content-length"]) < MOST
    assert reply.content == widget_files.sent("v1.js").plain


@pytest.mark.parametrize("name", ["v1.js", "v1.css"])
def test_only_comments_and_indents_are_left_out(name: str) -> None:
    sent = widget_files.sent(name)
    assert gzip.decompress(sent.packed) == sent.plain
    text, source = sent.plain.decode(), (pages.STATIC / name).read_text()
    assert "//" not in text
    assert "/*" not in text
    code = [line.strip() for line in source.splitlines()]
    assert all(any(line in each for each in code) for line in text.splitlines())
    whole = [each for each in code if each and not each.startswith(("/", "It needs", "*"))]
    assert len(text.splitlines()) == len(whole)


def test_a_browser_that_has_it_gets_no_body(client: TestClient) -> None:
    tag = client.get("/v1.js").headers["etag"]
    again = client.get("/v1.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"].startswith("public, max-age=")


def test_a_browser_without_gzip_gets_it_plain(client: TestClient) -> None:
    reply = client.get("/v1.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in reply.headers
    assert reply.headers["vary"] == "Accept-Encoding"
    assert reply.text.startswith("stockbell-notify {")


def test_pages_of_other_origins_may_load_it(client: TestClient) -> None:
    headers = client.get("/v1.js").headers
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["content-type"] == "text/javascript; charset=utf-8"


def test_the_script_needs_nothing_that_a_strict_page_forbids() -> None:
    forbidden = r"\beval\b|new Function|innerHTML|outerHTML|document\.write|\.style\b|cookie(?!,)|https?://"
    code = re.sub(r"/\*[\s\S]*?\*/", "", SOURCE)
    assert re.findall(forbidden, code) == []


def words_of_script() -> dict[str, list[str]]:
    table = SOURCE[SOURCE.index("const WORDS") : SOURCE.index("const make")]
    return {
        language: re.findall(r"'([^']*)'", texts)
        for language, texts in re.findall(r"^    (\w+): \[(.*?)\],$", table, re.DOTALL | re.MULTILINE)
    }


def test_the_script_speaks_five_languages_in_full() -> None:
    found = re.search(r"const NAMES = '([^']*)'", SOURCE)
    assert found is not None
    names = found[1].split()
    words = words_of_script()
    assert words.keys() == LANGUAGES
    assert {language: len(texts) for language, texts in words.items()} == dict.fromkeys(words, len(names))
    assert set(re.findall(r"say\('([a-z]+)'\)", SOURCE)) <= set(names)


def test_the_page_without_javascript_speaks_ten_languages_in_full() -> None:
    words = tomllib.loads((pages.STATIC.parent / "words" / "signup.toml").read_text())
    assert words.keys() == {"en", "de", "fr", "es", "it", "nl", "pl", "pt-BR", "ja", "ar"}
    assert all(own.keys() == words["en"].keys() for own in words.values())

"""Nonsense in every parameter of every page for admins: a clear refusal, and never a fault of ours."""

import base64
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest

from tests.contract.web.admin.people import browser
from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.domain.webhooks import Format
from worker.models import Status
from worker.services import acting, endpoint_verbs
from worker.services.selection import _FIELDS, Selection
from worker.store import admins
from worker.web.admin import app as admin
from worker.web.admin.gate import SECURE_COOKIE

pytestmark = pytest.mark.usefixtures("cheap")

NUL: Final = "a\0b=c\0"
"""PostgreSQL takes it in no text."""
NONSENSE: Final[Sequence[str | bytes]] = (
    NUL,
    "'\";--",
    "../../etc/passwd",
    "javascript:alert(1)",
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\xff\xfe",
    "\u202e\u2028\U0001f600" * 80,
    "a" * 1500,
    "-1",
    "99999999999999999999999",
    "1e999",
    "\u0663",
    "0000-01-01",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01",
    "9999-12-31T23:59:59-14:00",
    "99999-01-01",
    "2026-02-30",
    "0001-01-01_00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "99999999999999999999-99999999999999999999",
    "https://[",
    "xn--a@xn--\u00df.example",
)
ROUNDS: Final = 2
"""So often each parameter of a page has some nonsense besides NUL."""
WITHOUT: Final = {"/live", "/logout", "/pause", "/resume", "/me/end-others", "/system/doctor"}
"""They take no parameters."""


def names(page: Any) -> list[str]:
    """Returns the names of what a page asks for, as far as its program tells."""
    text = inspect.getsource(inspect.getmodule(page) or page)
    found = re.findall(r'(?:get|text|texts|one_of)\("([a-z_]+)"', text) + re.findall(
        r"\b([a-z_]+): (?:Text|str) =", text
    )
    return sorted({*found, *(_FIELDS if "Selection" in text else ())})


def routes(site: Site) -> Iterator[tuple[str, str, list[str]]]:
    office = admin.office_of(site.context)
    for page in admin._PAGES:
        for each in page(office).routes:
            route: Any = each
            if route.path not in WITHOUT:
                yield from ((method, route.path, names(page)) for method in sorted(route.methods - {"HEAD"}))


def forms(asked: Sequence[str]) -> Iterator[Mapping[str, str | bytes]]:
    """Yields NUL for one parameter after the other, and then for each of them some of the other nonsense."""
    yield from ({name: NUL} for name in asked)
    for number in range(ROUNDS if asked else 0):
        yield {name: NONSENSE[(5 * place + 11 * number) % len(NONSENSE)] for place, name in enumerate(asked)}


def known(site: Site) -> Mapping[str, str]:
    """Makes what paths can name, so that the pages of it are there."""
    row = site.shop.row(site.shop.sign_up())
    action = site.shop.write(acting.preview, "ada", "mark-sent", Selection(status=Status.RECEIVED))
    how = {"is_full": False, "allows_private": True}
    endpoint = site.shop.write(endpoint_verbs.add, "ada", "https://127.0.0.1:1/", Format.STANDARD, **how)
    found = {"request_id": row.id, "contact_id": row.contact_id, "action_id": action, "endpoint_id": endpoint.id}
    others = {"secret": "x", "letter_id": "1-1", "verb": "resync", "path": "mug-1"}
    return {name: str(value) for name, value in {**found, **others}.items()}


def test_nonsense_is_no_fault_of_ours(site: Site) -> None:
    client, there = browser(site), known(site)
    client.cookies.set(SECURE_COOKIE, site.shop.write(admins.open_session, "ada", Role.ADMIN))
    asked = 0

    def send(method: str, path: str, form: Mapping[str, str | bytes]) -> None:
        nonlocal asked
        asked += 1
        query = urlencode(form)
        head = {"Content-Type": "application/x-www-form-urlencoded"}
        url, body = (f"{path}?{query}", None) if method == "GET" else (path, query)
        answer = client.request(method, f"/admin{url}", content=body, headers=head)
        assert answer.status_code < 500 or "Redis" in answer.text, (method, path, form, answer.text)

    for method, path, wanted in routes(site):
        filled = re.sub(r"{(\w+)(?::path)?}", lambda found: there[found[1]], path)
        if not path.startswith("/contacts/{contact_id}/erase"):
            for form in forms(wanted):
                send(method, filled, form)
        if "{" in path:
            for odd in (NUL, NONSENSE[4], "9" * 50):
                send(method, re.sub(r"{[^}]+}", quote(odd, safe=""), path), {})
    assert asked > 400


ID: Final = "0" * 32


@pytest.mark.parametrize(
    ("sort", "value", "currency"),
    [
        ("waiting", "9" * 30, ""),
        ("money", "1e999999", "EUR"),
        ("money", "1", "\0"),
        ("money", "1", "\ud800"),
        ("oldest", "2026-W01-1", ""),
        ("oldest", "2026-01-01 00:00:00+20:00", ""),
        ("name", "\ud800", ""),
        ("name", "\0", ""),
    ],
)
def test_a_place_that_somebody_has_made_up_is_no_fault_of_ours(
    site: Site, sort: str, value: str, currency: str
) -> None:
    site.log_in(Role.VIEWER)
    at = base64.urlsafe_b64encode(json.dumps([value, currency, ID, False]).encode()).decode()
    assert site.client.get("/admin/items", params={"sort": sort, "at": at}).status_code in (200, 400)


def test_a_place_that_is_deep_is_no_fault_of_ours(light: Site) -> None:
    light.log_in(Role.VIEWER)
    at = base64.urlsafe_b64encode(b"[" * 40_000).decode()
    assert light.client.get("/admin/items", params={"at": at}).status_code == 400


@pytest.mark.parametrize(
    ("charset", "value"), [("utf-7", b"+2AA-"), ("unicode_escape", b"\\ud800"), ("undefined", b"x"), ("UTF-8", b"x")]
)
def test_a_form_in_another_charset_is_refused(light: Site, charset: str, value: bytes) -> None:
    """They could hold half of a pair of surrogates, which no page can show."""
    body = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + value + b"\r\n--b--\r\n"
    head = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = browser(light).post("/admin/login", content=body, headers=head)
    assert answer.status_code == (401 if charset == "UTF-8" else 400)

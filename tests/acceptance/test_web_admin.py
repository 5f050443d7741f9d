"""The pages for admins as processes: the first start, users from the command line, cookies on plain http."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest

from tests.acceptance.stockbell import Stockbell, done, refused
from tests.acceptance.test_web import started
from tests.ports import free_port
from worker.store.admins import is_any

PASSWORD = "correct horse battery"


@pytest.fixture
def program(alone: Stockbell) -> Iterator[Stockbell]:
    """The program with a database, and without Redis: to log in needs none."""
    yield alone
    alone.stop_all()


def call(
    port: int, method: str, path: str, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Returns the status, the cookie that was set or the place to go to, and the body."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        connection.request(method, path, urlencode(fields or {}) or None, {**form, **(headers or {})})
        reply = connection.getresponse()
        return reply.status, reply.headers.get("set-cookie", ""), reply.read().decode()


def test_the_first_admin_comes_by_the_link_and_others_log_in(program: Stockbell) -> None:
    _, port = started(program, "--serve", "admin")
    (link,) = re.findall(rf"http://127\.0\.0\.1:{port}(/admin/first/\S+)", program.logs())
    (line,) = [line for line in program.logs().splitlines() if link in line]
    assert not line.startswith("{"), "the link is in no log"
    ours = {"Origin": f"http://127.0.0.1:{port}"}
    assert call(port, "POST", link, {})[0] == 403
    status, cookie, _ = call(port, "POST", link, {}, ours)
    assert status == 303
    assert re.fullmatch(r"stockbell=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=lax", cookie)
    first = {"Cookie": cookie.partition(";")[0]}
    assert call(port, "GET", "/admin/me", None, first)[0] == 200
    assert call(port, "POST", link, {}, ours)[0] == 404

    done(program.run("admin", "add", "Jane", "--role", "admin", text=f"{PASSWORD}\n"))
    assert call(port, "GET", "/admin/me", None, first)[0] == 303
    assert call(port, "POST", "/admin/login", {"name": "jane", "password": "wrong"}, ours)[0] == 401
    status, cookie, _ = call(port, "POST", "/admin/login", {"name": "jane", "password": PASSWORD}, ours)
    assert status == 303
    jane = {"Cookie": cookie.partition(";")[0]}
    assert "jane" in call(port, "GET", "/admin/me", None, jane)[2]
    sessions = done(program.run("admin", "sessions", "jane", "--json"))
    assert len(sessions.splitlines()) == 1
    assert json.loads(done(program.run("admin", "sessions", "jane", "--end", "--json"))) == {"name": "jane", "ended": 1}
    assert call(port, "GET", "/admin/me", None, jane)[0] == 303
    for secret in (PASSWORD, cookie[10:53], link):
        assert secret not in program.logs().replace(line, "")
    assert "Traceback" not in program.logs()


def test_without_a_user_it_serves_no_other_machine(program: Stockbell) -> None:
    said = refused(program.run("web", "--serve", "admin", "--host", "0.0.0.0", "--port", str(free_port())))  # noqa: S104
    assert "stockbell admin add NAME --role admin" in said


def test_users_are_added_changed_listed_and_removed(program: Stockbell) -> None:
    assert "no users" in program.run("admin", "list").stderr
    made = program.run("admin", "add", "jane", "--role", "viewer", "--json", text=f"{PASSWORD}\n")
    assert json.loads(done(made)) == {"name": "jane", "role": "viewer"}
    again = program.run("admin", "add", "JANE", "--role", "admin", text=f"{PASSWORD}\n")
    assert (again.returncode, again.stderr.strip()) == (1, "there is a user jane already")
    assert "jane is admin now" in done(program.run("admin", "role", "jane", "admin"))
    assert json.loads(done(program.run("admin", "role", "jane", "admin", "--json")))["changed"] is False
    done(program.run("admin", "password", "jane", text="another good one\n"))
    (row,) = map(json.loads, done(program.run("admin", "list", "--json")).splitlines())
    assert (row["name"], row["role"], row["lastLogin"], row["sessions"]) == ("jane", "admin", None, 0)
    assert "jane" in done(program.run("admin", "list"))
    removed = program.run("admin", "remove", "jane")
    assert "removed: jane" in done(removed)
    assert "no user is left" in removed.stderr
    assert program.run("admin", "remove", "jane").returncode == 1
    assert program.run("admin", "password", "jane", text=f"{PASSWORD}\n").returncode == 1
    assert program._database.read(is_any) is False


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("jane", "short", "12 to 200 characters"),
        ("jane", "", "12 to 200 characters"),
        ("jane-the-admin", "jane-the-admin", "must not be the name"),
        ("cli:root", PASSWORD, "NAME must not"),
    ],
)
def test_a_name_or_password_that_is_not_good_is_refused(
    program: Stockbell, name: str, password: str, words: str
) -> None:
    answer = program.run("admin", "add", name, "--role", "admin", text=f"{password}\n")
    assert answer.returncode in {1, 2}
    assert words in " ".join(answer.stderr.replace("│", " ").split())
    assert password not in answer.stderr or password in {"", name}
    assert program._database.read(is_any) is False

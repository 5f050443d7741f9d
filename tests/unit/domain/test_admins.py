"""Rules of the log-in: names, passwords, where it leads, and what a browser says of itself."""

import pytest

from worker.domain.admins import browser_of, checked_password, checked_user, own_path


@pytest.mark.parametrize(
    "path",
    ["/admin", "/admin/", "/admin/requests?status=FAILED&option=a%3Db", "/admin/why?q=a//b", "/admin/items/x/%C3%BC"],
)
def test_a_log_in_leads_to_a_page_of_ours(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/admin\\..\\..\\evil",
        "https://evil.example/admin",
        "javascript:alert(1)",
        "/admin//evil.example",
        "/admin/../evil",
        "/admin/%2e%2E/evil",
        "/administrator",
        "/admin/x\r\nSet-Cookie: a=b",
        "/admin/\t/evil",
        "/admin/\u2028",
        " /admin/",
        "/admin/login",
        "/admin/logout?x",
        "/admin/first/secret",
        f"/admin/{'x' * 4000}",
    ],
)
def test_a_log_in_leads_nowhere_else(path: str | None) -> None:
    assert own_path(path) is None


def test_names_are_alike_whatever_the_case_and_the_keyboard() -> None:
    assert checked_user("  Jane ") == "jane"
    assert checked_user("Jose\u0301") == checked_user("JOS\u00c9")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "a\u202eb", "first", "FIRST", "cli:root"])
def test_a_name_that_the_audit_trail_could_not_tell_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="NAME must"):
        checked_user(name)


@pytest.mark.parametrize("password", ["", "short", "x" * 201, "jane-the-admin", "aaaaaaaaaaaaaaaa", "abababababab"])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="the password must"):
        checked_password(password, "jane-the-admin")


def test_a_password_is_the_same_from_each_keyboard() -> None:
    assert checked_password("caf\u00e9 caf\u00e9 caf\u00e9", "jane") == checked_password(
        "cafe\u0301 cafe\u0301 cafe\u0301", "jane"
    )


@pytest.mark.parametrize(
    ("user_agent", "browser"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/156.0 Safari/537.36 Edg/156.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605 Version/19 Safari/605", "Safari on macOS"),
        ("Mozilla/5.0 (Linux; Android 16) Chrome/156.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.10", "curl"),
        ("<script>alert(1)</script>", None),
        ("", None),
    ],
)
def test_a_browser_is_named_for_people(user_agent: str, browser: str | None) -> None:
    assert browser_of(user_agent) == browser

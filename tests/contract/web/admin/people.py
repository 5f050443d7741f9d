"""Users of the pages for admins, and their browsers."""

from typing import Any, Final

from argon2 import PasswordHasher
from starlette.testclient import TestClient

from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.store import admins
from worker.web import passwords
from worker.web.admin.gate import COOKIE, SECURE_COOKIE

PASSWORD: Final = "correct horse battery"
FAST: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SAME: Final = {"Sec-Fetch-Site": "same-origin"}


def add_user(site: Site, name: str = "ada", role: Role = Role.ADMIN, password: str = PASSWORD) -> None:
    assert site.shop.write(admins.add, name, role, passwords.hash_of(password))


def browser(site: Site, host: str = "198.51.100.7", base: str = "https://notify.shop.example") -> TestClient:
    """Returns a browser of its own, on a page of ours."""
    app: Any = site.client.app
    client = TestClient(
        app, base_url=base, client=(host, 50_000), headers=SAME, raise_server_exceptions=False, follow_redirects=False
    )
    client.portal = site.client.portal  # one event loop, as in one process
    return client


def log_in(client: TestClient, name: str = "ada", password: str = PASSWORD, **fields: str) -> Any:
    return client.post("/admin/login", data={"name": name, "password": password, **fields})


def secret_of(client: TestClient) -> str | None:
    return client.cookies.get(SECURE_COOKIE) or client.cookies.get(COOKIE)

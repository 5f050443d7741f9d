"""The web process over a shop's database, called as by HTTP but without a socket."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from starlette.testclient import TestClient

from config.settings import Settings
from tests.contract.shop import Shop
from worker.domain.admins import Role
from worker.domain.api_keys import Scope
from worker.processes.bootstrap import Parts
from worker.store import admins, keys
from worker.web.admin.gate import SECURE_COOKIE
from worker.web.app import USUAL, Part, create_app
from worker.web.context import Context

SECRET: Final = "0123456789abcdef0123456789abcdef"
ORIGIN: Final = "https://shop.example"


class Site:
    """One web process, and what its clients do."""

    def __init__(self, shop: Shop, context: Context, client: TestClient) -> None:
        self.shop = shop
        self.context = context
        self.client = client

    def key(self, scope: Scope = Scope.ADMIN, *origins: str) -> str:
        """Makes a key and returns it."""
        given = origins or ((ORIGIN,) if scope is Scope.CREATE else ())
        return self.shop.write(keys.create, "test", scope, given).text

    def log_in(self, role: Role = Role.ADMIN, name: str = "ada") -> None:
        """Logs the client in to the pages for admins."""
        self.client.cookies.set(SECURE_COOKIE, self.shop.write(admins.open_session, name, role))
        self.client.headers["Sec-Fetch-Site"] = "same-origin"

    def headers(self, scope: Scope = Scope.ADMIN) -> Mapping[str, str]:
        """Returns the headers of a caller who has a new key with this scope."""
        origin = {"Origin": ORIGIN} if scope is Scope.CREATE else {}
        return {"Authorization": self.key(scope), **origin}


@contextmanager
def context_of(shop: Shop, *, redis_url: str = "redis://127.0.0.1:1/0", **settings: Any) -> Iterator[Context]:
    """Makes the parts of a web process that serves nothing yet. Its settings are as in `site_over`."""
    given = {"secret_key": SECRET, "public_url": "https://notify.shop.example", **settings}
    context = Context(Parts(Settings(database_url=shop.url, redis_url=redis_url, **given)))
    try:
        yield context
    finally:
        context.close()


@contextmanager
def site_over(
    shop: Shop, *, serve: Collection[Part] = USUAL, redis_url: str = "redis://127.0.0.1:1/0", **settings: Any
) -> Iterator[Site]:
    """Opens a web process. Without a `redis_url`, Redis is away. `settings` are fields of `Settings`.

    To make all parts takes a tenth of a second, so tests serve what they call.
    """
    with (
        context_of(shop, redis_url=redis_url, **settings) as context,
        # The client's own errors are answers: a fault of ours is a 500, as for everybody else.
        TestClient(
            create_app(context, serve), base_url="https://notify.shop.example", raise_server_exceptions=False
        ) as client,
    ):
        yield Site(shop, context, client)


pages_over: Final = partial(site_over, serve=frozenset({Part.ADMIN}))
"""Opens a web process as `site_over` does, which serves the pages for admins and nothing else."""

"""Fixtures: a real web process behind https, keys for it, and scripts for Node that call it."""

import shutil
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.acceptance.stockbell import Stockbell
from tests.polling import eventually
from tests.ports import free_port
from tests.postgres_server import Databases
from tests.proxy import Proxy
from tests.redis_server import RedisServer
from tests.relay import ScriptedRelay
from tests.web import nodes, tools
from worker.domain.api_keys import Scope
from worker.store import keys

SECRET: Final = "0123456789abcdef0123456789abcdef"


class Site:
    """The program with its web process, and how clients reach that one."""

    def __init__(self, program: Stockbell, host: str, authority: Path) -> None:
        self.program = program
        self.host = host
        self._authority = authority

    def key(self, scope: Scope = Scope.ADMIN, *origins: str) -> str:
        """Makes a key and returns it."""
        return self.program.write(keys.create, "test", scope, origins).text

    def run(self, script: str, **given: Any) -> Any:
        """Runs a script with the address and an admin's key, and what else is given. Returns what it tells."""
        try:
            return nodes.run(script, self._authority, host=self.host, **{"key": self.key(), **given})
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.program.logs()}") from None


@contextmanager
def site_on(database_url: str, folder: Path, serve: str = "", **settings: str) -> Iterator[Site]:
    """Starts a web process on this database, with a Redis, a relay that takes every mail, and https in front.

    `serve` names the parts that it serves, if not the usual ones. `settings` are environment variables.
    """
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    port = free_port()
    with ExitStack() as stack:
        redis = RedisServer()
        redis.start()
        stack.callback(redis.stop)
        relay = stack.enter_context(ScriptedRelay())
        program = Stockbell(database_url, redis, relay, folder)
        stack.callback(program.stop_all)
        host = f"localhost:{stack.enter_context(Proxy(port, tls)).port}"
        program.environment |= {"STOCKBELL_PUBLIC_URL": f"https://{host}", "STOCKBELL_SECRET_KEY": SECRET, **settings}
        program.start("web", *(["--serve", serve] if serve else []), PORT=str(port))
        eventually(lambda: "web.started" in program.logs())
        yield Site(program, host, folder / "ca.pem")


@pytest.fixture(scope="session")
def site(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web process on SQLite, for all tests. Each has items of its own."""
    folder = tmp_path_factory.mktemp("site")
    with site_on(f"sqlite:///{shutil.copy(migrated_sqlite, folder / 'stockbell.db')}", folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def site_on_postgresql(
    postgres: Databases, migrated_postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A web process on PostgreSQL."""
    folder = tmp_path_factory.mktemp("site")
    with postgres.database(template=migrated_postgres) as url, site_on(url, folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def in_pages() -> None:
    """For tests that need Chromium: they are skipped without."""
    if not tools.chromium():
        pytest.skip("there is no Chromium")

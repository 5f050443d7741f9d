"""A real PgBouncer in front of a PostgreSQL of the tests. Debian's package has the program."""

import os
import pwd
import shutil
import signal
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.bench.processes import answers, running
from tests.polling import eventually
from tests.ports import free_port

PROGRAM: Final = os.environ.get("TEST_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
WITHOUT: Final = "pgbouncer is not installed"
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason=WITHOUT)

OTHERS: Final = {
    "timezone": "Asia/Tokyo",
    "datestyle": "SQL, DMY",
    "lock_timeout": "1ms",
    "statement_timeout": "7s",
    "idle_in_transaction_session_timeout": "3s",
    "default_transaction_isolation": "serializable",
}
"""What somebody else has set on each of the pooler's connections to the server."""

Mode = Literal["session", "transaction", "statement"]


class PgBouncer:
    """One PgBouncer at one port, in front of all databases of one server. It is a context manager.

    It has few connections to the server and takes them in turn. So transactions of one client get different ones.
    """

    def __init__(self, server: str, mode: Mode = "transaction", *, pool_size: int = 3, **settings: str) -> None:
        """`server` is the URL of any of the server's databases. Everybody is let in who has its user's name."""
        self._server = make_url(server)
        self._settings = {"pool_mode": mode, "default_pool_size": str(pool_size), **settings}
        self.port = free_port()

    def __enter__(self) -> "PgBouncer":
        assert PROGRAM is not None, WITHOUT
        self._directory = TemporaryDirectory(prefix="stockbell-pgbouncer-")
        self._home = Path(self._directory.name)
        (self._home / "users.txt").write_text(f'"{self._server.username}" ""\n')
        self.configure()
        for path in (self._home, *self._home.iterdir()):
            os.chown(path, *_owner())
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.cleanup()

    def configure(self, **settings: str) -> None:
        """Writes the configuration, with these settings too. A running PgBouncer has to be told by `reload`."""
        self._settings |= settings
        others = "; ".join(f"SET {name} TO ''{value}''" for name, value in OTHERS.items())
        fixed = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(self._home / "users.txt"),
            "admin_users": str(self._server.username),
            "max_client_conn": "1000",
            "min_pool_size": "2",
            "server_round_robin": "1",
            "server_login_retry": "1",
        }
        lines = [
            "[databases]",
            f"* = host={self._server.host} port={self._server.port} connect_query='{others}'",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in (fixed | self._settings).items()),
        ]
        (self._home / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def url(self, url: str) -> str:
        """Returns the URL of the same database, through this pooler."""
        return make_url(url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

    def start(self) -> None:
        user, group = _owner()
        identity: dict[str, Any] = {"user": user, "group": group, "extra_groups": []} if os.geteuid() == 0 else {}
        self._end = ExitStack()
        command = [str(PROGRAM), "--quiet", str(self._home / "pgbouncer.ini")]
        self._process = self._end.enter_context(running(command, log=self._home / "log", **identity))
        eventually(lambda: answers(self.port), until="PgBouncer answers")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Ends it at once, with all its connections: in order, or as a crash would (SIGKILL).

        From version 1.23 on it waits for its clients at SIGTERM.
        """
        self._signal(how)
        self._process.wait(60)
        self._end.close()

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        self.stop(how)
        self.start()

    def pause(self) -> None:
        """Lets running transactions end, and begins none."""
        self._signal(signal.SIGUSR1)

    def resume(self) -> None:
        self._signal(signal.SIGUSR2)

    def reload(self) -> None:
        """Reads the configuration again."""
        self._signal(signal.SIGHUP)

    def drop(self, url: str) -> None:
        """Ends all connections to this database at once, of clients and to the server, and lets clients in again."""
        console = make_url(self.url(url)).set(drivername="postgresql", database="pgbouncer")
        with closing(psycopg.connect(console.render_as_string(hide_password=False), autocommit=True)) as admin:
            for command in ("KILL", "RESUME"):
                admin.execute(f"{command} {make_url(url).database}".encode())

    def _signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


def _owner() -> tuple[int, int]:
    """PgBouncer refuses to run as root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid

"""The primary fails, and its standby takes over. The old primary comes back as the standby of the new one.

A commit is on both before it is answered (`synchronous_standby_names`), so nothing may be lost.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tests.confidential import PASSWORD
from tests.faults.postgres import PostgresServer
from tests.faults.trial import Result, World
from tests.polling import eventually
from tests.postgres_server import USER

_IN_STEP = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


class Pair:
    """Two servers: a primary and its standby. It is a context manager."""

    def __init__(self, directory: Path) -> None:
        self._servers = self.primary, self.standby = _server(directory / "first"), _server(directory / "second")
        self._stack = ExitStack()

    def __enter__(self) -> "Pair":
        for server in self._servers:
            self._stack.callback(server.close)
        self.primary.__enter__()
        # Kept in the data, where pg_rewind finds it too: it needs what came after the last common checkpoint.
        self.primary.execute("ALTER SYSTEM SET wal_keep_size = '512MB'")
        self.primary.execute("SELECT pg_reload_conf()")
        self.standby.run("pg_basebackup", "-D", "data", "-R", "--checkpoint=fast", "--no-sync", "-d", self._source())
        self._follow()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yields the URL of a new database with our tables and no rows. It names both hosts and stays the same."""
        name = f"faults_{uuid4().hex}"
        self.primary.execute(f"CREATE DATABASE {name} TEMPLATE template")
        try:
            yield self.url(name)
        finally:
            self.primary.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """Returns the URL of a database that is on both."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self._servers)
        return f"postgresql://{USER}:{PASSWORD}@{hosts}/{name}"

    def kill(self) -> None:
        """Fails over because the primary's machine is gone."""
        self.primary.kill()
        self.promote()
        self.come_back()

    def freeze(self) -> None:
        """Fails over because the primary says nothing any more. It is ended before it can wake up."""
        self.primary.pause()
        self.promote()
        self.standby.kill()
        self.come_back()

    def stop(self) -> None:
        """Switches over in order, as before a maintenance."""
        self.primary.stop("fast")
        self.promote()
        self.come_back()

    def promote(self) -> None:
        """Makes the standby the primary. Commits wait for no other server meanwhile."""
        self.standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
        self.standby.execute("SELECT pg_promote()")
        self.primary, self.standby = self.standby, self.primary

    def come_back(self) -> None:
        """Starts the old primary as the standby of the new one, without what only the old one had committed."""
        self.primary.execute("CHECKPOINT")  # pg_rewind reads the new timeline from it
        self.standby.run("pg_rewind", "-D", "data", "-R", "--no-sync", f"--source-server={self._source()}")
        self._follow()

    def _follow(self) -> None:
        self.standby.start()
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.execute("SELECT pg_reload_conf()")
        eventually(lambda: self.primary.ask(_IN_STEP, self.primary.url), until="the standby is in step")

    def _source(self) -> str:
        return f"host=127.0.0.1 port={self.primary.port} user={USER} dbname=postgres"


def _server(directory: Path) -> PostgresServer:
    directory.mkdir(mode=0o755)
    server = PostgresServer(directory)
    server.options = ("-c", "full_page_writes=on")  # for pg_rewind
    return server


def run(world: World) -> Result:
    """Fails over to the standby and back, again and again. The processes find the new primary by themselves."""
    mails, rounds = world.size(600, 20_000), world.size(1, 3)
    with TemporaryDirectory(dir=world.directory) as directory:
        Path(directory).chmod(0o755)  # PostgreSQL may have to run as another user
        with Pair(Path(directory)) as pair, world.trial("standby takes over", postgres=pair) as trial:
            items = ["mug-0", "mug-1"]
            for item in items:
                trial.waiting(item, mails // 2)
            pair.stop()  # so that the host that is named first only reads when the processes start
            trial.start()
            steps = [
                ("primary killed", pair.kill),
                ("primary stopped", pair.stop),
                *[("primary frozen", pair.freeze)] * world.size(0, 1),
            ] * rounds
            trial.chance.shuffle(steps)
            for place, (what, action) in zip(trial.places(len(steps), mails), steps, strict=True):
                trial.at(place, what, action)
            trial.publish(*items)
            trial.settle()
            return trial.result()

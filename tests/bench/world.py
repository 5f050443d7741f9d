"""What all measurements share: the servers, the sizes, and a way to start a system."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.fill import fill
from tests.bench.processes import say
from tests.bench.program import Program
from tests.bench.servers import Postgres, Relay
from worker.migrations import migrate

ALL = ("listen", "work -c 2", "schedule")


LISTS = 20_000, 200
WAITING, TOLD = 10, 90
"""The numbers of people on each list of the large table."""


@dataclass(frozen=True)
class World:
    """One run of the benchmark. What it makes is there until `stack` is closed."""

    quick: bool
    directory: Path
    postgres: Postgres
    sink: Relay
    stack: ExitStack

    @cached_property
    def large(self) -> str:
        """The URL of a database with two million requests on 20,000 lists. On each, 10 people wait and 90 were told."""
        url, lists, began = self.stack.enter_context(self.database()), self.size(*LISTS), time.monotonic()
        fill(url, "shelf", items=lists, waiting=WAITING, told=TOLD)
        say(f"a table of {lists * (WAITING + TOLD):,} requests on {lists:,} lists: {time.monotonic() - began:.0f} s")
        return url

    @property
    def rounds(self) -> range:
        """The rounds of each measurement. The median of the rounds counts."""
        return range(1 if self.quick else 3)

    def size(self, full: int, quick: int) -> int:
        """Returns how many of something there are in this run."""
        return quick if self.quick else full

    def size_seconds(self, full: float, quick: float) -> float:
        """Returns how long something is watched in this run."""
        return quick if self.quick else full

    @contextmanager
    def database(self, kind: str = "PostgreSQL") -> Iterator[str]:
        """Yields the URL of a new, migrated database."""
        if kind == "PostgreSQL":
            with self.postgres.database() as url:
                yield url
        else:
            with TemporaryDirectory(dir=self.directory) as directory:
                url = f"sqlite:///{directory}/stockbell.db"
                migrate(url)
                yield url

    @contextmanager
    def program(
        self,
        url: str,
        *commands: str,
        relay: Relay | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Program]:
        """Yields a system on this database, up and idle."""
        relay = relay or self.sink
        servers = {"relay": relay.pid}
        if url.startswith("postgresql"):
            servers["PostgreSQL"] = self.postgres.pid
        with TemporaryDirectory(dir=self.directory) as directory:
            program = Program(url, relay, Path(directory), servers, settings or {})
            with program.up(*(commands or ALL)):
                yield program


def progress(scenario: str, text: str) -> None:
    """Prints a line for people who wait."""
    say(f"{scenario}: {text}")

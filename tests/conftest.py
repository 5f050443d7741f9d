"""Fixtures for all tests: databases, servers, and how hypothesis looks for examples."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import postgres_server
from tests.postgres_server import Databases, database_name

# The machine may be busy, so no example has a time limit. In CI every run uses the same examples, so few are enough.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

pytest_plugins = ["tests.redis_server"]

RUN = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Gives the run a directory that all its processes share and every user may read. Lets Ctrl-C reach the tests."""
    # A shell makes its background programs ignore SIGINT. Everything that the tests start would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    inherited = getattr(config, "workerinput", {}).get("run")
    run = Path(inherited or tempfile.mkdtemp(prefix="stockbell-test-"))
    run.chmod(0o755)
    config.stash[RUN] = run


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells an xdist worker the run's directory."""
    node.workerinput["run"] = str(node.config.stash[RUN])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leaves nothing behind. xdist's workers have ended when this is called in their parent."""
    if not hasattr(config, "workerinput"):
        postgres_server.wait_until_stopped(config.stash[RUN])
        shutil.rmtree(config.stash[RUN])


def pytest_collection_finish() -> None:
    """Spares the garbage collector the tests and all that they import: it would look at all that again each time."""
    gc.freeze()


SLOW = ("tests/faults/test_scenarios.py", "tests/acceptance/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lets each xdist worker begin with its share of the slow tests and end with quick ones.

    Each worker gets one slice of the list. A worker that is done takes tests from the end of another worker's slice.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 0)
    if workers:
        slow = [item for name in SLOW for item in items if item.nodeid.startswith(name)]
        others = [item for item in items if not item.nodeid.startswith(SLOW)]
        shares = [slow[number::workers] + _slice(others, number, workers) for number in range(workers)]
        items[:] = [item for share in shares for item in share]


def _slice(items: list[pytest.Item], number: int, count: int) -> list[pytest.Item]:
    """Returns one of `count` slices. Neighbours share what is made once for their module."""
    return items[len(items) * number // count : len(items) * (number + 1) // count]


@contextmanager
def _postgres_url(run: Path) -> Iterator[str]:
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given  # its user must be allowed to create databases
    elif postgres_server.available():
        with postgres_server.running_server(run) as url:
            yield url
    else:
        pytest.fail("there is no PostgreSQL wheel here: set TEST_DATABASE_URL", pytrace=False)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """A PostgreSQL server to make databases on."""
    with _postgres_url(pytestconfig.stash[RUN]) as url, closing(Databases(url)) as databases:
        yield databases


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Databases) -> Iterator[str]:
    """The name of a database with our tables, to make copies of. Nobody may connect to it."""
    with postgres.database() as url:
        _migrate(url)
        yield database_name(url)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our tables, to make copies of."""
    path = tmp_path_factory.mktemp("template") / "stockbell.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres: Databases, migrated_postgres: str) -> Iterator[str]:
    """A PostgreSQL database with our tables and no rows, for one test."""
    with postgres.database(template=migrated_postgres) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """A SQLite database with our tables and no rows, for one test."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'stockbell.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database_url(request: pytest.FixtureRequest) -> str:
    """A database with our tables and no rows. The test runs once for each kind of database."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def empty_postgres_url(postgres: Databases) -> Iterator[str]:
    """A PostgreSQL database without tables, for one test."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def any_empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables. The test runs once for each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


def _migrate(url: str) -> None:
    # Imported here, so that unit tests don't wait for Alembic.
    from worker.migrations import migrate

    migrate(url)

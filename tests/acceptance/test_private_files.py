"""What we write contains addresses. So only our user may read it, whatever the umask."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stockbell import Stockbell, done
from tests.polling import eventually


def not_private(directory: Path) -> list[str]:
    """Returns what others could read below a directory, and the directory itself."""
    found = [directory, *directory.rglob("*")]
    return [f"{path.name}: {path.stat().st_mode & 0o777:o}" for path in found if path.stat().st_mode & 0o077]


@pytest.fixture(autouse=True)
def _generous_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_the_database_and_what_lies_beside_it_are_private(alone: Stockbell, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    alone.environment["DATABASE_URL"] = f"sqlite:///{folder}/new.db"
    done(alone.run("migrate"))
    scheduler = alone.start("schedule")
    try:
        eventually(lambda: len(list(folder.iterdir())) == 3, until="the database is open")
        done(alone.run("requests", "create", "jane@customer.example", "mug-1"))
        assert {path.name for path in folder.iterdir()} == {"new.db", "new.db-shm", "new.db-wal"}
        assert not_private(folder) == []
    finally:
        scheduler.terminate()
        assert scheduler.wait(60) == 0


def test_a_preview_is_private(alone: Stockbell, tmp_path: Path) -> None:
    done(alone.run("preview", "mug-1", "--folder", str(tmp_path / "out")))
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert not_private(tmp_path / "out") == []

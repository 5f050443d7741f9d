"""A database is migrated while processes work on it: first expanded, then contracted when its old parts are unused."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.processes import ROOT
from tests.faults.scaling import replace
from tests.faults.system import COMMANDS
from tests.faults.trial import Result, Trial, World
from worker.models import SCHEMA

_REVISION = """import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {changes}
"""
_EXPAND = (
    # These lock tables in another order than working processes do, and an index on a large table takes its time.
    'op.add_column("request", sa.Column("note", sa.Text(), nullable=True))',
    'op.create_index("request_note", "request", ["note"])',
    'op.execute("SELECT pg_sleep(1)")',
    'op.add_column("attempt", sa.Column("note", sa.Text(), nullable=True))',
    'op.add_column("waiting_list", sa.Column("weight", sa.Integer(), nullable=False, server_default="0"))',
    'op.add_column("item", sa.Column("weight", sa.Integer(), nullable=False, server_default="0"))',
    'op.add_column("owner", sa.Column("note", sa.Text(), nullable=True))',
)
_CONTRACT = (
    'op.drop_index("request_note", "request")',
    'op.drop_column("request", "note")',
    'op.drop_column("attempt", "note")',
    'op.drop_column("waiting_list", "weight")',
    'op.drop_column("item", "weight")',
    'op.drop_column("owner", "note")',
)

MOST_ITEMS = 100
"""The most items that are told while a migration runs. The migration should be done long before."""


def run(world: World) -> Result:
    """Applies the revision of each release amid mails, and then replaces the processes one by one.

    Until they are replaced, the old processes work on the new schema. So does one that is started again.
    """
    mails, rounds = world.size(100, 500), world.size(1, 4)
    with _releases(world) as directory, world.trial("migrated under load") as trial:
        trial.start()
        for role in COMMANDS:
            trial.until_ready(role, 1)
        for number in range(1, 2 * rounds + 1):
            release, is_expansion = _release(directory, number), number % 2 == 1
            _migrate(trial, release, mails)
            trial.broke("schema expanded" if is_expansion else "schema contracted")
            if is_expansion:
                _check_the_old_one(trial)
                replace(trial, "worker", f"old-{number}", mails)
            trial.system.environment["PYTHONPATH"] = str(release)
            for role in () if world.short else COMMANDS:
                replace(trial, role, f"{role}-{number}", mails)
        found = world.postgres.deadlocks(trial.system.url)
        trial.expect_that(found == 0, f"{found} deadlocks")
        trial.expect_that("Traceback" not in trial.system.logs(), "a traceback in a log")
        return trial.result()


@contextmanager
def _releases(world: World) -> Iterator[Path]:
    with TemporaryDirectory(dir=world.directory) as name:
        yield Path(name)


def _release(directory: Path, number: int) -> Path:
    """Makes a copy of the program with `number` more revisions, and returns its directory."""
    tree = directory / str(number)
    for each in ("worker", "config", "templates"):
        shutil.copytree(ROOT / each, tree / each)
    for more in range(1, number + 1):
        changes = "\n    ".join(_EXPAND if more % 2 else _CONTRACT)
        text = _REVISION.format(revision=_revision(more), before=_revision(more - 1), changes=changes)
        (tree / "worker" / "migrations" / "versions" / f"{_revision(more)}_next.py").write_text(text)
    models = tree / "worker" / "models.py"
    models.write_text(models.read_text().replace(f'SCHEMA = "{SCHEMA}"', f'SCHEMA = "{_revision(number)}"'))
    return tree


def _revision(number: int) -> str:
    return f"{int(SCHEMA) + number:04}"


def _migrate(trial: Trial, release: Path, mails: int) -> None:
    """Migrates as ops do: by a process of the new release.

    Meanwhile the processes of the old release tell the customers of one item after another. Customers also sign up
    meanwhile.
    """
    migration = trial.system.start("migrate", PYTHONPATH=str(release))
    for number in range(MOST_ITEMS):
        item = f"{release.name}-{number}"
        trial.waiting(item, mails)
        trial.publish(item)
        trial.settle()
        if migration.poll() is not None:
            break
    trial.ended(trial.system.wait_for([migration]))


def _check_the_old_one(trial: Trial) -> None:
    """Checks that the old release says that the schema is newer, and works."""
    answer = trial.system.run_anew("status", "--json")
    trial.expect_that(answer.returncode == 0, f"`status` ended with {answer.returncode}")
    trial.expect_that("schema.newer" in answer.stderr, "`status` said nothing about a newer schema")

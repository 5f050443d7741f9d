"""The output directory of the demo. It also removes the output of an earlier demo."""

import fcntl
import shutil
import tempfile
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Final

NAME: Final = "demo-out"
_MARK: Final = ".stockbell-demo"
_DIRECTORIES: Final = "mails", "logs"
_FILES: Final = "first-mail.html", "stockbell.db", "stockbell.db-wal"


@dataclass(frozen=True, slots=True)
class Output:
    """The output directory of one demo. It is locked against other demos while this one runs."""

    directory: Path
    lock: TextIOWrapper

    @property
    def mails(self) -> Path:
        """The directory of the accepted mails."""
        return self.directory / "mails"

    @property
    def logs(self) -> Path:
        """The directory of the logs, one per process."""
        return self.directory / "logs"

    @property
    def first_mail(self) -> Path:
        """The file with the first mail's HTML."""
        return self.directory / "first-mail.html"

    @property
    def database(self) -> Path:
        """The file with the final database."""
        return self.directory / "stockbell.db"

    def keep(self, directory: Path) -> None:
        """Copies the database from `directory`. No process may be using it."""
        for file in directory.glob(f"{self.database.name}*"):
            if file.name in _FILES:
                shutil.copy(file, self.directory)

    @property
    def shown(self) -> str:
        """The directory as a user would type it."""
        here = Path.cwd()
        return str(self.directory.relative_to(here) if self.directory.is_relative_to(here) else self.directory)


def prepare() -> Output:
    """Returns an empty output directory: `./demo-out`, or a temporary one if the demo may not use that."""
    wanted = Path.cwd() / NAME
    lock = _taken(wanted)
    if lock is None:
        wanted = Path(tempfile.mkdtemp(prefix="stockbell-demo-out-"))
        lock = _taken(wanted)
    if lock is None:
        raise OSError(f"can't write to {wanted}")
    for name in _DIRECTORIES:
        (wanted / name).mkdir()
    return Output(wanted, lock)


def _taken(directory: Path) -> TextIOWrapper | None:
    """Locks and clears a directory. Returns None if no demo made it, or if another demo is using it."""
    mark = directory / _MARK
    try:
        directory.mkdir(exist_ok=True)
        if directory.is_symlink() or not (mark.is_file() or _is_empty(directory)):
            return None
        lock = mark.open("a", encoding="utf-8")
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(directory)
    except OSError:
        lock.close()
        return None
    return lock


def _is_empty(directory: Path) -> bool:
    return next(directory.iterdir(), None) is None


def _clear(directory: Path) -> None:
    """Removes the files of an earlier demo, and nothing else."""
    for name in _DIRECTORIES:
        if (directory / name).exists():
            shutil.rmtree(directory / name)  # refuses symbolic links
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)

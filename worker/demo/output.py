"""Where the demo leaves what people may want to look at, and how an earlier demo's output is cleared away."""

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
    """The directory of one demo. Another demo can't take it while this one runs."""

    directory: Path
    lock: TextIOWrapper

    @property
    def mails(self) -> Path:
        """The mails that the inbox took."""
        return self.directory / "mails"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.directory / "logs"

    @property
    def first_mail(self) -> Path:
        """The first mail's HTML part."""
        return self.directory / "first-mail.html"

    @property
    def database(self) -> Path:
        """The database as it was at the end."""
        return self.directory / "stockbell.db"

    def keep(self, directory: Path) -> None:
        """Keeps the database that is in `directory`; nobody may be using it."""
        for file in directory.glob(f"{self.database.name}*"):
            if file.name in _FILES:
                shutil.copy(file, self.directory)

    @property
    def shown(self) -> str:
        """The directory as people would type it."""
        here = Path.cwd()
        return str(self.directory.relative_to(here) if self.directory.is_relative_to(here) else self.directory)


def prepare() -> Output:
    """An empty output directory: `demo-out` here, or a temporary one where that isn't ours to use."""
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
    """Takes and clears a directory; None if somebody else made it, or another demo is using it."""
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
    """Removes what an earlier demo wrote, and nothing else."""
    for name in _DIRECTORIES:
        if (directory / name).exists():
            shutil.rmtree(directory / name)  # refuses symbolic links
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)

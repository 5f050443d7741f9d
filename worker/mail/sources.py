"""The files that mails are made from: a shop's own, and ours where it has none, file by file.

They are read once, when a process starts. What changes later is for the next start, so no mail is half of one version
and half of another. Only what is broken is read again, once the shop has changed something.
`shipped/_base/item.html` is our file, also if the shop has one of that name.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, TypeVar

from worker.domain.errors import TemplateBroken

SHIPPED: Final = "shipped/"
FILE_LIMIT: Final = 256 * 1024
"""Bytes of one file. No text of a mail may be longer."""
MOST_FILES: Final = 1000
"""No directory of templates has more. One that has is some other directory."""

_SUFFIXES: Final = ".html", ".txt", ".css", ".po", ".htm", ".pot", ".mo"

T = TypeVar("T")


class NoSuchFile(TemplateBroken):
    """There is no file of this name, neither a shop's own nor ours."""


@dataclass(frozen=True, slots=True)
class _Unreadable:
    reason: str


_Content = str | _Unreadable


class Sources:
    """The files of the directory `own`, and of `shipped`, by names like `_base/item.html`.

    A file that can't be read is a fault of what needs it alone.
    """

    def __init__(self, own: Path, shipped: Path | None = None) -> None:
        self._directories = own, shipped
        self._seen = _state(own)
        self._fault: TemplateBroken | None = None
        self._used = set[str]()
        try:
            contents = _contents(own)
        except TemplateBroken as broken:
            contents, self._fault = {}, broken
        if shipped is None or own.resolve() == shipped.resolve():
            self._own: Mapping[str, _Content] = {}
            self._shipped = contents
        else:
            self._own = contents
            self._shipped = _contents(shipped)

    def text(self, name: str) -> str:
        """Returns what is in a file. Raises NoSuchFile, and TemplateBroken if it can't be read."""
        if self._fault:
            raise self._fault
        self._used.add(name)
        content = self._own.get(name, self._shipped.get(name.removeprefix(SHIPPED)))
        if content is None:
            near = get_close_matches(name, [*self.names(), *(f"{SHIPPED}{each}" for each in self._shipped)], n=1)
            raise NoSuchFile(name, f"there is no file {name}{f', but {near[0]}' if near else ''}")
        if isinstance(content, _Unreadable):
            raise TemplateBroken(name, content.reason)
        return content

    def names(self) -> list[str]:
        """Returns the names of all files, without `shipped/`."""
        return sorted({*self._own, *self._shipped})

    def shipped(self) -> list[str]:
        """Returns the names of our files."""
        return sorted(self._shipped)

    @property
    def has_own(self) -> bool:
        """Whether the shop has files of its own, or tried to."""
        return bool(self._own) or self._fault is not None

    def unused(self) -> list[str]:
        """Returns those of the shop's own templates, catalogues and CSS that nothing has asked for until now."""
        return sorted(name for name in self._own.keys() - self._used if name.endswith(_SUFFIXES))

    def is_own(self, name: str) -> bool:
        """Whether the shop has a file in the place of ours."""
        return name in self._own

    def versions(self, name: str) -> Iterator[str]:
        """Yields the names of what there is of a file: of ours, and of the shop's own."""
        if name in self._shipped:
            yield f"{SHIPPED}{name}" if name in self._own else name
        if name in self._own:
            yield name

    def is_current(self) -> bool:
        """Whether nothing was changed, added or removed in the shop's directory since it was read."""
        return self._seen == _state(self._directories[0])

    def anew(self) -> "Sources":
        """Returns the files as they are now."""
        return Sources(*self._directories)


class Made(Generic[T]):
    """What is made of the files, `with made as it:`. If it was broken, it is made anew once they have changed."""

    def __init__(self, sources: Sources, make: Callable[[Sources], T]) -> None:
        self._sources = sources
        self._make = make
        self.it = make(sources)
        self._is_broken = False

    def __enter__(self) -> T:
        if self._is_broken and not self._sources.is_current():
            self._sources = self._sources.anew()
            self.it = self._make(self._sources)
            self._is_broken = False
        return self.it

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, TemplateBroken):
            self._is_broken = True


def _contents(directory: Path) -> Mapping[str, _Content]:
    """Returns what is in the files, by name. Raises TemplateBroken if they can't be listed, or are too many."""
    return {path.relative_to(directory).as_posix(): _read(path) for path in _paths(directory)}


def _read(path: Path) -> _Content:
    try:
        if not path.is_file():
            return _Unreadable("is no file")  # to read a pipe would take for ever
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            return _Unreadable(f"has over {FILE_LIMIT // 1024} kB")
        return content.decode("utf-8-sig")
    except OSError as error:
        return _Unreadable(error.strerror or str(error))
    except UnicodeDecodeError as error:
        return _Unreadable(f"is not UTF-8: byte {error.start + 1} can't be read. Save it as UTF-8")


def _state(directory: Path) -> object:
    """Returns something that is equal as long as the files are the same."""
    try:
        return {path: _state_of(path) for path in _paths(directory)}
    except TemplateBroken as error:
        return str(error)


def _state_of(path: Path) -> object:
    try:
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    except OSError as error:  # a link to nowhere, or a file that is gone by now
        return error.errno


def _paths(directory: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise TemplateBroken(str(error.filename), error.strerror or str(error))

    number = 0
    # Links are followed: a volume of Kubernetes is links into a hidden folder.
    for folder, folders, files in os.walk(directory, onerror=unreadable, followlinks=True):
        folders[:] = filter(_is_shown, folders)
        # A folder that is named like a file takes its place, and can't be read.
        for file in [*filter(_is_shown, files), *(each for each in folders if each.endswith(_SUFFIXES))]:
            number += 1
            if number > MOST_FILES:
                raise TemplateBroken(str(directory), f"is no directory of templates: it has over {MOST_FILES:,} files")
            yield Path(folder, file)


def _is_shown(name: str) -> bool:
    return not name.startswith(".")

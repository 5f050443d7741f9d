"""Copies files of the mail out of the package, for a shop to change (`stockbell templates export`)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

from worker.domain.errors import BadFile
from worker.mail.exports import exported
from worker.mail.sources import Sources
from worker.mail.vocabulary import about


@dataclass(frozen=True, slots=True)
class File:
    """A file of ours."""

    name: str
    about: str
    is_own: bool
    """whether the shop has one in its place"""


def listed(sources: Sources) -> Sequence[File]:
    """Returns the files of ours."""
    return [File(name, about(name), sources.is_own(name)) for name in sources.shipped()]


def chosen(sources: Sources, wanted: Sequence[str]) -> Sequence[str]:
    """Returns the files of ours that are named, each by its name or that of its folder. Raises BadFile."""
    files = sources.shipped()
    found = list[str]()
    for name in wanted:
        matching = [file for file in files if file == name or file.startswith(f"{name.rstrip('/')}/")]
        if not matching:
            if name.startswith("locales/"):
                raise BadFile(f"{name}: we have no words in that language. Yours may begin with one sentence")
            near = get_close_matches(name, files, n=1)
            raise BadFile(f"there is no file {name} to export{f', but {near[0]}' if near else ''}")
        found += matching
    return list(dict.fromkeys(found))


def export(sources: Sources, files: Collection[str], folder: Path, *, replaces: bool) -> Mapping[str, Path]:
    """Writes files of ours, with heads that say what may be in them, to a folder. Returns the paths by name.

    Raises BadFile, before anything is written, if one is there already, unless it `replaces` them.
    """
    paths = {file: folder / file for file in files}
    there = [str(path) for path in paths.values() if path.exists()]
    if there and not replaces:
        raise BadFile(f"{there[0]} is there already, and nothing was written: --force replaces it")
    for file, path in paths.items():
        text = exported(sources, file, version("stockbell"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadFile(f"{error.filename}: {error.strerror}") from None
    return paths

"""What must stay true of the repository itself."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

# A path that starts at some machine's root, as in a home directory. In a URL a name comes before.
MACHINE_PATH = re.compile(r"(?<![\w.*)}])/(?:root|work|tmp|home/\w+|Users/\w+|opt/\w+)(?:/\w|\b)")
# Git may be missing where the tests run, so the project's files are known by name.
FILES = (
    *("*.toml", "*.md", "*.lock", "Makefile", "Procfile", "LICENSE"),
    *(".env.example", ".editorconfig", ".gitignore", ".ci/*"),
    *("config/**/*", "worker/**/*", "templates/**/*", "tests/**/*"),
)


def locked() -> dict[str, str]:
    """The lock's packages: name and version."""
    pins = re.findall(r"^([\w.-]+)==([\w.!+-]+)", LOCK, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def required() -> Iterator[Requirement]:
    groups = PROJECT["dependency-groups"].values()
    for line in [
        *PROJECT["project"]["dependencies"],
        *(line for group in groups for line in group),
    ]:
        if isinstance(line, str):  # the rest includes another group
            yield Requirement(line)


def files() -> Iterator[Path]:
    for pattern in FILES:
        yield from (path for path in ROOT.glob(pattern) if path.is_file() and path.suffix != ".pyc")


@pytest.mark.parametrize("requirement", list(required()), ids=str)
def test_every_dependency_is_locked_at_a_version_that_suits(requirement: Requirement) -> None:
    version = locked().get(canonicalize_name(requirement.name))
    assert version is not None
    assert requirement.specifier.contains(version)


def test_every_line_of_the_lock_is_a_pinned_version_with_its_hashes() -> None:
    entries = LOCK.replace("\\\n", " ").splitlines()
    for entry in entries:
        assert entry.startswith("#") or re.fullmatch(r"[\w.-]+==\S+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", entry)


def test_the_lock_names_no_index() -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links", LOCK)


def test_the_makefile_names_no_index() -> None:
    assert not re.search(r"://|index-url[ =]\S*/|--find-links", (ROOT / "Makefile").read_text())


def test_no_file_holds_a_path_of_some_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        for match in MACHINE_PATH.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


def test_the_procfile_runs_commands_of_the_contract() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert dict(line.split(": ", 1) for line in lines) == {
        "listener": "stockbell listen",
        "worker": "stockbell work",
        "scheduler": "stockbell schedule",
    }

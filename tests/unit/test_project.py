"""Rules that the repository itself must keep."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.audit import Pin, changed_files, differences, pins, weaknesses

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

# A path from the root of some machine, for example in a home directory. In a URL a host name comes before the path.
MACHINE_PATH = re.compile(r"(?<![\w.*)}])/(?:tmp/\w|(?:root|work|home/\w+|Users/\w+|opt/\w+)(?:/\w|\b))")
# Git may be missing where the tests run, so the project's files are known by name.
FILES = (
    *("*.toml", "*.md", "docs/**/*.md", "*.lock", "Makefile", "Procfile", "LICENSE"),
    *(".env.example", ".editorconfig", ".gitignore", ".dockerignore", ".ci/*", "ops/**/*"),
    *("config/**/*", "worker/**/*", "templates/**/*", "tests/**/*"),
)


def required() -> Iterator[Requirement]:
    groups = PROJECT["dependency-groups"].values()
    for line in [
        *PROJECT["project"]["dependencies"],
        *(line for group in groups for line in group),
    ]:
        if isinstance(line, str):  # the other entries include another group
            yield Requirement(line)


# Reports from the field stand here as they came, with paths of their own machines; packages of others likewise.
OF_OTHERS = {ROOT / "tests" / "field" / "bounces", ROOT / "tests" / "web" / "node_modules"}


def files() -> Iterator[Path]:
    for pattern in FILES:
        yield from (
            path
            for path in ROOT.glob(pattern)
            if path.is_file() and path.suffix != ".pyc" and not OF_OTHERS & set(path.parents)
        )


@pytest.mark.parametrize("requirement", list(required()), ids=str)
def test_every_dependency_is_locked_at_a_version_that_suits(requirement: Requirement) -> None:
    pin = pins(LOCK)[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin.version)
    assert pin.hashes
    assert requirement.marker is None or pin.marker, "what is for some machines only is locked for those only"


LOAD_ALL = """
import importlib, pkgutil, sys
import celery.bin.worker, celery.concurrency.prefork, celery.worker.worker, kombu.transport.redis, worker
for each in pkgutil.walk_packages(worker.__path__, "worker."):
    if not each.name.startswith(("worker.demo", "worker.web", "worker.__main__", "worker.migrations.")):
        importlib.import_module(each.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""
# Loaded where they are installed, for what we don't use, and not missed elsewhere.
OPTIONAL = {"cffi", "cryptography", "greenlet", "opentelemetry-api", "pyyaml", "setuptools"}


def with_what_it_needs(lines: list[str]) -> set[str]:
    """Returns the names of these requirements, and of all that they require in turn."""
    found: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(line) for line in lines]
    while left:
        each = left.pop()
        key = (canonicalize_name(each.name), frozenset(each.extras))
        if key in found:
            continue
        found.add(key)
        extras = (*each.extras, "")
        left += [
            needed
            for needed in map(Requirement, metadata.distribution(each.name).requires or ())
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return {name for name, _ in found}


def test_the_program_loads_no_package_that_it_does_not_ask_for() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD_ALL], capture_output=True, text=True, check=True, cwd=ROOT)
    owners = metadata.packages_distributions()
    loaded = {canonicalize_name(owner) for name in done.stdout.split() for owner in owners.get(name, ())}
    assert "celery" in loaded
    asked_for = with_what_it_needs(PROJECT["project"]["dependencies"])
    assert loaded - asked_for - OPTIONAL - {"stockbell"} == set()


def test_every_line_of_the_lock_is_a_pinned_version_with_its_hashes() -> None:
    assert len(pins(LOCK)) > 50
    with pytest.raises(ValueError, match="jinja2"):
        pins(f"{LOCK}jinja2==3.1.6\n")


def test_the_audit_sees_another_version_a_stranger_and_what_is_missing() -> None:
    pin = Pin("1.0", None, ("0" * 64,))
    locked = {"here": pin, "other": pin, "gone": pin, "elsewhere": replace(pin, marker="sys_platform == 'nowhere'")}
    found = list(differences(locked, {"here": "1.0", "other": "1.1", "stranger": "2.0", "pip": "1"}))
    assert found == [
        "other: locked is 1.0, installed 1.1",
        "gone: locked is 1.0, installed is none",
        "stranger: installed, and not locked",
    ]


def test_the_audit_sees_a_file_that_was_changed(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("x = 1\n")
    about = tmp_path / "x-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: x\nVersion: 1\n")
    (about / "RECORD").write_text("x.py,sha256=nia_NpkRxFwkPGhBR7I_yeHc_PJX0pmhxjIBam_NM_Q,6\n")
    assert list(changed_files(Distribution.at(about))) == []
    (tmp_path / "x.py").write_text("x = 2\n")
    assert list(changed_files(Distribution.at(about))) == ["x: x.py was changed or is gone"]


def test_the_audit_reads_what_pip_audit_says() -> None:
    known = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    assert list(weaknesses([known, {"name": "y", "version": "1", "vulns": []}, {"name": "z", "skip_reason": "?"}])) == [
        "x 1: CVE-1, cured in 2"
    ]


def test_setup_installs_by_hash_only() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installing = [line for line in makefile.splitlines() if "$(PIP) install" in line]
    assert len(installing) == 2
    assert all("--require-hashes" in line or "--no-deps" in line for line in installing)


def test_the_lock_names_no_index() -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links", LOCK)


def test_the_lock_of_npm_has_a_hash_for_each_package_and_names_no_registry() -> None:
    packages = json.loads((ROOT / "tests" / "web" / "package-lock.json").read_text())["packages"]
    assert packages.pop("")
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert not any("resolved" in each for each in packages.values())


def test_the_makefile_names_no_index() -> None:
    assert not re.search(r"://|index-url[ =]\S*/|--find-links", (ROOT / "Makefile").read_text())


def test_no_file_holds_a_path_of_some_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        for match in MACHINE_PATH.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


def imported(source: str) -> Iterator[str]:
    """Yields the modules that a file names in its imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_nothing_of_ours_could_fetch_what_a_url_names() -> None:
    sources = [path for folder in ("worker", "config") for path in (ROOT / folder).rglob("*.py")]
    found = {name for path in sources for name in imported(path.read_text())}
    assert "urllib.parse" in found
    assert not found & {"urllib.request", "http", "http.client", "urllib3", "requests", "httpx", "aiohttp", "ftplib"}


def test_the_procfile_runs_commands_of_the_contract() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert dict(line.split(": ", 1) for line in lines) == {
        "listener": "exec stockbell listen",
        "worker": "exec stockbell work",
        "scheduler": "exec stockbell schedule",
        "web": "exec stockbell web",
    }


def protected() -> set[str]:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    return {module for each in contracts if each["type"] == "protected" for module in each["protected_modules"]}


def offered(room: Path) -> set[str] | None:
    """Returns the names in `__all__` of the room's `__init__`, or None if there is no `__all__`."""
    for node in ast.parse((room / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return None


ROOMS = [path for path in sorted((ROOT / "worker").iterdir()) if (path / "__init__.py").is_file()]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_what_a_room_does_not_offer_is_protected_from_imports_of_others(room: Path) -> None:
    inside = {module for module in protected() if module.startswith(f"worker.{room.name}.")}
    names = offered(room)
    if names is None:
        assert not inside, "a room with an inside names what it offers in `__all__`"
        return
    modules = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert inside == {f"worker.{room.name}.{name}" for name in modules - names}
    assert names <= modules


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_each_room_says_what_it_is_for(room: Path) -> None:
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text()))

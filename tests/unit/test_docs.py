"""Everything that the documentation names exists: files, links, commands, settings and make targets."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from config.settings import Settings, variable
from worker.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md") for path in ROOT.glob(pattern))
COMMANDS = typer.main.get_command(app)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_there_are_pages_to_look_at() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/glossary.md"} <= names


@pages
def test_each_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", page.read_text())
    missing = [link for link, _ in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pages
def test_each_heading_that_is_linked_is_there(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#\s]+)#([^)\s]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.+)$", (page.parent / link).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_each_file_of_ours_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:worker|config|tests|templates|docs|ops)/[\w./-]*)", page.read_text())
    if page.name != "CHANGELOG.md":  # the changelog also names files of the past
        assert [path for path in named if not (ROOT / path).exists()] == []


def commands(page: Path) -> Iterator[list[str]]:
    for line in re.findall(r"(?:^\$ |`)(?:\.venv/bin/)?stockbell ([a-z][^`\n]*)", page.read_text(), re.MULTILINE):
        yield line.split("#")[0].split()


@pages
def test_each_command_that_is_named_is_one(page: Path) -> None:
    known = COMMANDS.commands  # type: ignore[attr-defined]  # it is a group
    for words in commands(page):
        assert words[0] in known, words
        inner = getattr(known[words[0]], "commands", None)
        assert inner is None or len(words) == 1 or words[1] in inner, words
        options = {
            name
            for command in (known[words[0]], *(inner or {}).values())
            for each in command.params
            for name in (*each.opts, *each.secondary_opts)
        }
        assert {word for word in words if re.fullmatch(r"--[a-z-]+", word)} <= options | {"--help"}, words


@pages
def test_each_setting_that_is_named_is_one(page: Path) -> None:
    known = {variable(field) for field in Settings.model_fields}
    assert set(re.findall(r"\bSTOCKBELL_[A-Z_]*[A-Z]\b", page.read_text())) <= known


@pages
def test_each_make_target_that_is_named_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_each_idea_that_is_ours_is_linked_from_the_code_that_begins_it() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text()
    linked = {
        name
        for path in (ROOT / "worker").rglob("*.py")
        for names in re.findall(r"See\s+([^.]*?) in\s+`docs/glossary.md`", path.read_text())
        for name in re.findall(r"\*([^*]+)\*", names)
    }
    assert {"bell", "waiting list", "lease", "fence", "breaker", "slice"} <= linked
    assert all(re.search(rf"^\| {name}\b", glossary, re.MULTILINE) for name in linked)

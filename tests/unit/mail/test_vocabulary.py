"""What docs and exported files say of templates is what the code gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import guide
from tests.unit.mail.test_confirmation import Named, read, writer
from tests.unit.mail.test_render import TEMPLATES, context
from tests.unit.mail.test_sources import all_mails
from worker.domain.errors import BadFile
from worker.mail import vocabulary
from worker.mail.folders import Compiled
from worker.mail.message import Rendered
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.mail.templates import Templates, blocks_of
from worker.services import template_export

SHIPPED = Sources(TEMPLATES)
FILES = SHIPPED.names()


def test_the_page_about_templates_is_as_the_code_makes_it() -> None:
    assert guide.PAGE.read_text(encoding="utf-8") == guide.page(), "run `make guide`"


def test_each_variable_is_named_and_none_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[set[str]]()
    rendered = Compiled.render

    def render(self: Compiled, variables: dict[str, Any], plain: dict[str, Any]) -> Rendered:
        assert variables.keys() == plain.keys()
        seen.append({*variables, "subject"})
        return rendered(self, variables, plain)

    monkeypatch.setattr(Compiled, "render", render)
    renderer = Renderer(SHIPPED, "Shop")
    renderer.render(context(), "en")
    renderer.render_many([context()] * 2, "en")
    read(writer(), Named())
    for mail, given in zip(vocabulary.VARIABLES, seen, strict=True):
        assert {word.name for word in vocabulary.VARIABLES[mail]} == given, mail


def test_each_function_and_filter_of_ours_is_named() -> None:
    named = {word.name for word in vocabulary.HELPERS}
    assert {"_", "ngettext", "truncate", "columns", "spanned"} == named
    assert named - {"_", "ngettext"} <= Templates(SHIPPED, escape=True).filters.keys()


def test_each_file_and_each_block_is_described() -> None:
    described = {name for name in FILES if not name.startswith("locales/")}
    assert vocabulary.FILES.keys() == described
    blocks = {block for name in described if name.endswith(".html") for block in blocks_of(SHIPPED, name)}
    assert vocabulary.BLOCKS.keys() == blocks


def exported(own: Path, *wanted: str, replaces: bool = False) -> Mapping[str, Path]:
    return template_export.export(SHIPPED, template_export.chosen(SHIPPED, wanted), own, replaces=replaces)


def test_what_is_exported_makes_the_same_mails(tmp_path: Path) -> None:
    written = exported(tmp_path, *FILES)
    assert list(written) == FILES
    assert all_mails(tmp_path) == all_mails(TEMPLATES)
    assert Renderer(Sources(tmp_path, TEMPLATES), "Shop").problems() == []


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".html")])
def test_the_head_of_a_template_names_its_blocks_and_variables(tmp_path: Path, name: str) -> None:
    text = exported(tmp_path, name)[name].read_text(encoding="utf-8")
    head, _, rest = text.partition(" #}\n")
    assert rest == (TEMPLATES / name).read_text(encoding="utf-8")
    assert head.startswith(f"{{# {name}: ")
    for block in blocks_of(SHIPPED, name):
        assert f"\n   {block} " in head
    for word in vocabulary.variables_of(name):
        assert f"\n   {word.name} " in head


def test_the_head_says_what_may_take_the_place_of_all_that_follows(tmp_path: Path) -> None:
    """It is tried as it is printed."""
    for name in ("_base/item.html", "_base/mail.css"):
        head = exported(tmp_path, name)[name].read_text(encoding="utf-8")
        lines = [line.strip() for line in head.splitlines() if "shipped/" in line or "{% block news %}" in line]
        (tmp_path / name).write_text("\n".join(lines[:2] if name.endswith("html") else [*lines, "h1 { top: 7px }"]))
    html = Renderer(Sources(tmp_path, TEMPLATES), "Shop").render(context(), "en")[0].html
    assert "top:7px" in html
    assert "max-height:320px" in html


def test_a_folder_is_exported_as_a_whole_and_each_file_once(tmp_path: Path) -> None:
    written = exported(tmp_path, "confirm/", "confirm/body.txt", "_base/end.txt")
    assert list(written) == ["confirm/body.html", "confirm/body.txt", "confirm/subject.txt", "_base/end.txt"]


def test_nothing_is_written_if_a_file_is_there_or_unknown(tmp_path: Path) -> None:
    exported(tmp_path, "_base/mail.css")
    (tmp_path / "_base/mail.css").write_text("mine")
    with pytest.raises(BadFile, match=r"mail\.css is there already, and nothing was written: --force replaces it"):
        exported(tmp_path, "_base")
    with pytest.raises(BadFile, match=r"there is no file mail\.css to export, but _base/mail\.css"):
        exported(tmp_path, "_base/end.txt", "mail.css")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mail.css"]
    assert (tmp_path / "_base/mail.css").read_text() == "mine"
    exported(tmp_path, "_base", replaces=True)
    assert (tmp_path / "_base/mail.css").read_text() != "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadFile, match=r"file.*: (Not a directory|File exists)"):
        exported(tmp_path / "file", "_base/mail.css")

"""Our files as a shop takes them to change them: each says at its top what may be in it."""

from collections.abc import Sequence

from worker.mail.sources import SHIPPED, Sources
from worker.mail.templates import blocks_of
from worker.mail.vocabulary import BLOCKS, Word, about, variables_of


def exported(sources: Sources, file: str, version: str) -> str:
    """Returns a file of ours, with what may be in it at its top. Raises TemplateBroken."""
    text = sources.text(f"{SHIPPED}{file}")
    if file.endswith(".po"):
        return f"{_commented(_po_head(file, version))}\n{text}"
    if file.endswith(".css"):
        return f"/* {_css_head(file, version)}\n*/\n{text}"
    blocks = blocks_of(sources, f"{SHIPPED}{file}") if file.endswith(".html") else ()
    return f"{{# {_head(file, blocks, version)} #}}\n{text}"


def _first(file: str, version: str) -> str:
    return f"{file}: {about(file)}. As shipped with Stockbell {version}."


def _po_head(file: str, version: str) -> str:
    return f"{_first(file, version)}\nKeep only what you change: what is not in here is taken from the shipped file."


def _css_head(file: str, version: str) -> str:
    lines = [
        _first(file, version),
        "",
        "To keep ours and change some of it, have this in place of all below, and your rules after it:",
        "",
        f'   @import "shipped/{file}";',
    ]
    return "\n".join(lines)


def _head(file: str, blocks: Sequence[str], version: str) -> str:
    lines = [_first(file, version)]
    if blocks:
        lines += [
            "",
            "To keep ours and change some blocks, have this in place of all below, and your blocks after it:",
            "",
            f'   {{% extends "shipped/{file}" %}}',
            f"   {{% block {_example(file, blocks)} %}}...{{% endblock %}}",
            "",
            "Blocks:",
            *_listed([Word(name, BLOCKS[name]) for name in blocks]),
        ]
    if words := variables_of(file):
        lines += ["", "Variables:", *_listed(words)]
    return "\n".join([*lines, "", "docs/templates.md has an example of each."])


def _example(file: str, blocks: Sequence[str]) -> str:
    """Returns a block that a shop may want to change, and that no mail says itself."""
    wanted = ("head", "footer") if file.startswith("_base/") else ("news", "content")
    return next(name for name in (*wanted, *blocks) if name in blocks)


def _listed(words: Sequence[Word]) -> Sequence[str]:
    width = max(len(word.name) for word in words)
    return [f"   {word.name:<{width}}  {word.meaning}" for word in words]


def _commented(text: str) -> str:
    return "\n".join(f"# {line}" for line in text.splitlines())

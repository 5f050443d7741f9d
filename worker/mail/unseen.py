"""What a shop has written in a template that nobody sees, without an error of Jinja."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from jinja2 import nodes

from worker.domain.errors import TemplateBroken
from worker.mail.sources import Sources
from worker.mail.templates import parsed


class Unseen(NamedTuple):
    """Something that nobody sees."""

    line: int
    why: str


def unseen_in(sources: Sources, name: str) -> Sequence[Unseen]:
    """Returns it, of a template that extends another. Of files that can't be read it returns nothing."""
    try:
        parents = _parents(sources, name)
        return list(_unseen(sources, name, parents)) if parents else []
    except TemplateBroken:
        return []


def _unseen(sources: Sources, name: str, parents: Sequence[str]) -> Iterator[Unseen]:
    tree = parsed(sources, name)
    above = [parsed(sources, each) for each in parents]
    known = {block.name for each in above for block in each.find_all(nodes.Block)}
    own = [node for node in tree.body if isinstance(node, nodes.Block)]
    for node in tree.body:
        if isinstance(node, nodes.Output) and any(_shows(child) for child in node.nodes):
            yield Unseen(node.lineno, "is in no block of what it extends")
    for block in own:
        if block.name not in known:
            near = get_close_matches(block.name, known, n=1)
            yield Unseen(block.lineno, f"what it extends has no block {block.name}{f', but {near[0]}' if near else ''}")
    for outer in own:
        inside = {inner.name for inner in outer.find_all(nodes.Block)}
        for block in own:
            if not _has_super(outer) and block.name in _inner(above, outer.name) - inside:
                yield Unseen(block.lineno, f"the block {block.name} is in {outer.name}, which this file says anew")
    yield from _said_by_mails(sources, name, own)


def _has_super(block: nodes.Block) -> bool:
    return any(isinstance(each.node, nodes.Name) and each.node.name == "super" for each in block.find_all(nodes.Call))


def _inner(trees: Sequence[nodes.Template], outer: str) -> set[str]:
    """Returns the names of the blocks inside of a block."""
    found = (block for tree in trees for block in tree.find_all(nodes.Block) if block.name == outer)
    return {inner.name for block in found for inner in block.find_all(nodes.Block)}


def _said_by_mails(sources: Sources, name: str, own: Sequence[nodes.Block]) -> Iterator[Unseen]:
    """Yields blocks that each mail over this file says itself."""
    nearer = list[set[str]]()
    for mail in sources.names():
        if mail.endswith(".html") and name in (parents := _parents(sources, mail)):
            chain = [mail, *parents[: parents.index(name)]]
            nearer.append({block.name for each in chain for block in parsed(sources, each).find_all(nodes.Block)})
    for block in own:
        if nearer and all(block.name in names for names in nearer):
            yield Unseen(block.lineno, f"the block {block.name} is said by the mails, in their body.html")


def _shows(node: nodes.Node) -> bool:
    return not isinstance(node, nodes.TemplateData) or bool(node.data.strip())


def _parents(sources: Sources, name: str) -> Sequence[str]:
    """Returns what a template extends, and what that extends, if they say it by name. Raises TemplateBroken."""
    found = list[str]()
    while (parent := _parent(sources, found[-1] if found else name)) and parent not in found:
        found.append(parent)
    return found


def _parent(sources: Sources, name: str) -> str | None:
    named = [node.template for node in parsed(sources, name).find_all(nodes.Extends)]
    return named[0].value if named and isinstance(named[0], nodes.Const) else None

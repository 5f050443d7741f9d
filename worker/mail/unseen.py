"""What a shop has written in a template that nobody sees, without an error of Jinja."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache, partial
from typing import NamedTuple

from jinja2 import nodes

from worker.domain.errors import TemplateBroken
from worker.mail.sources import Sources
from worker.mail.templates import parsed


class Unseen(NamedTuple):
    """Something that nobody sees."""

    line: int
    why: str


def unseen_in(sources: Sources) -> Iterator[tuple[str, Unseen]]:
    """Yields it, with the file's name, of the shop's own templates that extend others. Each is parsed once.

    Of files that can't be read it yields nothing.
    """
    reading = _Reading(sources)
    for name in sources.names():
        if name.endswith(".html") and sources.is_own(name):
            try:
                found = list(reading.unseen(name))
            except (TemplateBroken, RecursionError):
                continue
            yield from ((name, each) for each in found)


class _Reading:
    """The templates, as syntax trees. All methods raise TemplateBroken or RecursionError for one that can't be read."""

    def __init__(self, sources: Sources) -> None:
        self._tree = cache(partial(parsed, sources))
        self._pages = [name for name in sources.names() if name.endswith(".html")]

    def unseen(self, name: str) -> Iterator[Unseen]:
        """Yields what nobody sees of one of them."""
        parents = self._parents(name)
        if not parents:
            return
        tree = self._tree(name)
        above = [self._tree(each) for each in parents]
        known = _names(above)
        own = [node for node in tree.body if isinstance(node, nodes.Block)]
        for node in tree.body:
            if isinstance(node, nodes.Output) and any(_shows(child) for child in node.nodes):
                yield Unseen(node.lineno, "is in no block of what it extends")
        for block in own:
            if block.name not in known:
                near = get_close_matches(block.name, known, n=1)
                why = f"what it extends has no block {block.name}{f', but {near[0]}' if near else ''}"
                yield Unseen(block.lineno, why)
        for outer in own:
            lost = set() if _has_super(outer) else _inner(above, outer.name) - _names([outer])
            for block in own:
                if block.name in lost:
                    yield Unseen(block.lineno, f"the block {block.name} is in {outer.name}, which this file says anew")
        yield from self._said_by_mails(name, own)

    def _said_by_mails(self, name: str, own: Sequence[nodes.Block]) -> Iterator[Unseen]:
        """Yields blocks that each mail over this file says itself."""
        nearer = list[set[str]]()
        for mail in self._pages:
            if name in (parents := self._parents(mail)):
                nearer.append(_names(map(self._tree, [mail, *parents[: parents.index(name)]])))
        for block in own:
            if nearer and all(block.name in names for names in nearer):
                yield Unseen(block.lineno, f"the block {block.name} is said by the mails, in their body.html")

    def _parents(self, name: str) -> Sequence[str]:
        """Returns what a template extends, and what that extends, if they say it by name."""
        found = list[str]()
        while (parent := self._parent(found[-1] if found else name)) and parent not in found:
            found.append(parent)
        return found

    def _parent(self, name: str) -> str | None:
        named = [node.template for node in self._tree(name).find_all(nodes.Extends)]
        return named[0].value if named and isinstance(named[0], nodes.Const) else None


def _has_super(block: nodes.Block) -> bool:
    return any(isinstance(each.node, nodes.Name) and each.node.name == "super" for each in block.find_all(nodes.Call))


def _names(trees: Iterable[nodes.Node]) -> set[str]:
    """Returns the names of the blocks inside of these."""
    return {block.name for tree in trees for block in tree.find_all(nodes.Block)}


def _inner(trees: Sequence[nodes.Template], outer: str) -> set[str]:
    """Returns the names of the blocks inside of a block."""
    return _names(block for tree in trees for block in tree.find_all(nodes.Block) if block.name == outer)


def _shows(node: nodes.Node) -> bool:
    return not isinstance(node, nodes.TemplateData) or bool(node.data.strip())

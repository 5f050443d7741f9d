"""Template files: read once, and whether one may be rendered once for everybody, with blanks for recipients' values.

It may if it does nothing with those variables but print them: `{{ item_url }}`. Then its output is the same but for the
printed values, whatever they are. A filter, a condition or a macro could make anything of a value, so what isn't
certain counts as no. The proof is by syntax, since a rendering shows only what a template does with one value.
"""

from collections.abc import Callable, Container
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

# With these a template has what it printed as a value: its blocks' and their parents' text.
_PRINTED: Final = frozenset({"self", "super"})


class Templates(ImmutableSandboxedEnvironment):
    """A directory's templates, compiled; `escape`: HTML. Each file is read when it is first used, and only then.

    Whoever may write templates writes the shop's mails, and gets no more by it: no way leads from one to Python.
    """

    def __init__(self, template_dir: Path, *, escape: bool) -> None:
        self._files = _Files(template_dir)
        super().__init__(
            loader=self._files,
            cache_size=-1,  # as many as there are files
            autoescape=escape,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # Jinja's own (`lipsum`, `cycler`) have no use in a mail, and they are copied for every text, which costs as
        # much as filling in a subject.
        self.globals.clear()

    def only_prints(self, name: str, variables: Container[str]) -> bool:
        """Whether a template, with what it extends and includes, does nothing with `variables` but print them.

        Raises what Jinja raises for a template that is missing or broken.
        """
        return _Proof(variables, self._tree).holds(self._tree(name))

    def _tree(self, name: str) -> nodes.Template:
        self.get_template(name)  # which reads it, unless it has been read
        return self.parse(self._files.sources[name], name)


class _Files(FileSystemLoader):
    """Remembers what it read, so that a template can be looked at as it was compiled."""

    def __init__(self, template_dir: Path) -> None:
        super().__init__(template_dir)
        self.sources: dict[str, str] = {}

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """What is in that file, where it lies, and whether it is still so."""
        source, path, is_current = super().get_source(environment, template)
        self.sources[template] = source
        return source, path, is_current


class _Proof:
    """That templates do nothing with some variables but print them."""

    def __init__(self, variables: Container[str], tree: Callable[[str], nodes.Template]) -> None:
        self._variables = variables
        self._tree = tree
        self._seen: set[str] = set()

    def holds(self, node: nodes.Node) -> bool:
        """Whether it holds for a statement that stands where what it prints goes straight to the output."""
        match node:
            case nodes.Output():
                return all(_is_plain(child) or self._is_ignorant(child) for child in node.nodes)
            case nodes.Extends(template=named) | nodes.Include(template=named):
                return self._holds_in(named)
            case nodes.Template() | nodes.Block() | nodes.If() | nodes.With() | nodes.For(recursive=False):
                return all(map(self.holds, node.iter_child_nodes()))
            case _:
                return self._is_ignorant(node)

    def _holds_in(self, named: nodes.Expr) -> bool:
        if not isinstance(named, nodes.Const):
            return False
        if named.value in self._seen:
            return True
        self._seen.add(named.value)
        return self.holds(self._tree(named.value))

    def _is_ignorant(self, node: nodes.Node) -> bool:
        """Whether neither a variable's value nor anything that it is printed in can be had here."""
        return not (self._knows(node) or any(map(self._knows, node.find_all(nodes.Node))))

    def _knows(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name(name=name):
                return name in self._variables or name in _PRINTED
            case nodes.Import(with_context=has_all) | nodes.FromImport(with_context=has_all):
                return has_all
            case _:
                return isinstance(node, nodes.Block | nodes.Include | nodes.Extends)


def _is_plain(node: nodes.Node) -> bool:
    """Whether a printed expression is a variable by itself, or the parent block's text by itself."""
    match node:
        case nodes.Name():
            return True
        case nodes.Call(node=nodes.Name(name="super"), args=[], kwargs=[], dyn_args=None, dyn_kwargs=None):
            return True
        case _:
            return False

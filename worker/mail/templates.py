"""Template files, and whether a template may be rendered once for all recipients with placeholders for their values.

It may if it only prints those variables, `{{ item_url }}`, or asks whether they are there, `{% if item_url %}`: none is
empty. Then its output for other values differs in the printed values only. A filter, another condition or a macro could
change a value in any way, so every uncertain case counts as no.
The check reads the syntax tree, because a rendering shows only what a template does with one value.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Final

from jinja2 import FunctionLoader, StrictUndefined, TemplateError, TemplateNotFound, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.domain.errors import TemplateBroken
from worker.mail.details import columns, cut, spanned
from worker.mail.sources import NoSuchFile, Sources
from worker.mail.styles import styled

PLACE: Final = "template:"
"""What Python takes for a template's file begins with it, and its name follows."""

# Names that give a template its printed output as a value: the text of its blocks and of their parents.
_PRINTED: Final = frozenset({"self", "super"})


class Templates(ImmutableSandboxedEnvironment):
    """The compiled templates of some files. `escape` is for HTML. Each is compiled once, when it is first used.

    Templates run in a sandbox: the right to write templates does not give access to Python.
    """

    def __init__(self, sources: Sources, *, escape: bool) -> None:
        self._sources = sources
        super().__init__(
            loader=FunctionLoader(lambda name: (self._text(name), f"{PLACE}{name}", lambda: True)),
            cache_size=-1,  # unlimited: the number of files is small
            autoescape=escape,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],  # `{% trans %}`, which calls the functions of `catalogues`
        )
        self.newstyle_gettext = True
        # Jinja's default globals (`lipsum`, `cycler`) are useless in a mail. Each rendering copies them, which costs as
        # much as rendering a subject.
        self.globals.clear()
        self.filters["truncate"] = cut
        self.filters["columns"] = columns
        if escape:
            self.filters["spanned"] = spanned

    def finished(self, text: str) -> str:
        """Returns a rendered text as it is sent: HTML with its CSS inlined.

        Raises TooDeep. Raises TemplateBroken or Jinja's TemplateNotFound for a CSS file that can't be read, or is not
        there.
        """
        return styled(text, self._text) if self.autoescape else text

    def only_prints(self, name: str, variables: Container[str]) -> bool:
        """Whether a template, with all that it extends and includes, only prints `variables`.

        Raises TemplateBroken or Jinja's errors for a missing or broken template.
        """
        return _PrintOnlyCheck(variables, self._tree).holds(self._tree(name))

    def _tree(self, name: str) -> nodes.Template:
        return self.parse(self._text(name), name)

    def _text(self, name: str) -> str:
        try:
            return self._sources.text(name)
        except NoSuchFile as error:
            raise TemplateNotFound(name, error.reason) from None


def parsed(sources: Sources, name: str) -> nodes.Template:
    """Returns the syntax tree of a template.

    Raises TemplateBroken, also where it can't be parsed, and RecursionError for one that is nested too deep.
    """
    try:
        return Templates(sources, escape=True).parse(sources.text(name), name)
    except TemplateError as error:
        raise TemplateBroken(name, str(error)) from None


def words_of(sources: Sources, name: str) -> Iterator[str]:
    """Yields the words of a template that a catalogue may have. Of a file that can't be read it yields none."""
    try:
        extracted = Templates(sources, escape=True).extract_translations(sources.text(name))  # type: ignore[attr-defined]
        for _line, _function, words in extracted:
            yield words if isinstance(words, str) else words[0]
    except (TemplateBroken, TemplateError, RecursionError):
        return


def blocks_of(sources: Sources, name: str) -> Sequence[str]:
    """Returns the names of the blocks that a template has, in their order. Raises TemplateBroken."""
    return [block.name for block in parsed(sources, name).find_all(nodes.Block)]


class Extra:
    """Texts by name, as templates see them: `extra.discount`, `extra["product.name"]`. A name without one is "".

    It has no attributes of its own, since any name may be one of a text.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            return ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


class _PrintOnlyCheck:
    """Checks that templates only print some variables."""

    def __init__(self, variables: Container[str], tree: Callable[[str], nodes.Template]) -> None:
        self._variables = variables
        self._tree = tree
        self._seen: set[str] = set()

    def holds(self, node: nodes.Node) -> bool:
        """Whether a node only prints the variables. The output of the node must go to the output of the template."""
        match node:
            case nodes.Output():
                return all(_is_plain(child) or self._has_no_access(child) for child in node.nodes)
            case nodes.Extends(template=named) | nodes.Include(template=named):
                return self._holds_in(named)
            case nodes.If(test=nodes.Name()):
                return all(map(self.holds, (*node.body, *node.elif_, *node.else_)))
            case nodes.Template() | nodes.Block() | nodes.If() | nodes.With() | nodes.For(recursive=False):
                return all(map(self.holds, node.iter_child_nodes()))
            case _:
                return self._has_no_access(node)

    def _holds_in(self, named: nodes.Expr) -> bool:
        if not isinstance(named, nodes.Const):
            return False
        if named.value in self._seen:
            return True
        self._seen.add(named.value)
        return self.holds(self._tree(named.value))

    def _has_no_access(self, node: nodes.Node) -> bool:
        """Whether a node can access neither the variables nor any output that contains them."""
        return not (self._has_access(node) or any(map(self._has_access, node.find_all(nodes.Node))))

    def _has_access(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name(name=name):
                return name in self._variables or name in _PRINTED
            case nodes.Import(with_context=has_all) | nodes.FromImport(with_context=has_all):
                return has_all
            case _:
                return isinstance(node, nodes.Block | nodes.Include | nodes.Extends)


def _is_plain(node: nodes.Node) -> bool:
    """Whether a printed expression is just a variable, or just the parent block's text."""
    match node:
        case nodes.Name():
            return True
        case nodes.Call(node=nodes.Name(name="super"), args=[], kwargs=[], dyn_args=None, dyn_kwargs=None):
            return True
        case _:
            return False

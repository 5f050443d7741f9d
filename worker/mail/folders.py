"""The folder of one mail, compiled: `subject.txt`, `body.txt` and `body.html`, in the language nearest to the reader's.

Their words are in `catalogues`. Where words are not enough, a folder inside of it, named by language (`de`, `de-AT`),
has files of its own for it. A missing file falls back to the next less specific language. Every error names the file
and the line that it is in.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import accumulate, product
from traceback import walk_tb
from typing import Any, Final, NamedTuple, cast

from jinja2 import Template, TemplateError, TemplateSyntaxError, UndefinedError

from worker.domain.errors import TemplateBroken, TextTooLarge
from worker.domain.languages import pick
from worker.mail.catalogues import Catalogues, Words, key_of
from worker.mail.message import Rendered
from worker.mail.nesting import MOST_TAGS, TooDeep, has_too_many_tags
from worker.mail.sources import FILE_LIMIT, Sources
from worker.mail.templates import PLACE, Templates
from worker.mail.vocabulary import NAMES

SIZE_LIMIT: Final = FILE_LIMIT  # bytes of each text
DEFAULT_LOCALE: Final = "en"  # the language of the templates

_LOCALES: Final = 1024
_REASON_LENGTH: Final = 300
_FILES: Final = "subject.txt", "body.txt", "body.html"
_UNKNOWN: Final = re.compile(r"'(\w+)' is undefined|'dict object' has no attribute '(\w+)'")
_NEAR: Final = 0.7
_ENDLESS: Final = (
    "extends, includes, imports or calls itself (`shipped/` before a name means our file, not this one), "
    "or is nested too deep"
)


@dataclass(frozen=True, slots=True)
class Compiled:
    """The compiled templates of a mail in one language."""

    locale: str
    subject: Template
    text: Template
    html: Template
    words: Words

    @property
    def files(self) -> Sequence[str]:
        """Their names."""
        return [str(part.name) for part in (self.subject, self.text, self.html)]

    def render(self, variables: dict[str, Any], plain: dict[str, Any]) -> Rendered:
        """Renders the HTML with `variables` and the subject, subject and text with `plain`.

        Raises TemplateBroken, and TextTooLarge.
        """
        plain = {**plain, **self.words.functions}
        subject = " ".join(_rendered_part(self.subject, plain).split())
        if not subject:
            raise TemplateBroken(str(self.subject.name), "makes an empty subject")
        html = _rendered_part(self.html, {**variables, **self.words.functions, "subject": subject})
        return Rendered(subject, _rendered_part(self.text, plain), html)


class Case(NamedTuple):
    """Something to try a mail with."""

    name: str
    urls: Mapping[str, Sequence[str]]
    """those that must be in both bodies, by variable"""
    render: Callable[[Compiled], Rendered]


class Trial(NamedTuple):
    """What became of a case in one language."""

    locale: str
    case: Case
    mail: Compiled | None
    """None: its templates could not be read"""
    outcome: Rendered | TemplateBroken


class Folder:
    """The templates of the mail `name`. Those of each language are compiled once, when they are first used.

    Languages have keys: `de-at`. `default` is that of readers who have none, or one that there is not.
    """

    def __init__(self, sources: Sources, name: str, default: str = DEFAULT_LOCALE) -> None:
        self._name = name
        self._default = default
        self._picked = lru_cache(_LOCALES)(self._pick)
        self._plain = Templates(sources, escape=False)
        self._html = Templates(sources, escape=True)
        self._catalogues = Catalogues(sources)
        self._locales = _locales(sources, name)
        """The folders of languages, by key."""
        self._languages = {DEFAULT_LOCALE: DEFAULT_LOCALE} | self._catalogues.languages | self._locales
        self._compiled: dict[str, Compiled] = {}
        self._prints: dict[tuple[str, tuple[str, ...]], bool] = {}

    @property
    def languages(self) -> list[str]:
        """The languages that there are words or templates for, that of the templates first."""
        return [DEFAULT_LOCALE, *sorted(each for key, each in self._languages.items() if key != DEFAULT_LOCALE)]

    def offers(self, locale: str) -> bool:
        """Whether the mail is in this language."""
        return bool(self._picked(locale))

    def suited(self, locale: str | None) -> str:
        """Returns a reader's own locale if there is his language, and else the default one."""
        return locale if locale and self.offers(locale) else self._default

    def nearest(self, locale: str | None) -> str:
        """Returns the key of the language that suits a reader best: his, or else the default one.

        Of his language it is the most specific one that there is, and else another of that language: `pt` gets `pt-BR`.
        """
        return self._picked(self.suited(locale)) or DEFAULT_LOCALE

    def _pick(self, locale: str) -> str:
        return pick(locale, self._languages, fallback="")

    def language(self, key: str) -> str:
        """Returns the language of a key, as its file or folder is named."""
        return self._languages[key]

    def compiled(self, key: str) -> Compiled:
        """Returns the templates with this key. Raises TemplateBroken."""
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = Compiled(
                locale=self.language(key),
                subject=self._template(self._plain, key, "subject.txt"),
                text=self._template(self._plain, key, "body.txt"),
                html=self._template(self._html, key, "body.html"),
                words=self._catalogues.words(key),
            )
        return found

    def tried(self, cases: Sequence[Case]) -> Iterator[Trial]:
        """Tries all cases in all languages. What is wrong with one harms no other."""
        for key, case in product(self._languages, cases):
            mail = None
            try:
                mail = self.compiled(key)
                outcome: Rendered | TemplateBroken = case.render(mail)
            except TemplateBroken as broken:
                outcome = broken
            yield Trial(self.language(key), case, mail, outcome)

    def problems(self) -> Iterator[str]:
        """Yields what of the catalogues is not used, and why. Raises TemplateBroken."""
        return self._catalogues.problems()

    def only_prints(self, variables: tuple[str, ...], locale: str | None) -> bool:
        """Whether the templates do nothing with these variables but print them. Raises TemplateBroken."""
        key = self.nearest(locale)
        if (key, variables) not in self._prints:
            mail = self.compiled(key)
            parts = (self._plain, mail.subject), (self._plain, mail.text), (self._html, mail.html)
            self._prints[key, variables] = all(
                templates.only_prints(str(part.name), variables) for templates, part in parts
            )
        return self._prints[key, variables]

    def _template(self, templates: Templates, key: str, file: str) -> Template:
        prefixes = accumulate(key.split("-"), "{}-{}".format)
        folders = [self._locales[prefix] for prefix in prefixes if prefix in self._locales]
        names = [f"{self._name}/{folder}/{file}" for folder in reversed(folders)]
        default = f"{self._name}/{file}"
        try:
            return templates.select_template([*names, default])
        except Exception as error:
            raise _template_broken(default, error) from error


def _locales(sources: Sources, mail: str) -> dict[str, str]:
    """Returns the folders of translations by key. A missing mail folder raises an error later, when it is rendered."""
    parts = (name.split("/") for name in sources.names())
    return {key_of(part[1]): part[1] for part in parts if len(part) == 3 and part[0] == mail and part[2] in _FILES}


def _rendered_part(template: Template, variables: dict[str, Any]) -> str:
    """Renders one template. Raises TemplateBroken for every error."""
    name = str(template.name)
    try:
        rendered = template.render(variables)
        if name.endswith(".html") and has_too_many_tags(rendered):
            raise TextTooLarge(name, f"makes over {MOST_TAGS:,} tags")
        text = cast("Templates", template.environment).finished(rendered)
    except Exception as error:
        raise _template_broken(name, error) from error
    if size(text) > SIZE_LIMIT:
        raise TextTooLarge(name, f"makes over {SIZE_LIMIT} bytes")
    return text


def size(text: str) -> int:
    """Returns the bytes of a text in a mail."""
    return len(text.encode("utf-8", "replace"))


def _template_broken(name: str, error: Exception) -> TemplateBroken:
    if isinstance(error, TemplateBroken):
        return error
    file, line = _place(error) or (name, None)
    kind = "" if isinstance(error, TemplateError | TooDeep) else f"{type(error).__name__}: "
    words = _ENDLESS if isinstance(error, RecursionError) else f"{kind}{error}{_nearest(error)}"
    reason = " ".join(f"{f'line {line}: ' if line else ''}{words}".split())
    return TemplateBroken(file, reason[:_REASON_LENGTH])


def _nearest(error: Exception) -> str:
    """Returns the variable that was meant, if one is unknown."""
    found = _UNKNOWN.search(str(error)) if isinstance(error, UndefinedError) else None
    if found is None:
        return ""
    name = found[1] or found[2]
    if name in NAMES:
        return " in this mail"
    near = get_close_matches(name, NAMES, n=1, cutoff=_NEAR)
    return f"; the nearest name is {near[0]}" if near else ""


def _place(error: Exception) -> tuple[str, int] | None:
    """Returns the file and line of the error, which may be in a layout. They come from Jinja's traceback."""
    if isinstance(error, TemplateSyntaxError) and error.name:
        return error.name, error.lineno
    frames = ((frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__))
    inside = [(file.removeprefix(PLACE), line) for file, line in frames if file.startswith(PLACE)]
    return inside[-1] if inside else None

"""The words of mails in other languages: gettext catalogues, `locales/de.po`, one for each language.

English is written in the templates, `{{ _("Back in stock") }}`, and a catalogue says it in its language. What it lacks
is taken from the next less specific catalogue (`de-AT`, `de`), and at last from the template. So a shop changes a
sentence, also an English one, by a catalogue with nothing else in it.

An entry that can't be used is left out and named: a fuzzy one, one that lacks a placeholder or has another one, and one
without all plural forms. A catalogue that can't be read raises TemplateBroken where it is used.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any, Final

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from worker.domain.errors import TemplateBroken
from worker.mail.conventions import known
from worker.mail.sources import Sources

FOLDER: Final = "locales"
_SUFFIX: Final = ".po"
_KEPT: Final = 64
# A comment, a keyword with a text, or more of that text. Babel takes a text that does not end for an empty one.
_LINE: Final = re.compile(r'\s*(?:#.*|(?:msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?)?\s*"(?:[^"\\]|\\.)*"\s*|)')
_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s|%%")


def key_of(locale: str) -> str:
    """Returns the name under which a language is found: `de_AT` is `de-at`."""
    return locale.lower().replace("_", "-")


class Words:
    """The words of one language, as templates call for them: `_`, `gettext` and `ngettext`."""

    def __init__(self, translations: NullTranslations) -> None:
        self._translations = translations

    @cached_property
    def functions(self) -> Mapping[str, Any]:
        """The functions by name. Values for placeholders are named: `_("%(shop)s has it", shop=store_name)`.

        In HTML they are escaped, and the words are not. `num` is the number of `ngettext`.
        """
        translations = self._translations

        @pass_context
        def gettext(context: Context, text: str, /, **values: Any) -> str:
            return _filled(context, translations.gettext(text), values)

        @pass_context
        def ngettext(context: Context, one: str, many: str, num: int, /, **values: Any) -> str:
            return _filled(context, translations.ngettext(one, many, num), {"num": num} | values)

        return {"_": gettext, "gettext": gettext, "ngettext": ngettext}


def _filled(context: Context, text: str, values: Mapping[str, Any]) -> str:
    return (Markup(text) if context.eval_ctx.autoescape else text) % values  # noqa: S704  # a shop's own words


class Catalogues:
    """The catalogues in the folder `locales`. Each is parsed once, when it is first used.

    What a shop's own catalogue of a language lacks is taken from ours.
    """

    def __init__(self, sources: Sources) -> None:
        files = [PurePosixPath(name) for name in sources.names() if _is_catalogue(name)]
        self.languages: Final = {key_of(file.stem): file.stem for file in files}
        """The languages as their files name them, by key."""
        self._sources = sources
        self._read: dict[str, Sequence[_Read]] = {}
        self._words: dict[str, Words] = {}

    def words(self, key: str) -> Words:
        """Returns the words of a language, or of the nearest less specific one. Raises TemplateBroken."""
        if key not in self._words:
            chain = NullTranslations()
            for prefix in ("en", *accumulate(key.split("-"), "{}-{}".format)):
                for each in self._catalogues(prefix):
                    found = each.translations()
                    found.add_fallback(chain)
                    chain = found
            self._words[key] = Words(chain)
        return self._words[key]

    def problems(self) -> Iterator[str]:
        """Yields each entry that is not used, with its file, line and the reason. Raises TemplateBroken."""
        for key in self.languages:
            for each in self._catalogues(key):
                yield from each.problems

    def strange(self, words: Container[str]) -> Iterator[tuple[str, str]]:
        """Yields file and text for each entry of the shop's about what is none of `words`. Raises TemplateBroken."""
        for key in self.languages:
            for each in self._catalogues(key):
                if self._sources.is_own(each.name):
                    yield from ((each.name, text) for text in each.strange(words))

    def _catalogues(self, key: str) -> "Sequence[_Read]":
        """Returns those of a language: ours, and the shop's own."""
        if key not in self._read:
            languages = [self.languages[key]] if key in self.languages else []
            self._read[key] = [
                _read(name, self._sources.text(name), language)
                for language in languages
                for name in self._sources.versions(f"{FOLDER}/{language}{_SUFFIX}")
            ]
        return self._read[key]


@lru_cache(maxsize=_KEPT)
def _read(name: str, text: str, language: str) -> "_Read":
    """Returns a catalogue, which is parsed once for all mails. Raises TemplateBroken."""
    return _Read(name, text, language)


def _is_catalogue(name: str) -> bool:
    return name.startswith(f"{FOLDER}/") and name.endswith(_SUFFIX) and name.count("/") == 1


class _Read:
    """One catalogue."""

    def __init__(self, name: str, text: str, language: str) -> None:
        self.name = name
        self._catalog = self._parsed(text, language)
        reasons = [(each, _reason(each, self._catalog)) for each in self._catalog if each.id]
        self.problems: Sequence[str] = [
            f"{self.name}: line {each.lineno}: {why}: {_shortened(each)}" for each, why in reasons if why
        ]
        for each, why in reasons:
            if why:
                del self._catalog[each.id]

    def strange(self, words: Container[str]) -> Iterator[str]:
        """Yields line and words of each entry about what is none of `words`."""
        for each in self._catalog:
            if each.id and _texts(each.id)[0] not in words:
                yield f"line {each.lineno}: no template has these words: {_shortened(each)}"

    def translations(self) -> GNUTranslations:
        """Returns those that are used. Raises TemplateBroken."""
        compiled = BytesIO()
        write_mo(compiled, self._catalog)
        compiled.seek(0)
        try:
            return GNUTranslations(compiled)
        except ValueError as error:
            raise TemplateBroken(self.name, f"Plural-Forms can't be used: {error}") from None

    def _parsed(self, text: str, language: str) -> Catalog:
        try:
            lines = text.splitlines()
            for number, line in enumerate(lines, start=1):
                if not _LINE.fullmatch(line):
                    raise TemplateBroken(self.name, f"line {number}: is no keyword with a text in quotes")
            # The locale has the plural forms, if the header does not say them.
            catalog = read_po(lines, locale=known(language), abort_invalid=True)
            catalog.charset = "utf-8"  # the file is, whatever its header says
            return catalog
        except PoFileError as error:
            raise TemplateBroken(self.name, f"line {error.lineno + 1}: {error.args[0]}") from None
        except (ValueError, LookupError) as error:
            raise TemplateBroken(self.name, f"{type(error).__name__}: {error}") from None


def _reason(message: Message, catalog: Catalog) -> str | None:
    """Returns why an entry is not used; None if it is, or is empty, which says that English is to be shown."""
    sources, texts = _texts(message.id), _texts(message.string or "")
    if not any(texts):
        return None
    if message.fuzzy:
        return "is fuzzy"
    if len(sources) > 1 and (len(texts) != catalog.num_plurals or not all(texts)):
        return f"has not all {catalog.num_plurals} plural forms"
    wanted = set().union(*map(_placeholders, sources))
    # "One item" needs no number, "one" of `one item` neither.
    needed = set.intersection(*map(_placeholders, sources)) - ({"num"} if len(sources) > 1 else set())
    for text in texts:
        found = _placeholders(text)
        if lost := needed - found:
            return f"lacks %({min(lost)})s"
        if foreign := found - wanted:
            return f"has %({min(foreign)})s, which is not in the original"
        if "%" in _PLACEHOLDER.sub("", text):
            return "has a % that is not doubled"
    return None


def _texts(text: str | Sequence[str]) -> Sequence[str]:
    return [text] if isinstance(text, str) else list(text)


def _placeholders(text: str) -> set[str]:
    return {found[1] for found in _PLACEHOLDER.finditer(text) if found[1]}


def _shortened(message: Message) -> str:
    source = _texts(message.id)[0]
    return f'"{source[:50]}…"' if len(source) > 50 else f'"{source}"'

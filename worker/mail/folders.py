"""The folder of one mail, compiled: `subject.txt`, `body.txt` and `body.html`, in the language nearest to the reader's.

Translations are folders inside it, named by language (`de`, `de-AT`). A missing file falls back to the next less
specific language. Every error names the file and the line that it is in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final, cast

from jinja2 import Template, TemplateError, TemplateSyntaxError

from worker.domain.errors import TemplateBroken, TextTooLarge
from worker.mail.message import Rendered
from worker.mail.templates import Templates

SIZE_LIMIT: Final = 256 * 1024  # bytes of each text
DEFAULT_LOCALE: Final = "en"  # the language of the files directly in the mail's folder
LOCALE_LENGTH: Final = 35  # RFC 5646, section 4.4.1

_REASON_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Compiled:
    """The compiled templates of a mail in one language."""

    locale: str
    subject: Template
    text: Template
    html: Template

    @property
    def files(self) -> Sequence[str]:
        """Their names."""
        return [str(part.name) for part in (self.subject, self.text, self.html)]

    def render(self, variables: dict[str, Any], plain: dict[str, Any]) -> Rendered:
        """Renders the HTML with `variables` and the subject, subject and text with `plain`.

        Raises TemplateBroken, and TextTooLarge.
        """
        subject = " ".join(_rendered_part(self.subject, plain).split())
        if not subject:
            raise TemplateBroken(str(self.subject.name), "makes an empty subject")
        html = _rendered_part(self.html, {**variables, "subject": subject})
        return Rendered(subject, _rendered_part(self.text, plain), html)


class Folder:
    """The templates of the mail `name` in a directory. Each language is read once, when it is first used.

    Languages have keys: `de-at`, and "" for the files without a folder.
    """

    def __init__(self, template_dir: Path, name: str) -> None:
        self._name = name
        self._plain = Templates(template_dir, escape=False)
        self._html = Templates(template_dir, escape=True)
        self._locales = _locales(template_dir / name)
        self._compiled: dict[str, Compiled] = {}
        self._prints: dict[tuple[str, Sequence[str]], bool] = {}

    @property
    def languages(self) -> list[str]:
        """The languages that there are templates for, that of the files without a folder first."""
        return [DEFAULT_LOCALE, *sorted(each for each in self._locales.values() if each != DEFAULT_LOCALE)]

    def nearest(self, locale: str | None) -> str:
        """Returns the key of the most specific translation that exists, or "" for none."""
        key = _key((locale or "")[:LOCALE_LENGTH])
        while key and key not in self._locales:
            key = key.rpartition("-")[0]
        return key

    def language(self, key: str) -> str:
        """Returns the language of a key, as its folder is named."""
        return self._locales.get(key, DEFAULT_LOCALE)

    def compiled(self, key: str) -> Compiled:
        """Returns the templates with this key. Raises TemplateBroken."""
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = Compiled(
                locale=self.language(key),
                subject=self._template(self._plain, key, "subject.txt"),
                text=self._template(self._plain, key, "body.txt"),
                html=self._template(self._html, key, "body.html"),
            )
        return found

    def all_compiled(self) -> Iterator[Compiled]:
        """Yields the templates of each language. Raises TemplateBroken."""
        return map(self.compiled, ("", *self._locales))

    def only_prints(self, variables: Sequence[str], locale: str | None) -> bool:
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


def _locales(mail: Path) -> dict[str, str]:
    """Returns the folders of translations by key. A missing mail folder raises an error later, when it is rendered."""
    folders = mail.iterdir() if mail.is_dir() else ()
    return {_key(folder.name): folder.name for folder in folders if folder.is_dir()}


def _key(locale: str) -> str:
    return locale.lower().replace("_", "-")


def rendered_file(templates: Templates, name: str, variables: dict[str, Any]) -> str:
    """Renders one file, for a mail that has no folders of languages. Raises TemplateBroken for every error."""
    try:
        template = templates.get_template(name)
    except Exception as error:
        raise _template_broken(name, error) from error
    return _rendered_part(template, variables)


def _rendered_part(template: Template, variables: dict[str, Any]) -> str:
    """Renders one template. Raises TemplateBroken for every error."""
    name = str(template.name)
    try:
        text = cast("Templates", template.environment).finished(template.render(variables))
    except Exception as error:
        root = str(template.filename).removesuffix(name)
        raise _template_broken(name, error, root) from error
    if size(text) > SIZE_LIMIT:
        raise TextTooLarge(name, f"makes over {SIZE_LIMIT} bytes")
    return text


def size(text: str) -> int:
    """Returns the bytes of a text in a mail."""
    return len(text.encode("utf-8", "replace"))


def _template_broken(name: str, error: Exception, root: str = "") -> TemplateBroken:
    file, line = _place(error, root) or (name, None)
    kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
    reason = " ".join(f"{f'line {line}: ' if line else ''}{kind}{error}".split())
    return TemplateBroken(file, reason[:_REASON_LENGTH])


def _place(error: Exception, root: str) -> tuple[str, int] | None:
    """Returns the file and line of the error, which may be in a layout. They come from Jinja's traceback."""
    if isinstance(error, TemplateSyntaxError) and error.name:
        return error.name, error.lineno
    frames = ((frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__))
    inside = [(file.removeprefix(root), line) for file, line in frames if root and root in file]
    return inside[-1] if inside else None

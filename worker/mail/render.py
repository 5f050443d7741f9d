"""Renders the facts about an item into the subject, text and HTML of a mail. Uses Jinja.

A mail is a folder of `subject.txt`, `body.txt` and `body.html`. Translations are folders inside it, named by language
(`de`, `de-AT`). A missing file falls back to the next less specific language. HTML is autoescaped, text is not. An
unknown variable is an error in both.
"""

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final, cast

from jinja2 import Template, TemplateError, TemplateSyntaxError
from markupsafe import escape

from worker.domain.errors import TemplateBroken
from worker.mail.details import (
    SOFT_HYPHEN,
    isolated,
    language_direction,
    shown_name,
    shown_options,
    without_soft_hyphens,
)
from worker.mail.message import Rendered
from worker.mail.prices import region_of, shown_price
from worker.mail.templates import Extra, Templates

SIZE_LIMIT: Final = 256 * 1024  # bytes of each text
PERSONAL: Final = ("item_url",)
"""The fields of MailContext that differ per recipient. All other variables are the same for one item."""
UNSUBSCRIBE: Final = ("unsubscribe_url",)
"""The field of MailContext in which marks stand for tokens."""
BLANK_LIMIT: Final = 2048  # the most characters of a value for a placeholder; URLs in events are not longer

_MOST_OCTETS: Final = 5  # the most octets of one ASCII character in HTML: "&#34;"

_MAIL: Final = "back_in_stock"
_DEFAULT_LOCALE: Final = "en"  # the language of the files directly in the mail's folder
_LOCALE_LENGTH: Final = 35  # RFC 5646, section 4.4.1
_REASON_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class MailContext:
    """The facts of one mail. URLs are checked; texts are unchanged from the event. `details` makes them readable."""

    item_url: str
    catalog_item_id: str
    options: Mapping[str, str]
    item_name: str | None = None
    price: str | None = None
    currency: str | None = None
    image_url: str | None = None
    unsubscribe_url: str = ""
    """Where the customer leaves: https: or mailto:. Empty: nowhere."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Texts that the order to send this mail gave, by name."""


@dataclass(frozen=True, slots=True)
class _Mail:
    """The compiled templates of a mail in one language."""

    locale: str
    subject: Template
    text: Template
    html: Template

    def render(self, variables: dict[str, Any]) -> Rendered:
        name = variables["item_name"]
        plain = {**variables, "item_name": without_soft_hyphens(name)} if name and SOFT_HYPHEN in name else variables
        subject = " ".join(_rendered_part(self.subject, plain).split())
        if not subject:
            raise TemplateBroken(str(self.subject.name), "makes an empty subject")
        return Rendered(subject, _rendered_part(self.text, plain), _rendered_part(self.html, variables))


class Renderer:
    """Renders mails from the templates in a directory. Each language is read once, when it is first used.

    Thread-safe.
    """

    def __init__(self, template_dir: Path, store_name: str) -> None:
        self.blanks: Final = {name: f"blank-{secrets.token_hex(16)}" for name in PERSONAL}
        """The placeholders that `with_blanks` uses. They are random, so that no text can contain them on purpose."""
        self.store_name = store_name
        self._plain = Templates(template_dir, escape=False)
        self._html = Templates(template_dir, escape=True)
        self._locales = _locales(template_dir / _MAIL)
        self._mails: dict[str, _Mail] = {}
        self._prints: dict[tuple[str, Sequence[str]], bool] = {}

    @property
    def languages(self) -> list[str]:
        """The languages that there are templates for, that of the files without a folder first."""
        return [_DEFAULT_LOCALE, *sorted(each for each in self._locales.values() if each != _DEFAULT_LOCALE)]

    def render(self, context: MailContext, locale: str | None) -> tuple[Rendered, str]:
        """Returns the mail in the language nearest to `locale`, and that language.

        Raises TemplateBroken.
        """
        mail = self._mail(self.nearest(locale))
        return mail.render(self._variables(context, mail.locale, self._region(locale, mail.locale))), mail.locale

    def with_blanks(self, context: MailContext, locale: str | None) -> tuple[Rendered, str] | None:
        """Returns what `render` returns, with the placeholders `blanks` for the values of PERSONAL.

        The result is valid for all values that `fit_blanks`: replace each placeholder by the plain value in the text,
        and by `in_html` of it in the HTML. The subject has none. Returns None if each value needs a full rendering.
        """
        try:
            if not self.only_prints(PERSONAL, locale):
                return None
            rendered, used = self.render(replace(context, **cast("dict[str, Any]", self.blanks)), locale)
        except Exception:  # `render` with real values reports the error, if they are affected
            return None
        return (rendered, used) if self._has_room(rendered) else None

    def only_prints(self, variables: Sequence[str], locale: str | None) -> bool:
        """Whether the templates do nothing with these variables but print them. Raises TemplateBroken."""
        key = self.nearest(locale)
        if (key, variables) not in self._prints:
            mail = self._mail(key)
            parts = (self._plain, mail.subject), (self._plain, mail.text), (self._html, mail.html)
            self._prints[key, variables] = all(
                templates.only_prints(str(part.name), variables) for templates, part in parts
            )
        return self._prints[key, variables]

    def _has_room(self, rendered: Rendered) -> bool:
        """Whether the subject has no placeholders, and no text can get too large for any value."""
        return self._growth(rendered.subject) == 0 and all(
            _size(text) + self._growth(text) <= SIZE_LIMIT for text in (rendered.text, rendered.html)
        )

    def _growth(self, text: str) -> int:
        return sum(text.count(blank) for blank in self.blanks.values()) * BLANK_LIMIT * _MOST_OCTETS

    def check(self) -> list[str]:
        """Renders every language with full and with minimal sample data. Returns the names of the files used.

        Raises TemplateBroken.
        """
        used = set[str]()
        for key in ("", *self._locales):
            mail = self._mail(key)
            for sample in _SAMPLES:
                mail.render(self._variables(sample, mail.locale, None))
            used.update(str(part.name) for part in (mail.subject, mail.text, mail.html))
        return sorted(used)

    def hiding(self, variable: str) -> list[str]:
        """Returns the bodies, in all languages, that don't show this value of a sample. Raises TemplateBroken."""
        hiding = set[str]()
        for key in ("", *self._locales):
            mail = self._mail(key)
            variables = self._variables(_FULL_SAMPLE, mail.locale, None)
            rendered = mail.render(variables)
            bodies = (mail.text, rendered.text), (mail.html, rendered.html)
            hiding.update(str(part.name) for part, text in bodies if variables[variable] not in text)
        return sorted(hiding)

    def nearest(self, locale: str | None) -> str:
        """Returns the key of the most specific translation that exists, or "" for none."""
        key = _key((locale or "")[:_LOCALE_LENGTH])
        while key and key not in self._locales:
            key = key.rpartition("-")[0]
        return key

    def variant(self, locale: str | None) -> str:
        """Returns one locale for all that get the same mail: the key of a translation, with the customer's region."""
        key = self.nearest(locale)
        region = self._region(locale, self._locales.get(key, _DEFAULT_LOCALE))
        if region is None or key.endswith(f"-{region.lower()}"):
            return key
        return f"{key or _DEFAULT_LOCALE}-{region.lower()}"

    def _region(self, locale: str | None, mail: str) -> str | None:
        return region_of(locale[:_LOCALE_LENGTH], mail) if locale else None

    def _mail(self, key: str) -> _Mail:
        mail = self._mails.get(key)
        if mail is None:
            mail = self._mails[key] = self._compiled(key)
        return mail

    def _compiled(self, key: str) -> _Mail:
        return _Mail(
            locale=self._locales.get(key, _DEFAULT_LOCALE),
            subject=self._template(self._plain, key, "subject.txt"),
            text=self._template(self._plain, key, "body.txt"),
            html=self._template(self._html, key, "body.html"),
        )

    def _template(self, templates: Templates, key: str, file: str) -> Template:
        prefixes = accumulate(key.split("-"), "{}-{}".format)
        folders = [self._locales[prefix] for prefix in prefixes if prefix in self._locales]
        names = [f"{_MAIL}/{folder}/{file}" for folder in reversed(folders)]
        default = f"{_MAIL}/{file}"
        try:
            return templates.select_template([*names, default])
        except Exception as error:
            raise _template_broken(default, error) from error

    def _variables(self, context: MailContext, locale: str, region: str | None) -> dict[str, Any]:
        direction = language_direction(locale)
        price = shown_price(context.price, context.currency, locale, region)
        return {
            "item_url": context.item_url,
            "item_name": shown_name(context.item_name, direction),
            "price": isolated(price, direction) if price else None,
            "image_url": context.image_url,
            "unsubscribe_url": context.unsubscribe_url,
            "extra": Extra(context.extra),
            "options": shown_options(context.options, direction),
            "store_name": isolated(self.store_name, direction),
            "catalog_item_id": context.catalog_item_id,
            "locale": locale,
            "direction": direction,
        }


def fit_blanks(value: str) -> bool:
    """Whether `with_blanks` is valid for this value: it is there, has one line and is not too long."""
    return 0 < len(value) <= BLANK_LIMIT and value.isprintable()


def in_html(value: str) -> str:
    """Returns `value` as HTML templates print it."""
    return str(escape(value))


_FULL_SAMPLE: Final = MailContext(
    item_url="https://shop.example/p/mug-1",
    catalog_item_id="mug-1",
    options={"Size": "L"},
    item_name="Blue mug",
    price="12.50",
    currency="EUR",
    image_url="https://shop.example/mug-1.jpg",
    unsubscribe_url="https://notify.shop.example/u/sample-token",
    extra=defaultdict(lambda: "10", sample="10"),  # whatever a template asks for is there
)
_BARE_SAMPLE: Final = MailContext(_FULL_SAMPLE.item_url, _FULL_SAMPLE.catalog_item_id, {})
_SAMPLES: Final = (_FULL_SAMPLE, _BARE_SAMPLE)


def _locales(mail: Path) -> dict[str, str]:
    """Returns the folders of translations by key. A missing mail folder raises an error later, when it is rendered."""
    folders = mail.iterdir() if mail.is_dir() else ()
    return {_key(folder.name): folder.name for folder in folders if folder.is_dir()}


def _key(locale: str) -> str:
    return locale.lower().replace("_", "-")


def rendered_file(templates: Templates, name: str, variables: dict[str, Any]) -> str:
    """Renders one file, for a mail that is no `MailContext`. Raises TemplateBroken for every error."""
    try:
        template = templates.get_template(name)
    except Exception as error:
        raise _template_broken(name, error) from error
    return _rendered_part(template, variables)


def _rendered_part(template: Template, variables: dict[str, Any]) -> str:
    """Renders one template. Raises TemplateBroken for every error."""
    name = str(template.name)
    try:
        text = template.render(variables)
    except Exception as error:
        root = str(template.filename).removesuffix(name)
        raise _template_broken(name, error, root) from error
    if _size(text) > SIZE_LIMIT:
        raise TemplateBroken(name, f"makes over {SIZE_LIMIT} bytes")
    return text


def _size(text: str) -> int:
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

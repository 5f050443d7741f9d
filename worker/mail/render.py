"""Renders the facts about items into the subject, text and HTML of a mail. Uses Jinja.

A mail is a folder of templates (`folders`): `back_in_stock` about one item, `back_in_stock_many` about several. HTML is
autoescaped, text is not. An unknown variable is an error in both.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple

from markupsafe import escape

from worker.domain.brand import NO_BRAND, Brand
from worker.domain.errors import TemplateBroken
from worker.domain.policies import MOST_ITEMS
from worker.mail.conventions import shown_day
from worker.mail.details import (
    SOFT_HYPHEN,
    isolated,
    language_direction,
    shop_variables,
    shown_name,
    shown_options,
    without_soft_hyphens,
)
from worker.mail.folders import DEFAULT_LOCALE, SIZE_LIMIT, Case, Compiled, Folder, Trial, size
from worker.mail.message import Rendered
from worker.mail.prices import region_of, shown_price
from worker.mail.sources import Made, Sources
from worker.mail.templates import Extra

ASKED: Final = ("asked_on",)
"""The field of MailContext that differs per recipient even if all get the same link."""
PERSONAL: Final = ("item_url", *ASKED)
"""The fields of MailContext that differ per recipient. All other variables are the same for one item."""
UNSUBSCRIBE: Final = ("unsubscribe_url",)
"""The field of MailContext in which marks stand for tokens."""
BLANK_LIMIT: Final = 2048  # the most characters of a value for a placeholder; URLs in events are not longer

_DAYS: Final = 4096
_LOCALE_LENGTH: Final = 35  # RFC 5646, section 4.4.1
_MOST_OCTETS: Final = 5  # the most octets of one ASCII character in HTML: "&#34;"

_ONE, _MANY = "back_in_stock", "back_in_stock_many"


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
    asked_on: str | None = None
    """The day on which the customer asked, as `shown_day` writes it."""


class _Mails(NamedTuple):
    """The templates of the mail about one item, and about several."""

    one: Folder
    many: Folder


class Renderer:
    """Renders mails from templates. Thread-safe."""

    def __init__(
        self,
        sources: Sources,
        store_name: str,
        *,
        brand: Brand = NO_BRAND,
        default_locale: str = DEFAULT_LOCALE,
    ) -> None:
        self.blanks: Final = {name: f"blank-{secrets.token_hex(16)}" for name in PERSONAL}
        """The placeholders that `with_blanks` uses. They are random, so that no text can contain them on purpose."""
        self.store_name = store_name
        self._brand = brand
        self._default_locale = default_locale
        self._shown_day = lru_cache(_DAYS)(self._new_shown_day)
        self._mails = Made(sources, lambda now: _Mails(*(Folder(now, name, default_locale) for name in (_ONE, _MANY))))

    @property
    def languages(self) -> list[str]:
        """The languages that there are words or templates for, that of the templates first."""
        return self._mails.it.one.languages

    def render(self, context: MailContext, locale: str | None) -> tuple[Rendered, str]:
        """Returns the mail in the language nearest to `locale`, and that language.

        Raises TemplateBroken.
        """
        with self._mails as mails:
            mail = mails.one.compiled(mails.one.nearest(locale))
            return self._about_one(mail, context, _region(mails.one.suited(locale), mail.locale)), mail.locale

    def render_many(self, contexts: Sequence[MailContext], locale: str | None) -> tuple[Rendered, str]:
        """Returns the mail about several items. The customer leaves where the first one says.

        Raises TemplateBroken, and TextTooLarge, which fewer items may avoid.
        """
        with self._mails as mails:
            mail = mails.many.compiled(mails.many.nearest(locale))
            return self._about_many(mail, contexts, _region(mails.many.suited(locale), mail.locale)), mail.locale

    def with_blanks(
        self, context: MailContext, locale: str | None, names: tuple[str, ...] = PERSONAL
    ) -> tuple[Rendered, str] | None:
        """Returns what `render` returns, with the placeholders `blanks` for the values of `names`, some of PERSONAL.

        The result is valid for all values that `fit_blanks`: replace each placeholder by the plain value in the text,
        and by `in_html` of it in the HTML. The subject has none. Returns None if each value needs a full rendering.
        """
        try:
            if not self.only_prints(names, locale):
                return None
            blanks: dict[str, Any] = {name: self.blanks[name] for name in names}
            rendered, used = self.render(replace(context, **blanks), locale)
        except Exception:  # `render` with real values reports the error, if they are affected
            return None
        return (rendered, used) if self._has_room(rendered) else None

    def only_prints(self, variables: tuple[str, ...], locale: str | None) -> bool:
        """Whether the templates do nothing with these variables but print them. Raises TemplateBroken."""
        with self._mails as mails:
            return mails.one.only_prints(variables, locale)

    def _has_room(self, rendered: Rendered) -> bool:
        """Whether the subject has no placeholders, and no text can get too large for any value."""
        return self._growth(rendered.subject) == 0 and all(
            size(text) + self._growth(text) <= SIZE_LIMIT for text in (rendered.text, rendered.html)
        )

    def _growth(self, text: str) -> int:
        return sum(text.count(blank) for blank in self.blanks.values()) * BLANK_LIMIT * _MOST_OCTETS

    def check(self) -> list[str]:
        """Tries every language with full and with minimal facts. Returns the names of the files used.

        Raises TemplateBroken. `inspection` tries more.
        """
        files = set[str]()
        for trial in self.trials({"full": _FULL_SAMPLE, "bare": _BARE_SAMPLE}, _SAMPLES_OF_MANY):
            if isinstance(trial.outcome, TemplateBroken):
                raise trial.outcome
            files.update(trial.mail.files if trial.mail else ())
        return sorted(files)

    def problems(self) -> list[str]:
        """Returns what is wrong and harms no mail: words that are not used, and why. Raises TemplateBroken."""
        with self._mails as mails:
            found = list(dict.fromkeys([*mails.one.problems(), *mails.many.problems()]))
        if not mails.one.offers(self._default_locale):
            found.append(f"STOCKBELL_DEFAULT_LOCALE: no mail is in {self._default_locale}, so English takes its place")
        return found

    def trials(self, one: Mapping[str, MailContext], many: Mapping[str, Sequence[MailContext]]) -> Iterator[Trial]:
        """Tries the mail about one item, and that about several, in all languages with samples, which have names."""
        with self._mails as mails:
            yield from mails.one.tried([_case(name, [each], self._about_first) for name, each in one.items()])
            yield from mails.many.tried([_case(name, each, self._about_many) for name, each in many.items()])

    def shown_day(self, day: date, locale: str | None, *, many: bool = False) -> str:
        """Returns a day as the mail (about one, or about several items) nearest to `locale` writes it."""
        return self._shown_day(day, locale, many)

    def _new_shown_day(self, day: date, locale: str | None, many: bool) -> str:
        folder = self._mails.it.many if many else self._mails.it.one
        language = folder.language(folder.nearest(locale))
        text = shown_day(day, language, _region(folder.suited(locale), language))
        return isolated(text, language_direction(language))

    def variant(self, locale: str | None) -> str:
        """Returns one locale for all that get the same mail: the key of a translation, with the customer's region."""
        folder = self._mails.it.one
        key = folder.nearest(locale)
        region = _region(folder.suited(locale), folder.language(key))
        return key if region is None or key.endswith(f"-{region.lower()}") else f"{key}-{region.lower()}"

    def _about_first(self, mail: Compiled, contexts: Sequence[MailContext], region: str | None) -> Rendered:
        return self._about_one(mail, contexts[0], region)

    def _about_one(self, mail: Compiled, context: MailContext, region: str | None) -> Rendered:
        variables = _item(context, mail.locale, region) | self._shared(context, mail.locale)
        return mail.render(variables, _for_text(variables))

    def _about_many(self, mail: Compiled, contexts: Sequence[MailContext], region: str | None) -> Rendered:
        items = [_item(each, mail.locale, region) for each in contexts]
        shared = self._shared(contexts[0], mail.locale)
        return mail.render(shared | {"items": items}, shared | {"items": [_for_text(item) for item in items]})

    def _shared(self, context: MailContext, locale: str) -> dict[str, Any]:
        """Returns the variables that are not about an item."""
        direction = language_direction(locale)
        return {
            "unsubscribe_url": context.unsubscribe_url,
            "locale": locale,
            "direction": direction,
            **shop_variables(self.store_name, self._brand, direction),
        }


def _case(
    name: str,
    contexts: Sequence[MailContext],
    about: Callable[[Compiled, Sequence[MailContext], str | None], Rendered],
) -> Case:
    urls = {"item_url": [each.item_url for each in contexts], "unsubscribe_url": [contexts[0].unsubscribe_url]}
    return Case(name, urls, lambda mail: about(mail, contexts, None))


def _item(context: MailContext, locale: str, region: str | None) -> dict[str, Any]:
    """Returns the variables that are about an item."""
    direction = language_direction(locale)
    price = shown_price(context.price, context.currency, locale, region)
    return {
        "item_url": context.item_url,
        "item_name": shown_name(context.item_name, direction),
        "price": isolated(price, direction) if price else None,
        "image_url": context.image_url,
        "extra": Extra(context.extra),
        "asked_on": context.asked_on,
        "options": shown_options(context.options, direction),
        "catalog_item_id": context.catalog_item_id,
    }


def _for_text(item: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables for the subject and the text."""
    name = item["item_name"]
    return {**item, "item_name": without_soft_hyphens(name)} if name and SOFT_HYPHEN in name else item


def _region(locale: str, mail: str) -> str | None:
    return region_of(locale[:_LOCALE_LENGTH], mail)


def fit_blanks(value: str) -> bool:
    """Whether `with_blanks` is valid for this value: it is there, has one line and is not too long."""
    return 0 < len(value) <= BLANK_LIMIT and value.isprintable()


def in_html(value: str) -> str:
    """Returns `value` as HTML templates print it."""
    return str(escape(value))


_FULL_SAMPLE: Final = MailContext(
    item_url="https://shop.example/p/mug-01",
    catalog_item_id="mug-01",
    options={"Size": "L"},
    item_name="Blue mug",
    price="12.50",
    currency="EUR",
    image_url="https://shop.example/mug-01.jpg",
    unsubscribe_url="https://notify.shop.example/u/sample-token",
    asked_on="8 March 2026",
    extra=defaultdict(lambda: "10", sample="10"),  # whatever a template asks for is there
)
_BARE_SAMPLE: Final = MailContext(_FULL_SAMPLE.item_url, _FULL_SAMPLE.catalog_item_id, {})
_SAMPLES_OF_MANY: Final = {
    f"{items} {name}": [replace(each, item_url=f"https://shop.example/p/mug-{no:02}") for no in range(1, items + 1)]
    for name, each in (("full", _FULL_SAMPLE), ("bare", _BARE_SAMPLE))
    for items in (2, MOST_ITEMS)
}

"""Letters: what a mail about one item, or about several, says without whom it goes to.

Rendering is delayed until it is needed: a broken template must not hide that a request itself is invalid.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from typing import Final, NamedTuple, Protocol

from worker.domain.catalog import options_from_text
from worker.domain.errors import TextTooLarge
from worker.domain.relays import Mailbox
from worker.mail.folders import size
from worker.mail.message import Form, Rendered, dot_stuffed, remainder, with_tokens
from worker.mail.render import ASKED, PERSONAL, UNSUBSCRIBE, MailContext, Renderer, fit_blanks, in_html
from worker.mail.ways_out import WaysOut

DIGEST_LIMIT: Final = 80_000
"""Bytes of HTML of a mail about several items. Gmail cuts a mail off at about 102 kB."""


class ItemFacts(Hashable, Protocol):
    """The facts about an item that a mail may show: a row of `Claimed.items`. Equal facts make the same mail."""

    catalog_item_id: str
    options: str
    name: str | None
    price: str | None
    currency: str | None
    image_url: str | None
    url: str | None


class TooLong(Exception):
    """A mail about several items is too long. With fewer of them it may not be."""


class Personal(NamedTuple):
    """What differs from one customer of an item to another, beside the way out."""

    item_url: str
    asked: datetime | None = None
    """when they asked, in UTC"""


@dataclass(frozen=True, slots=True)
class Paper:
    """What all letters of a process have in common."""

    renderer: Renderer
    sender: Mailbox
    letterhead: str
    ways: WaysOut

    def lettered(self, rendered: Rendered, locale: str, tokens: Sequence[str]) -> bytes:
        """Returns the mail of one customer alone, without a head, dot-stuffed for DATA."""
        lines = with_tokens(self.letterhead, self.ways.marks, tokens)
        return dot_stuffed(remainder(rendered, sender=self.sender, locale=locale, letterhead=lines))

    def way_out(self, tokens: Sequence[str]) -> str:
        """Returns where one customer leaves; "" if nowhere."""
        return with_tokens(self.ways.shown, self.ways.marks, tokens)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A form for all who get one URL."""

    item_url: str
    day: str | None
    """the day on which they asked, "" if that is not known; None: it is a blank in the form"""
    form: Form

    def suits(self, url: str, day: str) -> bool:
        return self.item_url == url and (bool(day) if self.day is None else self.day == day)


class Letter:
    """The mail about one item in one language, with the same extras from its order, without its recipient."""

    def __init__(self, paper: Paper, item: ItemFacts, item_url: str | None, locale: str, extras: str | None) -> None:
        self.item_url = item_url
        """The URL for requests that have none, if known."""
        self._paper = paper
        self._item = item
        self._locale = locale
        self._extra: Mapping[str, str] = _extra(extras)
        self._last: _Ready | None = None
        self._forms: dict[bool, Form | None] = {}
        """Those for any URL, by whether the day is known."""

    def written(self, head: bytes, personal: Personal, tokens: Sequence[str]) -> bytes:
        """Returns the mail with this head, dot-stuffed for DATA. Raises TemplateBroken.

        `tokens` take the places of the marks in the ways out.
        """
        url, asked = personal
        day = self._paper.renderer.shown_day(asked.date(), self._locale) if asked else ""
        ready = self._last
        if ready is None or not ready.suits(url, day):
            if tokens and not self._prints_way_out:
                return head + self._rendered_for(url, day, tokens)
            # A form costs as much as one full rendering. Mostly one rendering is enough, because all get the same URL.
            if ready is not None and fit_blanks(url) and (form := self._form(has_day=bool(day))):
                values = (url, day) if day else (url,)
                return form.filled(values, tuple(map(in_html, values)), tokens, head=head)
            ready = self._made_for(url, day)
            if ready is None:
                return head + self._rendered_for(url, day, tokens)
            self._last = ready
        if ready.day is None:
            return ready.form.filled((day,), (in_html(day),), tokens, head=head)
        return ready.form.filled(tokens=tokens, head=head)

    @cached_property
    def _prints_way_out(self) -> bool:
        """Whether the templates do nothing with the way out but print it."""
        return self._paper.renderer.only_prints(UNSUBSCRIBE, self._locale)

    def _form(self, *, has_day: bool) -> Form | None:
        """Returns the form for any URL. None: the templates do more with it than print it."""
        if has_day not in self._forms:
            names = tuple(name for name in PERSONAL if has_day or name not in ASKED)
            found = self._paper.renderer.with_blanks(self._context("", ""), self._locale, names)
            self._forms[has_day] = self._form_of(*found, names) if found else None
        return self._forms[has_day]

    def _made_for(self, url: str, day: str) -> _Ready | None:
        """Returns the form for those who get this URL. None: there is a way out in the subject, encoded as a whole."""
        renderer = self._paper.renderer
        found = renderer.with_blanks(self._context(url, ""), self._locale, ASKED) if day else None
        rendered, locale = found or renderer.render(self._context(url, day), self._locale)
        if any(mark in rendered.subject for mark in self._paper.ways.marks):
            return None
        return _Ready(url, None if found else day, self._form_of(rendered, locale, ASKED if found else ()))

    def _form_of(self, rendered: Rendered, locale: str, names: Sequence[str]) -> Form:
        paper = self._paper
        blanks = [paper.renderer.blanks[name] for name in names]
        return Form(rendered, blanks, paper.ways.marks, sender=paper.sender, locale=locale, letterhead=paper.letterhead)

    def _rendered_for(self, url: str, day: str, tokens: Sequence[str]) -> bytes:
        """Renders the mail for one customer alone: the templates do more with the way out than print it."""
        context = replace(self._context(url, day), unsubscribe_url=self._paper.way_out(tokens))
        rendered, locale = self._paper.renderer.render(context, self._locale)
        return self._paper.lettered(rendered, locale, tokens)

    def _context(self, url: str, day: str) -> MailContext:
        return _context(self._item, url, day, self._paper.ways.shown, self._extra)


class LetterOfMany:
    """The mail about several items for one customer, in the language nearest to `locale`. Extras are one per item."""

    def __init__(
        self, paper: Paper, items: Sequence[ItemFacts], extras: Sequence[str | None], locale: str | None
    ) -> None:
        self._paper = paper
        self._items = items
        self._extras = extras
        self._locale = locale

    def written(self, head: bytes, personal: Sequence[Personal], tokens: Sequence[str]) -> bytes:
        """Like that of `Letter`, with what is personal of each item. Raises TemplateBroken, and TooLong."""
        way_out = self._paper.way_out(tokens)
        renderer = self._paper.renderer
        contexts = [
            _context(
                item,
                url,
                renderer.shown_day(asked.date(), self._locale, many=True) if asked else "",
                way_out,
                _extra(extras),
            )
            for item, (url, asked), extras in zip(self._items, personal, self._extras, strict=True)
        ]
        rendered, language = _rendered_many(renderer, contexts, self._locale)
        return head + self._paper.lettered(rendered, language, tokens)


class LetterOfSample:
    """The mail about items that are only shown, in the language nearest to `locale`."""

    def __init__(self, paper: Paper, items: Sequence[MailContext], locale: str | None) -> None:
        self._paper = paper
        self._items = items
        self._locale = locale

    def written(self, head: bytes, asked: date | None, tokens: Sequence[str]) -> bytes:
        """Like that of `LetterOfMany`. Items that say when somebody asked for them say the day `asked`."""
        renderer, is_one = self._paper.renderer, len(self._items) == 1
        day = renderer.shown_day(asked, self._locale, many=not is_one) if asked else None
        way_out = self._paper.way_out(tokens)
        items = [replace(each, asked_on=each.asked_on and day, unsubscribe_url=way_out) for each in self._items]
        if is_one:
            rendered, language = renderer.render(items[0], self._locale)
        else:
            rendered, language = _rendered_many(renderer, items, self._locale)
        return head + self._paper.lettered(rendered, language, tokens)


def _rendered_many(renderer: Renderer, items: Sequence[MailContext], locale: str | None) -> tuple[Rendered, str]:
    """Returns what `Renderer.render_many` does. Raises TemplateBroken, and TooLong."""
    try:
        rendered, language = renderer.render_many(items, locale)
    except TextTooLarge as error:
        raise TooLong(str(error)) from None
    if size(rendered.html) > DIGEST_LIMIT:
        raise TooLong(f"over {DIGEST_LIMIT} bytes of HTML")
    return rendered, language


def _context(item: ItemFacts, url: str, day: str, way_out: str, extra: Mapping[str, str]) -> MailContext:
    return MailContext(
        item_url=url,
        asked_on=day or None,
        catalog_item_id=item.catalog_item_id,
        options=_options(item.options),
        item_name=item.name,
        price=item.price,
        currency=item.currency,
        image_url=item.image_url,
        unsubscribe_url=way_out,
        extra=extra,
    )


def _options(text: str) -> Mapping[str, str]:
    return dict(options_from_text(text)) if text != "{}" else {}


def _extra(text: str | None) -> Mapping[str, str]:
    return json.loads(text) if text else {}

"""What templates may use, for people: the files, their blocks and their variables. Pure.

`docs/templates.md` is made of it, and so is the head of a file that `stockbell templates export` writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final


@dataclass(frozen=True, slots=True)
class Word:
    """Something that a template may use."""

    name: str
    meaning: str
    use: str = ""
    """how a template writes it, if not `{{ name }}`"""

    @property
    def usage(self) -> str:
        """How a template writes it."""
        return self.use or f"{{{{ {self.name} }}}}"


FILES: Final[Mapping[str, str]] = {
    "back_in_stock/subject.txt": "the subject of the mail about one item",
    "back_in_stock/body.txt": "the text of the mail about one item",
    "back_in_stock/body.html": "the HTML of the mail about one item: what `_base/item.html` says",
    "back_in_stock_many/subject.txt": "the subject of the mail about several items",
    "back_in_stock_many/body.txt": "the text of the mail about several items",
    "back_in_stock_many/body.html": "the HTML of the mail about several items: what `_base/items.html` says",
    "confirm/subject.txt": "the subject of the mail that asks to confirm",
    "confirm/body.txt": "the text of the mail that asks to confirm",
    "confirm/body.html": "the HTML of the mail that asks to confirm",
    "_base/layout.html": "what all mails have around their content",
    "_base/item.html": "the card of one item",
    "_base/items.html": "the card with a row for each item",
    "_base/end.txt": "what ends the text of all mails",
    "_base/mail.css": "the looks of all mails",
}
"""Our files, but for the catalogues."""

BLOCKS: Final[Mapping[str, str]] = {
    "head": "what is in the head besides: a `<style>`, markup of your own",
    "preheader": "what inboxes show beside the subject",
    "content": "the card",
    "footer": "what is below the card, above the way out",
    "picture": "what the picture shows, for those who don't see it",
    "news": "the short line above the headline",
    "headline": "the headline, which leads to the item",
    "unnamed": "the headline of an item whose name is not known",
    "action": "what the button says",
    "caution": "the hint below the button",
    "reason": "why the customer gets this mail",
}

_OPTIONS: Final = "{% for label, value in options.items() %}{{ label }}: {{ value }} {% endfor %}"
_ITEM: Final = (
    Word("item_name", "the item's name; none if no event has named it"),
    Word("price", "the price with its currency, as the customer's country writes it; may be none"),
    Word("image_url", "the item's picture; may be none"),
    Word("options", "names and values of the options that mean something to people; may be empty", _OPTIONS),
    Word("item_url", "the link to the item"),
    Word("asked_on", "the day on which the customer asked, in UTC; none if that is not known"),
    Word("catalog_item_id", "the item's id, as it came"),
    Word(
        "extra",
        "texts that a report gave for its mails, as they came; a name that it did not give is empty",
        "{{ extra.discount }}",
    ),
)
_SHOP: Final = (
    Word("unsubscribe_url", "where the customer leaves, https: or mailto:; empty if nowhere"),
    Word("store_name", "`STOCKBELL_STORE_NAME`"),
    Word(
        "brand",
        "`brand.logo_url`, `brand.address` (its lines) and `brand.palette` (colours), each none if not set",
        "{{ brand.address|join(', ') }}",
    ),
    Word("locale", "the language of the mail"),
    Word("direction", "`ltr` or `rtl`"),
    Word("subject", "the subject as it was rendered; in HTML alone"),
)
VARIABLES: Final[Mapping[str, Sequence[Word]]] = {
    "back_in_stock": (*_ITEM, *_SHOP),
    "back_in_stock_many": (
        Word(
            "items",
            "the items, oldest request first; each has the variables that are about one item",
            "{% for item in items %}{{ item.item_name }}: {{ item.price }} {% endfor %}",
        ),
        *_SHOP,
    ),
    "confirm": (
        Word(
            "items",
            "at most five items, each with `name` and `options`; none if no event has named them",
            "{% for item in items %}{{ item.name }} {% endfor %}",
        ),
        Word("more", "how many more there are, or 0"),
        Word("confirm_url", "the link that confirms"),
        *_SHOP,
    ),
}
"""By mail."""
NAMES: Final = frozenset(word.name for words in VARIABLES.values() for word in words) | {word.name for word in _ITEM}
"""Of all variables."""

HELPERS: Final = (
    Word("_", "the words in the language of the mail, from its catalogue", '{{ _("Price: %(price)s", price=price) }}'),
    Word(
        "ngettext",
        "the same with a number",
        '{{ ngettext("%(num)s item", "%(num)s items", 3) }}',
    ),
    Word("truncate", "a text cut between its letters", "{{ item_name|truncate(5, true, '…', 0) }}"),
    Word("columns", "how many letters wide a text is", "{{ item_name|columns }}"),
    Word("spanned", "in HTML: a text of the other direction in an element of its own", "{{ item_name|spanned }}"),
)
"""Functions and filters."""

_USERS: Final[Mapping[str, str]] = {"_base/item.html": "back_in_stock", "_base/items.html": "back_in_stock_many"}


def variables_of(file: str) -> Sequence[Word]:
    """Returns the variables that a file of ours may use: those of its mail, or what all mails have."""
    mail = _USERS.get(file, file.partition("/")[0])
    return VARIABLES.get(mail, _SHOP) if file.endswith((".txt", ".html")) else ()


def about(file: str) -> str:
    """Returns what a file of ours is."""
    return FILES[file] if file in FILES else f"the words in the language {PurePosixPath(file).stem}"

"""Items that are hard on a mail: for the checks of templates, and to be looked at."""

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Final

from worker.domain.policies import MOST_ITEMS
from worker.mail.render import MailContext

_ALL: Final = MailContext(
    item_url="https://shop.example/p/blue-mug?utm_source=stockbell&utm_medium=email",
    catalog_item_id="mug-1",
    options={"Size": "L", "Colour": "Cobalt"},
    item_name="Blue mug",
    price="12.50",
    currency="EUR",
    image_url="https://shop.example/images/blue-mug.jpg",
    unsubscribe_url="https://notify.shop.example/u/sample",
    asked_on="8 March 2026",
    extra=defaultdict(lambda: "10", sample="10"),  # whatever a template asks for is there
)
_PLAIN: Final = replace(_ALL, image_url=None, options={})
_LONG: Final = "Hand-thrown stoneware mug with a wide handle, glazed twice in cobalt and oatmeal, for tea and soup"
_WORD: Final = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellsch"

ONE: Final[Mapping[str, MailContext]] = {
    "nothing known": MailContext(_ALL.item_url, "mug-1", {}, unsubscribe_url=_ALL.unsubscribe_url),
    "all known": _ALL,
    "long name": replace(_ALL, item_name=f"{_LONG}, {_LONG}"),
    "long word": replace(_PLAIN, item_name=_WORD, options={_WORD: _WORD}),
    "hostile": replace(_PLAIN, item_name="<script>alert(1)</script>\u202egpj.exe", options={"</td>": "<b>'\"&"}),
    "right to left": replace(_PLAIN, item_name="חולצה כחולה (M)!", options={"מידה": "38"}),
    "emoji": replace(_PLAIN, item_name="🫖 Tea 👨‍👩‍👧‍👦 set 🇪🇺 ✨"),
    "long URL": replace(_PLAIN, item_url=f"https://shop.example/p/{'a1b2-' * 405}"),
}
"""By what is special about them. The checks try these."""


def _several(number: int, kinds: Sequence[MailContext]) -> Sequence[MailContext]:
    each = islice(cycle(kinds), number)
    return [replace(item, item_url=f"{item.item_url[:1000]}#{place:02}") for place, item in enumerate(each, 1)]


MANY: Final[Mapping[str, Sequence[MailContext]]] = {
    "2 items": _several(2, [_ALL]),
    "2 items, nothing known": _several(2, [ONE["nothing known"]]),
    f"{MOST_ITEMS} items": _several(MOST_ITEMS, list(ONE.values())),
    f"{MOST_ITEMS} items, nothing known": _several(MOST_ITEMS, [ONE["nothing known"]]),
}
"""Those for the mail about several items, which the checks try."""


@dataclass(frozen=True, slots=True)
class NamedItem:
    """An item that a customer is asked to confirm."""

    name: str | None = "Blue mug"
    options: str = '{"Size":"L"}'


CONFIRM: Final[Mapping[str, Sequence[NamedItem]]] = {
    "nothing known": (),
    "one item": (NamedItem(),),
    "many items": (NamedItem(),) * 7,  # more than the mail names
}
"""Those for the mail that asks to confirm, which the checks try."""


def photo(width: int, height: int, background: str = "#d9c7a8") -> str:
    """Returns a picture of this size, as a URL: something blue, before `background` (which may be "none")."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" fill="{background}"/>'
        '<ellipse cx="50%" cy="55%" rx="30%" ry="35%" fill="#21406b"/>'
        '<ellipse cx="50%" cy="32%" rx="30%" ry="9%" fill="#101820"/></svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


_PHOTO: Final = photo(600, 600)


def _drawn(item: MailContext) -> MailContext:
    return replace(item, image_url=_PHOTO) if item.image_url else item


USUAL: Final = _drawn(_ALL)
"""The item of most mails."""
TEXTS: Final[Mapping[str, MailContext]] = {
    **{name: _drawn(each) for name, each in ONE.items() if each is not _ALL},
    "huge price": replace(_PLAIN, price="123456789012345678901234567890.50"),
    "many options": replace(_PLAIN, options={f"Option {each}": f"value {each}" for each in range(1, 9)}),
    "Arabic": replace(_PLAIN, item_name="كوب أزرق كبير جدا مع مقبض"),
    "Japanese": replace(_PLAIN, item_name="青いマグカップ 大・取っ手付き・食洗機対応", price="1200", currency="JPY"),
}
"""By what is special about their texts. Their pictures are in the mail, so that they are seen wherever it is shown."""
PICTURES: Final[Mapping[str, MailContext]] = {
    "no picture": replace(USUAL, image_url=None),
    "transparent picture": replace(USUAL, image_url=photo(600, 600, "none")),
    "tall picture": replace(USUAL, image_url=photo(300, 3000)),
    "wide picture": replace(USUAL, image_url=photo(3000, 300)),
    "tiny picture": replace(USUAL, image_url=photo(1, 1)),
}
"""By what is special about their pictures."""


def digest(number: int) -> Sequence[MailContext]:
    """Returns so many items, of all kinds."""
    return _several(number, [USUAL, *PICTURES.values(), *TEXTS.values()])


SHOWN: Final[Mapping[str, Mapping[str, Sequence[MailContext]]]] = {
    "About one item": {"usual": [USUAL], **{name: [item] for name, item in {**TEXTS, **PICTURES}.items()}},
    "About several items": {f"{number} items": digest(number) for number in (2, 5, MOST_ITEMS)}
    | {"2 items, nothing known": MANY["2 items, nothing known"]},
}
"""All that are looked at, by the mail that is about them."""

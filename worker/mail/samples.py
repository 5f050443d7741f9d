"""Items that are hard on a mail: for the checks of templates."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
"""By what is special about them."""


def _several(number: int, kinds: Sequence[MailContext]) -> Sequence[MailContext]:
    each = islice(cycle(kinds), number)
    return [replace(item, item_url=f"{item.item_url[:1000]}#{place:02}") for place, item in enumerate(each, 1)]


MANY: Final[Mapping[str, Sequence[MailContext]]] = {
    "2 items": _several(2, [_ALL]),
    "2 items, nothing known": _several(2, [ONE["nothing known"]]),
    f"{MOST_ITEMS} items": _several(MOST_ITEMS, list(ONE.values())),
    f"{MOST_ITEMS} items, nothing known": _several(MOST_ITEMS, [ONE["nothing known"]]),
}

"""`make guide`: writes docs/templates.md from the code, with examples that the shipped templates have made."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from config.settings import SHIPPED_TEMPLATES
from tests.unit.mail.test_confirmation import Named, body, read, writer
from worker.domain.brand import Brand
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources
from worker.mail.templates import blocks_of
from worker.mail.vocabulary import BLOCKS, FILES, HELPERS, VARIABLES, Word

PAGE: Final = Path(__file__).parents[1] / "docs" / "templates.md"
TITLES: Final = {
    "back_in_stock": "About one item",
    "back_in_stock_many": "About several items",
    "confirm": "The mail that asks to confirm",
}
SAMPLE: Final = MailContext(
    item_url="https://shop.example/p/mug-1",
    catalog_item_id="mug-1",
    options={"Size": "L"},
    item_name="Blue mug",
    price="12.50",
    currency="EUR",
    image_url="https://shop.example/mug-1.jpg",
    unsubscribe_url="https://notify.shop.example/u/x",
    asked_on="8 March 2026",
    extra={"discount": "10 %"},
)
SAMPLES: Final = SAMPLE, replace(SAMPLE, item_name="Red cup")
BRAND: Final = Brand(address=("Shop Ltd", "1 High Street"))
LONGEST: Final = 90

INTRODUCTION: Final = """\
# Templates of your own

<!-- This page is made by `make guide`: change tests/guide.py, or worker/mail/vocabulary.py. -->

Mails are made from the files in [`templates/`](../templates). To change one, put a file of the same name in a directory
of your own, and name that in `STOCKBELL_TEMPLATE_DIR`. Each file there takes the place of ours; what you don't have is
ours, and stays up to date with each version.

```console
$ stockbell templates export _base/mail.css --to own
own/_base/mail.css
$ STOCKBELL_TEMPLATE_DIR=own stockbell preview --serve
```

`stockbell templates export` without a file lists all. An exported file says at its top what may be in it. The preview
shows what becomes of all mails each time that you save a file ([mails.md](mails.md#see-it-before-your-customers-do)).

- **To change a bit of a file**, keep ours and say what differs. `shipped/` before a name means our file:
  `{% extends "shipped/back_in_stock/body.html" %}{% block news %}It is back!{% endblock %}` is a whole
  `back_in_stock/body.html`, and
  `@import "shipped/_base/mail.css";` with your rules after it a whole `_base/mail.css`. `{{ super() }}` is what ours
  says.
- **A sentence, a language**: [catalogues](mails.md#words). What your `locales/de.po` lacks is taken from ours.
- **One language alone**: `back_in_stock/ja/body.html` is for Japanese.
- Files that begin with a dot are none of these. A file has at most 256 kB, a directory at most 1,000 files. A page has
  at most 5,000 tags, and CSS at most 50 brackets within one another.

`stockbell templates check` tries all mails in all languages, with items that are hard on them: without a name, with a
long one, from right to left. It says in a line each what is wrong, where, and what to do, and so do `stockbell doctor`
and workers when they start. What is broken holds only what uses it; nobody who waits is lost.

```console
$ STOCKBELL_TEMPLATE_DIR=own stockbell templates check
FAIL  back_in_stock/body.txt: line 2: 'itm_name' is undefined; the nearest name is item_name
warn  mail.css: is used by no mail. Ours is _base/mail.css
```

A fault (FAIL): a file that can't be read or rendered, a subject, text or HTML that is missing, `None` where something
is not known, a body without the link to the item or to confirm, HTML of over 100 kB. A warning: a body without the way
out or its language, what mail programs don't load or run, words that are the same as in English, a file that nothing
uses, what nobody sees since it is in no block or in one that is said elsewhere, HTML of over 60 kB, entries of
catalogues that are not used, CSS that can't be read, and CSS that Gmail or Outlook for Windows drop, by the tests of
[caniemail.com](https://www.caniemail.com).

Workers read the files when they start. What you change later, add or delete is for the next start, or for SIGHUP to
`stockbell work`, which ends its mails in order and begins anew; until then the log says that something has changed
(`template.changed`). Only if a mail is broken are they read again by themselves, once one has changed. A web process
asks to confirm: it is restarted.
"""


def page() -> str:
    """Returns the page."""
    parts = [INTRODUCTION, _files()]
    for mail, title in TITLES.items():
        parts.append(f"## {title}\n\n`{mail}/subject.txt`, `body.txt`, `body.html`.\n")
        parts += [_table(_variables(mail)), _table(_blocks(mail))]
    parts += ["## Functions and filters\n", _table(_helpers()), NOTES]
    return "\n".join(parts)


NOTES: Final = """\
`item_name`, `price`, `image_url` and `asked_on` may be none, and would be printed as `None`: ask for them first,
`{% if price %}{{ price }}{% endif %}`. A block that you say anew is without the blocks inside of it, and what is in no
block of what a file extends is not shown. Files that you include or import lie anywhere in your directory, and are
named from there; macros get variables by `{% import "macros.html" as my with context %}`.

Texts of the other direction come in isolates (U+2068, U+2069). In the content of HTML write `{{ item_name|spanned }}`,
which puts an element with `dir` in their place; in attributes and `<title>` leave the filter out.

How names and prices are made readable: [publishing.md](publishing.md#what-customers-read-of-it). Where customers leave:
[feedback.md](feedback.md#how-a-customer-leaves). What a report may add: [api.md](api.md#the-methods); names with a dot
are `{{ extra["product.name"] }}`.

Print `item_url`, `asked_on` and `unsubscribe_url` as they are, or ask whether they are there (`{% if asked_on %}`). A
template that does more with them, or puts them into a sentence (`_("…%(day)s…", day=asked_on)`), has to be rendered for
each customer. The mail about several items always is.

The mail about several items has 2 to 20. Gmail cuts off mails of over 102 kB: if its HTML has more than 80,000 bytes,
the mail is about half as many items, and the next one about the rest. `stockbell preview mug-1 cup-2` shows such a
mail.
"""


def made(mail: str, file: str, template: str, items: Sequence[MailContext] = SAMPLES) -> str:
    """Returns what a shop's own file makes in English."""
    with TemporaryDirectory() as name:
        own = Path(name)
        (own / mail).mkdir()
        (own / mail / file).write_text(template, encoding="utf-8")
        kind = "html" if file.endswith(".html") else "text"
        if mail == "confirm":
            asked = read(writer(own, brand=BRAND), Named(options='{"Size":"L"}'))
            return body(asked, kind.replace("text", "plain"))
        renderer = Renderer(Sources(own, SHIPPED_TEMPLATES), "Shop", brand=BRAND)
        rendered, _ = renderer.render_many(items, "en") if mail.endswith("_many") else renderer.render(items[0], "en")
        return str(getattr(rendered, kind))


def _files() -> str:
    return "## Files\n\n" + _table([("file", "is"), *((f"`{name}`", about) for name, about in FILES.items())])


def _variables(mail: str) -> Iterator[Sequence[str]]:
    examples = _examples(mail, VARIABLES[mail])
    yield "variable", "is", "written", "makes"
    for word in VARIABLES[mail]:
        yield f"`{word.name}`", word.meaning, _code(word.usage), examples[word.name]


def _blocks(mail: str) -> Iterator[Sequence[str]]:
    yield "block of `body.html`", "has", "ours says"
    sources, file = Sources(SHIPPED_TEMPLATES), f"{mail}/body.html"
    names = list(dict.fromkeys(_all_blocks(sources, file)))
    own = "".join(f"{{% block {name} %}}{_marked(name, '{{ super() }}')}{{% endblock %}}" for name in names)
    own = f'{{% extends "shipped/{file}" %}}{own}'
    without_names = [replace(each, item_name=None) for each in SAMPLES]
    html, unnamed = made(mail, "body.html", own), made(mail, "body.html", own, without_names)
    for name in names:
        yield f"`{name}`", BLOCKS[name], _found(name, unnamed if name == "unnamed" else html)


def _all_blocks(sources: Sources, file: str) -> Iterator[str]:
    """Yields the blocks of a file, and those of what it extends."""
    if found := re.match(r'\{% extends "([^"]+)" %\}', sources.text(file)):
        yield from _all_blocks(sources, found[1])
    yield from blocks_of(sources, file)


def _helpers() -> Iterator[Sequence[str]]:
    examples = _examples("back_in_stock", HELPERS)
    yield "name", "makes", "written", "which is"
    for word in HELPERS:
        yield f"`{word.name}`", word.meaning, _code(word.usage), examples[word.name]


def _examples(mail: str, words: Sequence[Word]) -> Mapping[str, str]:
    """Returns what each makes, by name."""
    in_html = {"spanned", "subject"}
    text = made(mail, "body.txt", "".join(_marked(each.name, each.usage) for each in words if each.name not in in_html))
    html = made(mail, "body.html", "".join(_marked(each.name, each.usage) for each in words if each.name in in_html))
    return {each.name: _found(each.name, html if each.name in in_html else text) for each in words}


def _marked(name: str, text: str) -> str:
    return f"[[{name}:{text}:{name}]]"


def _found(name: str, text: str) -> str:
    """Returns what was marked with a name, as people see it, in one short line."""
    return _shown(re.sub(r"\[\[\w+:|:\w+\]\]", "", text.partition(f"[[{name}:")[2].partition(f":{name}]]")[0]))


def _shown(text: str) -> str:
    line = " ".join(unescape(re.sub(r"<style.*?</style>|<[^>]*>|[\u2068\u2069]", " ", text, flags=re.DOTALL)).split())
    line = re.sub(r"/(u|confirm)/[\w-]{20,}", r"/\1/…", line).rstrip(" \u200c\u00a0")
    return f"{line[:LONGEST]}…" if len(line) > LONGEST else line or "nothing"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _table(rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    head, *others = rows
    lines = [head, ["---"] * len(head), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

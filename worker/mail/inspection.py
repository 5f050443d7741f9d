"""What is wrong with templates: all mails are tried in all languages, with samples that are hard on them.

With a fault a mail can't be made, and waits, or lacks what it must have. A warning is about something else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from html import escape, unescape
from typing import Final

from worker.domain.errors import TemplateBroken, TextTooLarge
from worker.mail import samples
from worker.mail.catalogues import Catalogues
from worker.mail.confirmation import ConfirmationPage
from worker.mail.conventions import known
from worker.mail.css_support import dropped_in, unread_in
from worker.mail.folders import Compiled, Trial, size
from worker.mail.message import Rendered
from worker.mail.render import Renderer
from worker.mail.sources import SHIPPED, Sources
from worker.mail.templates import words_of
from worker.mail.unseen import unseen_in

SIZE_WARNED: Final = 60_000
SIZE_REFUSED: Final = 100_000
"""Bytes of HTML. Gmail cuts off a mail at about 102 kB, and with it the way out."""
MOST_UNSPLIT: Final = 2
"""A mail about that many items can't be about fewer."""

_PICTURE: Final = re.compile(
    r"""<(?:img|source)\b[^>]*?\ssrc=["']?http:[^>]*>|background=["']?http:|url\(["']?http:""", re.IGNORECASE
)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_NONE: Final = re.compile(r"\bNone\b")
_ODD: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (
        re.compile(r"(@import\s+\S{1,60})"),
        "its CSS has {}, which is not followed: one of a file of yours must come first, and end with ;",
    ),
    (re.compile(r"var\(\s*(--[\w-]+)"), "its CSS uses {}, which :root does not set"),
    (re.compile(r"<(script|form|iframe|object|embed|video)\b", re.IGNORECASE), "has <{}>, which mail programs remove"),
    (re.compile(r"\s(on[a-z]+)=[\"']", re.IGNORECASE), "has {}, and mail programs run no scripts"),
    (
        re.compile(r"<link\b[^>]*?href=[\"']?(https?:[^\"'>\s]{0,60})", re.IGNORECASE),
        "links to {}, which mail programs don't load",
    ),
    (
        re.compile(r"<img\b[^>]*?\ssrc=[\"'](?!https?:|data:|cid:)([^\"'<>]{0,60})[\"']", re.IGNORECASE),
        "has a picture at {}, which is nowhere: write its whole address, https://...",
    ),
    (
        re.compile(r"<img\b(?![^>]*\salt=)[^>]*>", re.IGNORECASE),
        "has a picture without alt, for who don't see it",
    ),
)
"""Patterns for what is odd in a page, each with what to say of it."""
_ADDRESS: Final = re.compile(r"""http:[^"'\s()<>]*""", re.IGNORECASE)
_LANG: Final = re.compile(r"""<(?:html|body|div|table|center)\b[^>]*?\slang=["']?([\w-]+)""", re.IGNORECASE)
_MARKUP: Final = re.compile(r"<style\b.*?</style\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_LETTERS: Final = re.compile(r"[^\W\d_]{3}")
_IN_ENGLISH: Final = {
    True: 'says the same as in English: write words as {{ _("…") }}, and have them in a catalogue',
    False: "is said in English: the catalogue lacks its words",
}
"""By whether the file is the shop's own."""
_WAYS: Final[Mapping[str, str]] = {
    "item_url": "so customers don't get to the item",
    "confirm_url": "so nobody can confirm",
    "unsubscribe_url": "so customers see no way out",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a file."""

    is_fault: bool
    file: str
    text: str
    """line, what is wrong, what to do, and where it was seen"""

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"

    def as_json(self) -> dict[str, object]:
        """Returns it for programs."""
        return {"fault": self.is_fault, "file": self.file, "text": self.text}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found, faults first."""

    findings: Sequence[Finding]
    mails: int
    """how many were made"""
    languages: Sequence[str]

    @property
    def faults(self) -> Sequence[Finding]:
        """What has to be mended."""
        return [each for each in self.findings if each.is_fault]


def inspect(renderer: Renderer, page: ConfirmationPage, sources: Sources) -> Inspection:
    """Tries all. What is wrong with one mail harms no other."""
    trials = [*renderer.trials(samples.ONE, samples.MANY), *page.trials()]
    others = [*_words(renderer), *_languages(renderer)]
    if sources.has_own:
        others += [*_unused(sources), *_unseen(sources), *_strange(sources), *_css(sources)]
    seen = dict[tuple[bool, str, str], list[str]]()
    for trial in trials:
        for wrong in _wrong(trial, sources):
            seen.setdefault(wrong, []).append(trial.locale)
    for is_fault, file, text, locale in (*_nones(trials), *_untranslated(trials, sources)):
        seen.setdefault((is_fault, file, text), []).append(locale)
    languages = renderer.languages
    found = [
        Finding(is_fault, file, f"{text}{_where(locales, languages)}")
        for (is_fault, file, text), locales in seen.items()
    ]
    return Inspection(sorted([*found, *others], key=lambda each: not each.is_fault), len(trials), languages)


_Wrong = tuple[bool, str, str]


def _wrong(trial: Trial, sources: Sources) -> Iterator[_Wrong]:
    if isinstance(trial.outcome, TemplateBroken):
        if not (isinstance(trial.outcome, TextTooLarge) and _may_be_split(trial)):
            yield True, trial.outcome.template, trial.outcome.reason
        return
    assert trial.mail is not None, "what is rendered was compiled"  # noqa: S101
    yield from _missing(trial, trial.mail, trial.outcome)
    yield from _html(trial, trial.mail, trial.outcome.html, sources)


def _missing(trial: Trial, mail: Compiled, made: Rendered) -> Iterator[_Wrong]:
    text_file, html_file = str(mail.text.name), str(mail.html.name)
    if not made.text.strip():
        yield True, text_file, "makes no text, which some mail programs and readers show alone"
    if not made.html.strip():
        yield True, html_file, "makes no HTML"
    for variable, urls in trial.case.urls.items():
        for file, body in ((text_file, made.text), (html_file, unescape(_COMMENT.sub("", made.html)))):
            if body.strip() and any(url not in body for url in urls):
                is_fault = variable != "unsubscribe_url"
                yield is_fault, file, f"does not show {variable}, {_WAYS[variable]}: {_usage(variable, file)}"


def _usage(variable: str, file: str) -> str:
    written = f"{{{{ {variable} }}}}"
    return f'write <a href="{written}">' if file.endswith(".html") else f"write {written}"


def _html(trial: Trial, mail: Compiled, html: str, sources: Sources) -> Iterator[_Wrong]:
    file = str(mail.html.name)
    if html.strip() and trial.locale not in _LANG.findall(html):
        yield False, file, 'does not say its language, for those who hear it: write <div lang="{{ locale }}">'
    for pattern, text in _ODD:
        if found := pattern.search(html):
            yield False, file, text.format(*found.groups())
    if found := _PICTURE.search(html):
        place, line = _place(found[0], file, sources)
        yield False, place, f"{line}has a picture by http:, which mail programs block: use https:"
    if _may_be_split(trial):
        return
    if size(html) > SIZE_REFUSED:
        yield True, file, f"makes over {SIZE_REFUSED:,} bytes, and Gmail cuts off the end: make it shorter"
    elif size(html) > SIZE_WARNED:
        yield False, file, f"makes over {SIZE_WARNED:,} bytes. Over {SIZE_REFUSED:,} are refused: make it shorter"


def _may_be_split(trial: Trial) -> bool:
    """Whether the mail would be made about fewer items if it is too long."""
    return len(trial.case.urls.get("item_url", ())) > MOST_UNSPLIT


def _place(markup: str, file: str, sources: Sources) -> tuple[str, str]:
    """Returns the file that a part of a page comes from, and its line, if a file has it as it is."""
    found = _ADDRESS.search(markup)
    address = found[0] if found else markup
    for name in [file, *sources.names()]:
        for number, line in enumerate(_text(sources, name).splitlines(), 1):
            if address in line:
                return name, f"line {number}: "
    return file, ""


def _rendered(trials: Iterable[Trial]) -> Iterator[tuple[Trial, Compiled, Rendered]]:
    """Yields those of which a mail was made."""
    for trial in trials:
        if trial.mail is not None and not isinstance(trial.outcome, TemplateBroken):
            yield trial, trial.mail, trial.outcome


def _nones(trials: Iterable[Trial]) -> Iterator[tuple[bool, str, str, str]]:
    """Yields templates that print None more often where nothing is known than elsewhere."""
    least = dict[tuple[str, str], int]()
    bare = list[tuple[str, str, int]]()
    for trial, mail, made in _rendered(trials):
        for file, body in zip(mail.files, (made.subject, made.text, made.html), strict=True):
            said = body if body == made.subject else body.replace(escape(made.subject), "")
            number = len(_NONE.findall(said))
            if trial.case.name.endswith("nothing known"):
                bare.append((file, trial.locale, number))
            else:
                least[file, trial.locale] = min(number, least.get((file, trial.locale), number))
    for file, locale, number in bare:
        if number > least.get((file, locale), number):
            yield True, file, "prints None where something is not known: ask for it first, like {% if price %}", locale


def _untranslated(trials: Iterable[Trial], sources: Sources) -> Iterator[tuple[bool, str, str, str]]:
    """Yields bodies that say the same in another language as in English, where nothing of an item could differ."""
    english = dict[str, Rendered]()
    for trial, mail, made in _rendered(trials):
        if trial.case.name != "nothing known":
            continue
        parts = (mail.subject, "subject"), (mail.text, "text"), (mail.html, "html")
        key = str(mail.subject.name).partition("/")[0]
        if trial.locale == "en":
            english[key] = made
        elif key in english and not trial.locale.startswith("en"):
            for template, part in parts:
                words = _said(getattr(made, part))
                if words == _said(getattr(english[key], part)) and _LETTERS.search(words):
                    file = str(template.name)
                    yield False, file, _IN_ENGLISH[sources.is_own(file)], trial.locale


def _said(text: str) -> str:
    """Returns what people read of a text or a page."""
    return " ".join(re.sub(r"https?://\S+", "", unescape(_MARKUP.sub(" ", text))).split())


def _words(renderer: Renderer) -> Iterator[Finding]:
    """Yields entries of catalogues that are not used. A catalogue that can't be read at all was found by trying."""
    try:
        problems = renderer.problems()
    except TemplateBroken:
        return
    for problem in problems:
        file, _, text = problem.partition(": ")
        yield Finding(False, file, text)


def _unused(sources: Sources) -> Iterator[Finding]:
    for name in sources.unused():
        near = [] if name.startswith("locales/") else get_close_matches(name, sources.shipped(), n=1)
        yield Finding(False, name, f"is used by no mail{f'. Ours is {near[0]}' if near else ''}")


def _unseen(sources: Sources) -> Iterator[Finding]:
    """Yields what nobody sees."""
    for name, (line, why) in unseen_in(sources):
        yield Finding(False, name, f"line {line}: {why}: nobody sees it")


def _languages(renderer: Renderer) -> Iterator[Finding]:
    for each in renderer.languages:
        if known(each) is None:
            yield Finding(False, f"locales/{each}.po", f"{each} is no language: name it like sv or pt-BR")


def _strange(sources: Sources) -> Iterator[Finding]:
    """Yields entries of the shop's catalogues that no template asks for: there is a slip in their original."""
    templates = [
        each for name in sources.names() if name.endswith((".html", ".txt")) for each in sources.versions(name)
    ]
    words = {text for name in templates for text in words_of(sources, name)}
    try:
        for file, text in Catalogues(sources).strange(words):
            yield Finding(False, file, text)
    except TemplateBroken:
        return


def _css(sources: Sources) -> Iterator[Finding]:
    """Yields what is wrong with the shop's own CSS, and what Gmail or Outlook drop of it.

    What ours has as well is known to do without.
    """
    names = [name for name in sources.names() if name.endswith((".css", ".html"))]
    ours = [f"{SHIPPED}{name}" for name in sources.shipped() if name in names]
    known = {each.what for name in ours for each in dropped_in(name, _text(sources, name))}
    for name in filter(sources.is_own, names):
        text = _text(sources, name)
        for line, words in unread_in(name, text):
            yield Finding(False, name, f"line {line}: {words}")
        for each in dropped_in(name, text):
            if each.what not in known:
                words = f"{each.by} drop{'' if ' and ' in each.by else 's'} {each.what}"
                yield Finding(False, name, f"line {each.line}: {words}: see that the mail is good without it")


def _text(sources: Sources, name: str) -> str:
    """Returns what is in a file; "" if it can't be read, which is found by trying."""
    try:
        return sources.text(name)
    except TemplateBroken:
        return ""


def _where(locales: Sequence[str], languages: Sequence[str]) -> str:
    some = list(dict.fromkeys(locales))
    return "" if len(some) >= len(languages) else f" ({', '.join(some)})"

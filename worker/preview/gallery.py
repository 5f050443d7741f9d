"""All mails that can be looked at, by the names of their samples."""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import SecretStr

from worker.domain.errors import BadAddress, Refused, TemplateBroken
from worker.domain.languages import pick
from worker.domain.relays import Mailbox
from worker.mail.confirmation import ConfirmationWriter
from worker.mail.inspection import Inspection
from worker.mail.letter import LetterWriter
from worker.mail.render import MailContext
from worker.mail.samples import CONFIRM, SHOWN, NamedItem
from worker.models import uuid7
from worker.processes.bootstrap import Parts
from worker.services import mail_checks, trying
from worker.services.trying import Asked, Facts
from worker.smtp.mailer import Mail

Items = Mapping[str, Sequence[tuple[Facts, Asked]]]
"""A shop's own items, and what of their mail is the customer's, by what the mail about them is called."""

CONFIRMING: Final = "To confirm a sign-up"
OF_EVENTS: Final = "From events"

_URL: Final = "https://notify.shop.example"
_FACTOR: Final = 1000  # as mail programs count


class _Made(NamedTuple):
    mail: Mail
    note: str = ""
    """what is to be said of it"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A mail, or why there is none."""

    subject: str = ""
    text: str = ""
    html: str = ""
    message: bytes = b""
    note: str = ""
    trouble: str = ""
    lines: Sequence[mail_checks.Line] = ()
    """those around the trouble"""

    @property
    def kilobytes(self) -> float:
        """The size of the HTML."""
        return len(self.html.encode("utf-8", "replace")) / _FACTOR


class Gallery:
    """The mails of one version of the files. Thread-safe."""

    def __init__(self, parts: Parts, items: Items | None = None) -> None:
        """Raises BadSetting if mails can't be from this shop."""
        self.parts, self.notes = with_samples(parts)
        writer, confirming = self.parts.letter_writer(self.parts.sender), _with_url(self.parts).confirmation_writer()
        makers: dict[str, Mapping[str, Callable[[str | None], _Made]]] = {
            OF_EVENTS: {name: partial(_of_events, writer, each) for name, each in (items or {}).items()},
            **{
                title: {name: partial(_of_sample, writer, each) for name, each in samples.items()}
                for title, samples in SHOWN.items()
            },
            CONFIRMING: {_confirm(name): partial(_confirming, confirming, each) for name, each in CONFIRM.items()},
        }
        self.groups: Final = {title: list(each) for title, each in makers.items() if each}
        """The names of samples, by the mail that is about them."""
        self._makers = {name: maker for each in makers.values() for name, maker in each.items()}
        self._shown: dict[tuple[str, str | None], Shown] = {}
        self._inspection: Inspection | None = None
        self._making, self._inspecting = threading.Lock(), threading.Lock()

    @property
    def names(self) -> Sequence[str]:
        """The names of all samples."""
        return list(self._makers)

    @property
    def languages(self) -> Sequence[str]:
        """The languages that there are words or templates for."""
        return self.parts.renderer.languages

    @property
    def place(self) -> str:
        """The directory of the files, from here if it is below."""
        directory = self.parts.settings.template_dir
        return str(directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory)

    def nearest(self, locale: str | None) -> str:
        """Returns the language that suits a reader best."""
        languages = self.languages
        return pick(locale, languages, fallback=pick(self.parts.settings.default_locale, languages))

    def mail(self, sample: str, locale: str | None) -> tuple[Mail, str]:
        """Returns the mail about a sample, and what is to be said of it. Raises Refused if it can't be made."""
        try:
            return self._makers[sample](locale)
        except (TemplateBroken, BadAddress) as error:
            raise Refused(str(error)) from None

    def shown(self, sample: str, locale: str) -> Shown:
        """Returns the mail about a sample, or what is wrong with it."""
        key = sample, locale
        with self._making:
            if key not in self._shown:
                self._shown[key] = self._seen(sample, locale)
            return self._shown[key]

    def _seen(self, sample: str, locale: str) -> Shown:
        try:
            mail, note = self.mail(sample, locale)
        except Refused as refused:
            words = str(refused)
            _, lines = mail_checks.excerpt(self.parts.templates, words) or ("", ())
            return Shown(trouble=words, lines=lines)
        message = trying.message(mail)
        opened = mail_checks.opened(message)
        said = "; ".join(filter(None, [note, *mail_checks.lacking(opened)]))
        return Shown(opened.subject, _lines(opened.text), _lines(opened.html), message, said)

    def inspection(self) -> Inspection:
        """Returns what is wrong with the templates. The first time takes about a second."""
        with self._inspecting:
            if self._inspection is None:
                self._inspection = self.parts.inspection()
            return self._inspection

    def is_current(self) -> bool:
        """Whether the files are as they were."""
        return self.parts.templates.is_current()


def with_samples(parts: Parts) -> tuple[Parts, Sequence[str]]:
    """Returns parts with samples in place of settings that mails need and that are not set, and what to say of that."""
    settings, samples, said = parts.settings, dict[str, Any](), list[str]()
    if settings.mail_from is None:
        samples["mail_from"] = Mailbox("", trying.SHOP)
        said.append(f"MAIL_FROM is not set: mails shown here are from {trying.SHOP}")
    if not settings.secret_key:
        samples["secret_key"] = (SecretStr(secrets.token_urlsafe(32)),)
    if settings.public_url is None and not parts.ways_out.shown:
        samples["public_url"] = _URL
    if not parts.ways_out.shown:
        said.append(
            "Mails have no way out, as STOCKBELL_SECRET_KEY and STOCKBELL_PUBLIC_URL (https) would give them: what is"
            " shown here is a sample"
        )
    elif settings.public_url is None:
        said.append("STOCKBELL_PUBLIC_URL is not set: nobody is asked to confirm, and the mail shown here is a sample")
    return _having(parts, samples), said


def _with_url(parts: Parts) -> Parts:
    """Returns parts with a place for links to confirm by, without which there is no such mail."""
    return parts if parts.settings.public_url else _having(parts, {"public_url": _URL})


def _having(parts: Parts, settings: Mapping[str, Any]) -> Parts:
    return replace(parts, settings=parts.settings.model_copy(update=settings))


def checked_sample(name: str) -> str:
    """Returns the name of a sample. Raises Refused, with all names, if there is none of this one."""
    names = [*(name for samples in SHOWN.values() for name in samples), *map(_confirm, CONFIRM)]
    if name in names:
        return name
    near = get_close_matches(name.lower(), names, n=1)
    listed = ", ".join(map(repr, sorted(names)))
    raise Refused(f"there is no sample {name!r}{f', but {near[0]!r}' if near else ''}. All: {listed}")


def _confirm(name: str) -> str:
    return f"confirm, {name}"


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _of_sample(writer: LetterWriter, items: Sequence[MailContext], locale: str | None) -> _Made:
    mail, number = trying.write_sample(writer, items, trying.NOBODY, locale)
    return _Made(mail, trying.about_some(number) if number < len(items) else "")


def _confirming(writer: ConfirmationWriter, items: Sequence[NamedItem], locale: str | None) -> _Made:
    return _Made(writer.write(uuid7(), uuid7(), trying.NOBODY, items, locale))


def _of_events(writer: LetterWriter, items: Sequence[tuple[Facts, Asked]], locale: str | None) -> _Made:
    about = [(facts, replace(asked, locale=locale or asked.locale)) for facts, asked in items]
    mail, number = trying.write_many(writer, about, trying.NOBODY)
    return _Made(mail, trying.about_some(number) if number < len(items) else "")

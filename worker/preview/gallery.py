"""All mails that can be looked at, by the names of their samples."""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from worker.domain.errors import BadAddress, Refused, TemplateBroken
from worker.domain.relays import Mailbox
from worker.mail.inspection import Inspection
from worker.mail.letter import LetterWriter
from worker.mail.samples import CONFIRM, SHOWN
from worker.models import uuid7
from worker.processes.bootstrap import Parts
from worker.services import mail_checks, trying
from worker.services.trying import Asked, Facts
from worker.smtp.mailer import Mail

Items = Mapping[str, Sequence[tuple[Facts, Asked]]]
"""A shop's own items, and what of their mail is the customer's, by what the mail about them is called."""

NOBODY: Final = "customer@shop.example"
CONFIRMING: Final = "To confirm a sign-up"
OF_EVENTS: Final = "From events"

_SHOP: Final = Mailbox("", "shop@shop.example")
_URL: Final = "https://notify.shop.example"
_FACTOR: Final = 1000  # as mail programs count


@dataclass(frozen=True, slots=True)
class Shown:
    """A mail, or why there is none."""

    subject: str = ""
    text: str = ""
    html: str = ""
    message: bytes = b""
    trouble: str = ""
    file: str = ""
    """where the trouble is, if that is known"""
    lines: Sequence[mail_checks.Line] = ()
    """those around it"""

    @property
    def kilobytes(self) -> float:
        """The size of the HTML."""
        return len(self.html.encode("utf-8", "replace")) / _FACTOR


class Gallery:
    """The mails of one version of the files. Thread-safe."""

    def __init__(self, parts: Parts, items: Items | None = None) -> None:
        """Raises BadSetting if mails can't be from this shop."""
        self.parts, self.notes = with_samples(parts)
        sender = self.parts.sender
        writer, confirming = self.parts.letter_writer(sender), _with_url(self.parts).confirmation_writer()
        makers: dict[str, Mapping[str, Callable[[str | None], Mail]]] = {
            OF_EVENTS: {name: partial(_about, writer, each) for name, each in (items or {}).items()},
            **{
                title: {
                    name: partial(trying.write_sample, writer, contexts, NOBODY) for name, contexts in samples.items()
                }
                for title, samples in SHOWN.items()
            },
            CONFIRMING: {
                _confirming(name): partial(confirming.write, uuid7(), uuid7(), NOBODY, named)
                for name, named in CONFIRM.items()
            },
        }
        self.groups: Final = {title: list(each) for title, each in makers.items() if each}
        """The names of samples, by the mail that is about them."""
        self._makers = {name: maker for each in makers.values() for name, maker in each.items()}
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, str | None], Shown] = {}

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

    def mail(self, sample: str, locale: str | None) -> Mail:
        """Returns the mail about a sample. Raises Refused, with the reason, if it can't be made."""
        try:
            with self._lock:
                return self._makers[sample](locale)
        except (TemplateBroken, BadAddress) as error:
            raise Refused(str(error)) from None

    def shown(self, sample: str, locale: str | None) -> Shown:
        """Returns the mail about a sample, or what is wrong with it."""
        key = sample, locale
        if key not in self._shown:
            self._shown[key] = self._seen(sample, locale)
        return self._shown[key]

    def _seen(self, sample: str, locale: str | None) -> Shown:
        try:
            message = trying.message(self.mail(sample, locale))
        except Refused as refused:
            words = str(refused)
            file, lines = mail_checks.excerpt(self.parts.templates, words) or ("", ())
            return Shown(trouble=words, file=file, lines=lines)
        opened = mail_checks.opened(message)
        return Shown(opened.subject, _lines(opened.text), _lines(opened.html), message)

    @cached_property
    def inspection(self) -> Inspection:
        """What is wrong with the templates. Takes about a second."""
        return self.parts.anew().inspection()

    def is_current(self) -> bool:
        """Whether the files are as they were."""
        return self.parts.templates.is_current()


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def with_samples(parts: Parts) -> tuple[Parts, Sequence[str]]:
    """Returns parts with samples in place of settings that mails need and that are not set, and what to say of that."""
    samples, said = dict[str, Any](), list[str]()
    if parts.settings.mail_from is None:
        samples["mail_from"] = _SHOP
        said.append(f"MAIL_FROM is not set: these mails are from {_SHOP.address}")
    if not parts.ways_out.shown:
        said.append("No way out is set (STOCKBELL_SECRET_KEY, STOCKBELL_PUBLIC_URL): that of these mails is a sample")
        samples["public_url"] = _URL
    if not parts.settings.secret_key:
        samples["secret_key"] = (SecretStr(secrets.token_urlsafe(32)),)
    return _having(parts, samples), said


def _with_url(parts: Parts) -> Parts:
    """Returns parts with a place for links to confirm by, without which there is no such mail."""
    return parts if parts.settings.public_url else _having(parts, {"public_url": _URL})


def _having(parts: Parts, settings: Mapping[str, Any]) -> Parts:
    return replace(parts, settings=parts.settings.model_copy(update=settings))


def checked_sample(name: str) -> str:
    """Returns the name of a sample. Raises Refused, with all names, if there is none of this one."""
    names = [*(name for samples in SHOWN.values() for name in samples), *map(_confirming, CONFIRM)]
    if name in names:
        return name
    near = get_close_matches(name, names, n=1)
    raise Refused(f"there is no sample {name!r}{f', but {near[0]!r}' if near else ''}. All: {', '.join(sorted(names))}")


def _confirming(name: str) -> str:
    return f"confirm, {name}"


def _about(writer: LetterWriter, items: Sequence[tuple[Facts, Asked]], locale: str | None) -> Mail:
    mail, _ = trying.write_many(
        writer, [(facts, replace(asked, locale=locale or asked.locale)) for facts, asked in items], NOBODY
    )
    return mail

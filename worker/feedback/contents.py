"""Contents: what the parts of a message are for: the text for people, the fields for machines, the mail that came back.

Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from worker.feedback.addresses import addresses_in, plain
from worker.feedback.clues import RETURNED_KINDS, returned_head
from worker.feedback.copies import Told, without_copy
from worker.feedback.headers import Headers
from worker.feedback.parts import TEXT_LIMIT, Message, Part
from worker.feedback.phrases import is_any_in, phrases

_STATUS_KIND: Final = "delivery-status"
"""What the kinds end with that RFC 3464 and RFC 6533 know, and those that some servers invented."""
_RETURNED_LIMIT: Final = 5
"""Returned mails of which the header fields are read. A report has one."""


@dataclass(frozen=True)
class Contents:
    """A message by what its parts are for."""

    message: Message

    @property
    def headers(self) -> Headers:
        """The message's own header fields."""
        return self.message.headers

    @cached_property
    def statuses(self) -> Sequence[str]:
        """The texts of the parts with delivery status (RFC 3464, RFC 6533)."""
        return [part.text for part in self.message.leaves if part.kind.endswith(_STATUS_KIND)]

    def _is_returned(self, part: Part) -> bool:
        """Whether a part is a mail that came back, or its header fields. A few have no fields of a part before them."""
        is_a_mail = part.headers is not self.headers and "message-id" in part.headers and "from" in part.headers
        return is_a_mail or part.kind in RETURNED_KINDS

    @cached_property
    def enclosed(self) -> Sequence[Part]:
        """The parts with a mail that came back, or with its header fields."""
        return [part for part in self.message.leaves if self._is_returned(part)][:_RETURNED_LIMIT]

    @cached_property
    def returned(self) -> Sequence[Headers]:
        """The header fields of the mails that came back."""
        return [returned_head(part) for part in self.enclosed]

    @cached_property
    def told(self) -> Told:
        """The text for people, without the copy of a mail that some append."""
        return without_copy(self._text)

    @cached_property
    def _text(self) -> str:
        before: list[Part] = []
        for part in self.message.leaves:
            if self._is_returned(part):
                if before:
                    break
            else:
                before.append(part)
        texts = [part.text for part in before if part.kind == "text/plain"]
        if not any(map(str.strip, texts)):
            texts = [part.text for part in before if part.kind == "text/html"]
        return "\n\n".join(texts)[: 2 * TEXT_LIMIT]

    @property
    def is_multipart_report(self) -> bool:
        """Whether it says that it is a report (RFC 6522)."""
        return self.headers.content_type == "multipart/report"

    @cached_property
    def is_of_mailer(self) -> bool:
        """Whether its sender is a mail system: by the name, the address, or a null return path (RFC 5321 4.5.5)."""
        return self.is_named_as_mailer or self.has_null_return_path

    @cached_property
    def is_named_as_mailer(self) -> bool:
        """Whether its sender has the name or the address of a mail system."""
        senders = f"{self.headers.words('from')} {self.headers.get('sender')}".lower()
        return is_any_in(phrases().reporters, senders)

    @cached_property
    def has_null_return_path(self) -> bool:
        """Whether nobody gets a report about it. Vacation notices have that too (RFC 3834 section 3.3)."""
        paths = [value.strip().lower() for value in self.headers.all("return-path")]
        return any(path in ("<>", "") or "mailer-daemon" in path for path in paths)

    @cached_property
    def own_addresses(self) -> frozenset[str]:
        """The addresses that it came from and went to, so none of them is the recipient that it is about."""
        values = self.headers.all(
            "from", "sender", "return-path", "reply-to", "to", "cc", "delivered-to", "envelope-to"
        )
        return frozenset(plain(match[0]) for value in values for match in addresses_in(value))

    @cached_property
    def failed(self) -> Sequence[str]:
        """The recipients in the field that Exim and Gmail write (`X-Failed-Recipients`)."""
        values = self.headers.all("x-failed-recipients")
        return list(dict.fromkeys(plain(match[0]) for value in values for match in addresses_in(value)))

    @property
    def answers_or_forwards(self) -> bool:
        """Whether its subject begins as those of people do who answer or forward."""
        return self.headers.words("subject").lower().lstrip().startswith(phrases().answers)

"""A mail of ours as somebody sees it: before it is sent, or saved from the mailbox that it arrived in.

Pure, bounded, and never raising: a saved file may be anything. At most `parts.READ_LIMIT` octets are looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from worker.feedback.addresses import addresses_in
from worker.feedback.authentication import Result, Results, Signature, parse_results, signatures
from worker.feedback.charsets import decoded
from worker.feedback.headers import Headers
from worker.feedback.parts import READ_LIMIT, Message, Part, parse

__all__ = ["READ_LIMIT", "Result", "Results", "SeenMail", "Signature", "see"]

_FIELDS: Final = 20
"""Fields of one name that are looked at."""


@dataclass(frozen=True)
class SeenMail:
    """What the checks ask of a mail."""

    message: Message
    size: int
    """octets of the whole mail"""

    @property
    def headers(self) -> Headers:
        """Its header fields."""
        return self.message.headers

    @cached_property
    def html_size(self) -> int:
        """Octets of its HTML, decoded, which is what Gmail counts."""
        return sum(len(part.octets) for part in self._texts("text/html"))

    @cached_property
    def bodies(self) -> Sequence[str]:
        """Its texts: plain ones and HTML, with tags."""
        return [decoded(part.octets, part.headers.parameter("charset")) for part in self._texts("text/")]

    def _texts(self, kind: str) -> Iterator[Part]:
        return (part for part in self.message.leaves if part.kind.startswith(kind))

    def address_of(self, name: str) -> str:
        """Returns a field's address; empty if there is none. A name before it may look like one too."""
        *_, address = ("", *(match[0] for match in addresses_in(self.headers.get(name))))
        return address

    def domain_of(self, name: str) -> str:
        """Returns the domain of a field's address; empty if there is none."""
        return self.address_of(name).rpartition("@")[2].lower().rstrip(".")

    @cached_property
    def results(self) -> Sequence[Results]:
        """What hosts say about its authentication, the last of them first."""
        values = zip(self.headers.all("authentication-results"), range(_FIELDS), strict=False)
        return [parse_results(value) for value, _ in values]

    @cached_property
    def signatures(self) -> Sequence[Signature]:
        """The DKIM signatures that it has, whether they are valid or not."""
        values = zip(self.headers.all("dkim-signature"), range(_FIELDS), strict=False)
        return list(signatures(value for value, _ in values))


def see(mail: bytes, size: int | None = None) -> SeenMail:
    """Reads a mail, or the first `READ_LIMIT` octets of one of this size. Never raises."""
    return SeenMail(parse(mail), len(mail) if size is None else size)

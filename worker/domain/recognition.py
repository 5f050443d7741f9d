"""Which mails and customers of ours a report names for certain.

Pure. Anybody can send us a report, and write anybody's address into it. So addresses prove nothing. These do:

- a token, which only we can have signed;
- a Message-ID of ours. It has the request's id, of which 74 bits are random (UUIDv7, RFC 9562 section 5.7), or a hash
  of what is random if the request was imported with a date. So only those know it who have seen the mail. Whether there
  is such a request is for the database to say.

So nobody can report more than the mails that they have seen.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

from worker.domain.returned import Clues
from worker.domain.tokens import Tokens

MOST_CLUES: Final = 50
"""So many tokens, and so many Message-IDs, of one report are looked at."""

_MESSAGE_ID: Final = re.compile(
    r"<?([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})@([^\s<>@]+)>?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class NamedMail:
    """A mail that a report names: a request, and its claim number modulo `tokens.CLAIMS` if a token tells it."""

    request_id: UUID
    claim_no: int | None = None

    @property
    def is_signed(self) -> bool:
        """Whether a token names it. A Message-ID proves something only if there is such a request."""
        return self.claim_no is not None


@dataclass(frozen=True, slots=True)
class Named:
    """What a report names, best proof first."""

    mails: Sequence[NamedMail] = ()
    contacts: Sequence[UUID] = ()


class Recognizer:
    """Knows our tokens and Message-IDs. `domain` is that of MAIL_FROM; without it no Message-ID is ours."""

    def __init__(self, tokens: Tokens | None, domain: str | None) -> None:
        self._tokens = tokens
        self._domain = domain.lower() if domain else None

    def named(self, clues: Clues) -> Named:
        """Returns what these clues name, each once."""
        parts = list(_parts(clues.tokens)) if self._tokens else []
        mails = [*self._signed(parts), *self._quoted(clues.message_ids)]
        return Named(tuple(dict.fromkeys(mails)), tuple(dict.fromkeys(self._contacts(parts))))

    def _signed(self, parts: Sequence[str]) -> Iterator[NamedMail]:
        for part in parts:
            if self._tokens and (sender := self._tokens.sender(part)):
                yield NamedMail(sender.request_id, sender.claim_no)

    def _quoted(self, message_ids: Sequence[str]) -> Iterator[NamedMail]:
        for text in islice(message_ids, MOST_CLUES):
            found = _MESSAGE_ID.fullmatch(text)
            if found and found[2].lower() == self._domain:
                yield NamedMail(UUID(found[1]))

    def _contacts(self, parts: Sequence[str]) -> Iterator[UUID]:
        for part in parts:
            if self._tokens and (contact := self._tokens.contact(part) or self._tokens.contact_of_link(part)):
                yield contact


def _parts(tokens: Sequence[str]) -> Iterator[str]:
    """Yields each token, and what it is made of: an ENVID is a return token, a hyphen and a contact's token."""
    for token in islice(tokens, MOST_CLUES):
        yield token
        if "-" in token:
            yield from token.split("-", 2)[:2]

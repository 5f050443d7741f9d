"""Signs customers up over HTTP: what the API and the sign-up form do for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from worker.domain.tokens import Tokens
from worker.services import requests as requests_service
from worker.store.database import Connection, Database
from worker.store.requests import NewRequest

OptIn = Literal["off", "on", "first"]
"""STOCKBELL_DOUBLE_OPT_IN"""


@dataclass(frozen=True, slots=True)
class SignUp:
    """One sign-up, validated. Everything but `new` is kept with the request as proof of consent."""

    new: NewRequest
    key_id: str
    """the id of the API key"""
    is_public: bool
    """By a publishable key: limits per address hold, and the caller learns nothing."""
    is_confirmed: bool = False
    """A server says that the customer has confirmed already: no double opt-in."""
    client: str | None = field(default=None, repr=False)
    """the customer's own network address, if it is known; only a keyed hash of it is kept"""
    page: str | None = None
    consent: str | None = None
    """the version of the text that the customer agreed to"""


@dataclass(frozen=True, slots=True)
class SignedUp:
    """What became of a sign-up. Never shown to the holder of a publishable key."""

    request_id: UUID
    is_new: bool
    """False: an equal request is there already"""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where customers sign up."""

    database: Database
    tokens: Tokens | None
    opt_in: OptIn = "off"

    def sign_up(self, one: SignUp) -> SignedUp:
        """Adds a request. Raises DatabaseAway, and BadSetting if an erased address can't be recognised without a key.

        A customer who signs up herself wants mail: that lifts a suppression by her own wish or by a bounce.
        """
        return self.database.write(self._add, one)

    def _add(self, c: Connection, one: SignUp) -> SignedUp:
        is_new, request_id = requests_service.add(c, one.new, self.tokens, has_consent=True)
        return SignedUp(request_id, is_new)

    def sign_up_many(self, many: Sequence[SignUp]) -> list[SignedUp]:
        """Does the same for several in one transaction. If one of them fails, none is added."""
        return self.database.write(self._add_many, many)

    def _add_many(self, c: Connection, many: Sequence[SignUp]) -> list[SignedUp]:
        # In the order of the addresses, so that two processes don't wait for each other's rows.
        in_order = sorted(range(len(many)), key=lambda place: many[place].new.email.lower())
        added = {place: self._add(c, many[place]) for place in in_order}
        return [added[place] for place in range(len(many))]

"""Signs customers up over HTTP: what the API and the sign-up form do for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from worker.domain.tokens import Tokens
from worker.services import requests as requests_service
from worker.store import confirmations, unconfirmed
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

        A customer who signs up herself wants mail: that lifts a suppression by her own wish or by a bounce. With double
        opt-in only her confirmation does so, and until then her request waits.
        """
        return self.database.write(self._add, one)

    def _add(self, c: Connection, one: SignUp) -> SignedUp:
        must_confirm = self.opt_in != "off" and not one.is_confirmed
        is_new, request_id = requests_service.add(c, one.new, self.tokens, has_consent=not must_confirm)
        if must_confirm:
            always = self.opt_in == "on"
            confirmations.hold(c, request_id, one.new.locale, is_new=is_new, always=always)
        elif one.is_confirmed:
            confirmations.vouch(c, request_id)
        elif not is_new:
            unconfirmed.release(c, [request_id])
        return SignedUp(request_id, is_new)

    def sign_up_many(self, many: Sequence[SignUp]) -> list[SignedUp]:
        """Does the same for several at once, in their order, in few transactions."""
        return [self.sign_up(one) for one in many]

"""Signs customers up over HTTP: what the API and the sign-up form do for them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from worker.domain.catalog import UNPRINTABLE, checked_url
from worker.domain.errors import BadUrl
from worker.domain.tokens import CLIENT, Tokens
from worker.services import requests as requests_service
from worker.store import confirmations, requests
from worker.store.database import Connection, Database
from worker.store.requests import NewRequest

OptIn = Literal["off", "on", "first"]
"""STOCKBELL_DOUBLE_OPT_IN"""

MOST_CONSENT: Final = 200
"""Characters of a consent text's version."""


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

    request_id: UUID | None
    """None for a public sign-up that added nothing"""
    is_new: bool
    """False: an equal request is there already, or the address has had enough of them"""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where customers sign up."""

    database: Database
    tokens: Tokens | None
    opt_in: OptIn = "off"

    def sign_up(self, one: SignUp) -> SignedUp:
        """Adds a request. Raises DatabaseAway, and BadSetting if an erased address can't be recognised without a key.

        A server that says that the customer has confirmed lifts a suppression by her own wish or by a bounce. Else only
        her confirmation does, for which she is asked by mail: anybody can type her address. With double opt-in a
        request waits until then, too.
        """
        return self.database.write(self._sign_up, one)

    def sign_up_many(self, many: Sequence[SignUp]) -> list[SignedUp]:
        """Does the same for several in one transaction. If one of them fails, none is added."""
        return self.database.write(self._sign_up_many, many)

    def _sign_up_many(self, c: Connection, many: Sequence[SignUp]) -> list[SignedUp]:
        # In the order of the addresses, so that two processes don't wait for each other's rows.
        in_order = sorted(range(len(many)), key=lambda place: many[place].new.email.lower())
        added = {place: self._sign_up(c, many[place]) for place in in_order}
        return [added[place] for place in range(len(many))]

    def _sign_up(self, c: Connection, one: SignUp) -> SignedUp:
        new = replace(one.new, signup=proof_of(one, self.tokens), is_public=one.is_public)
        must_confirm, always = self.opt_in != "off", self.opt_in == "on"
        if one.is_public:
            added = next(iter(requests.create(c, [new], self.tokens)), None)
            confirmations.hold_unseen(c, added, new.email.lower(), new.locale, holds=must_confirm, always=always)
            return SignedUp(added, added is not None)
        is_new, request_id = requests_service.add(c, new, self.tokens, has_consent=one.is_confirmed)
        if one.is_confirmed:
            confirmations.vouch(c, request_id)
        else:
            if not must_confirm and not is_new:
                confirmations.release(c, [request_id])
            confirmations.hold(c, request_id, new.locale, is_new=is_new and must_confirm, always=always)
        return SignedUp(request_id, is_new)


def proof_of(one: SignUp, tokens: Tokens | None, now: datetime | None = None) -> str:
    """Returns what is kept of how a customer signed up, as JSON. Time and language are the request's own.

    Of the page that is its place without what may be personal, of the client a hash that changes every month.
    """
    month = f"{now or datetime.now(UTC):%Y-%m}"
    known: dict[str, Any] = {
        "public": one.is_public,
        "key": one.key_id,
        "page": _place_of(one.page),
        "consent": _version(one.consent),
        "client": tokens.mark(CLIENT, f"{month} {one.client}") if tokens and one.client else None,
    }
    return json.dumps({name: value for name, value in known.items() if value is not None}, separators=(",", ":"))


def _place_of(page: str | None) -> str | None:
    """Returns the page's origin and path: what comes behind may say who looked at it."""
    try:
        return checked_url(page).partition("?")[0].partition("#")[0] if page else None
    except BadUrl:
        return None


def _version(consent: str | None) -> str | None:
    """Returns the version of a consent text, or None if that is none: it is the caller's word, and unchecked."""
    text = (consent or "").strip()
    return text if text and len(text) <= MOST_CONSENT and not UNPRINTABLE.search(text) else None

"""Signs customers up over HTTP: what the API and the sign-up form do for them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from worker.domain.catalog import UNPRINTABLE, checked_url
from worker.domain.errors import BadUrl
from worker.domain.tokens import CLIENT, Tokens
from worker.services import requests as requests_service
from worker.store import confirmations, requests, unconfirmed
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
        places = sorted(range(len(many)), key=lambda place: many[place].new.email.lower())
        fast = [place for place in places if many[place].is_public or self._is_plain(many[place])]
        ids = dict(
            zip(fast, requests.create_each(c, [self._proven(many[place]) for place in fast], self.tokens), strict=True)
        )
        # Not of public ones, which would cost a statement more for an address that is new.
        ended = confirmations.suppressed(c, [id_ for place, id_ in ids.items() if id_ and not many[place].is_public])
        signed_up = {place: self._finish(c, many[place], ids.get(place), ended) for place in places}
        return [signed_up[place] for place in range(len(many))]

    def _is_plain(self, one: SignUp) -> bool:
        """Whether a new request is all there is to do, mostly."""
        return self.opt_in == "off" and not one.is_confirmed

    def _proven(self, one: SignUp) -> NewRequest:
        return replace(one.new, signup=proof_of(one, self.tokens), is_public=one.is_public)

    def _finish(self, c: Connection, one: SignUp, added: UUID | None, ended: Mapping[UUID, UUID]) -> SignedUp:
        """Does the rest for one of several. `ended` has those requests that ended at once, and their contacts."""
        if one.is_public:
            return self._unseen(c, one, added)
        if added is None:
            return self._sign_up(c, one)
        if added in ended:
            confirmations.ask(c, ended[added], one.new.locale)
        return SignedUp(added, is_new=True)

    def _sign_up(self, c: Connection, one: SignUp) -> SignedUp:
        new = self._proven(one)
        if one.is_public:
            return self._unseen(c, one, next(iter(requests.create(c, [new], self.tokens)), None))
        must_confirm, always = self.opt_in != "off", self.opt_in == "on"
        is_new, request_id = requests_service.add(c, new, self.tokens, has_consent=one.is_confirmed)
        if one.is_confirmed:
            confirmations.vouch(c, request_id)
        else:
            if not must_confirm and not is_new:
                unconfirmed.release(c, [request_id])
            confirmations.hold(c, request_id, new.locale, is_new=is_new and must_confirm, always=always)
        return SignedUp(request_id, is_new)

    def _unseen(self, c: Connection, one: SignUp, added: UUID | None) -> SignedUp:
        email, locale = one.new.email.lower(), one.new.locale
        holds, always = self.opt_in != "off", self.opt_in == "on"
        confirmations.hold_unseen(c, added, email, locale, holds=holds, always=always)
        return SignedUp(added, added is not None)


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

"""Who calls the API: the key in the Authorization header, and what it may do."""

import time
from collections.abc import Collection
from typing import Final

from fastapi import Request
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.security.base import SecurityBase

from worker.domain.api_keys import Key, Scope, id_of
from worker.store import keys
from worker.web.context import Context
from worker.web.errors import ApiError

KNOWN_SECONDS: Final = 1.0
"""For so long a key is not looked up again. A revoked one ends as late."""
MOST_KNOWN: Final = 1000
NOTED_SECONDS: Final = 3600.0
"""For so long the use of a key is not noted again."""

_IN_HEADER: Final = APIKey.model_validate(
    {
        "in": APIKeyIn.header,
        "name": "Authorization",
        "description": "A key from `stockbell keys create`, with or without `Bearer ` before it.",
    }
)


class May(SecurityBase):
    """A dependency that returns the caller's key, if it has one of these scopes: see `Access.may`.

    It reads the header itself: to declare it as a parameter takes a tenth of the time of a small request.
    """

    model = _IN_HEADER
    scheme_name = "key"

    def __init__(self, access: "Access", scopes: Collection[Scope]) -> None:
        self._access = access
        self._scopes = scopes

    async def __call__(self, request: Request) -> Key:
        """Returns the key."""
        headers = request.headers
        return await self._access.of(headers.get("authorization"), headers.get("origin"), *self._scopes)


class Access:
    """Recognises keys, and remembers them for a moment."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[float, Key]] = {}
        self._noted_until: dict[str, float] = {}

    def may(self, *scopes: Scope) -> May:
        """Returns a dependency that returns the caller's key, if it has one of these scopes.

        It raises ApiError: 401 without a key that is known, 403 with one that may not do this, or from this origin.
        """
        return May(self, scopes)

    async def of(self, text: str | None, origin: str | None, *scopes: Scope) -> Key:
        """Returns the key in this text, which came from a page of this origin. Raises ApiError as `may` does."""
        key = await self._recognised(text)
        if not any(key.may(scope) for scope in scopes):
            raise ApiError(403, "PERMISSION_DENIED", f"a key with the scope {key.scope} may not do this")
        _check_origin(key, origin)
        return key

    async def _recognised(self, authorization: str | None) -> Key:
        text = (authorization or "").strip()
        if text[:7].lower() == "bearer ":
            text = text[7:].strip()
        if not text:
            raise ApiError(401, "UNAUTHENTICATED", "there is no key: send it in the header Authorization")
        known_until, key = self._known.get(text, (0.0, None))
        if key is None or known_until < time.monotonic():
            key = await self._looked_up(text)
        return key

    async def _looked_up(self, text: str) -> Key:
        self._known.pop(text, None)
        key_id = id_of(text)
        key = await self._context.read(keys.recognise, key_id, text) if key_id else None
        if key is None:
            raise ApiError(401, "UNAUTHENTICATED", "the key is not known, or was revoked")
        await self._note_use(key)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[text] = time.monotonic() + KNOWN_SECONDS, key
        return key

    async def _note_use(self, key: Key) -> None:
        """Only a key that is known leads to a transaction that writes: on SQLite there is one at a time."""
        if time.monotonic() >= self._noted_until.get(key.id, 0.0):
            self._noted_until[key.id] = time.monotonic() + NOTED_SECONDS
            await self._context.write(keys.note_use, key.id)


def _check_origin(key: Key, origin: str | None) -> None:
    """A browser says from which page a call comes. Other programs can say what they want: the key is public."""
    if key.is_publishable and key.origins and origin is not None and origin not in key.origins:
        raise ApiError(403, "PERMISSION_DENIED", "this key may not be used from this origin")

"""Tokens: how a mail is named so that only we can have written the name.

Pure. A return token names a request and its claim: it is the part after the plus of the return path, and the ENVID. A
contact token names a customer: by it they leave, whether by a mail or by a link. A confirming token names a customer
too, and only confirms: whoever is sent on a mail of another kind can't do that. Tokens have a purpose each, and a MAC
of keyed BLAKE2b (RFC 7693), which takes a quarter of the time of HMAC-SHA256. A second key lets tokens outlive the key
that signs. An address key is no token, but is made in the same way: by it an erased address is recognised that nobody
can read any more.
"""

import base64
import hmac
import re
from binascii import Error as NotEncoded
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

_RETURN: Final = b"r"
_CONTACT: Final = b"u"
_ADDRESS: Final = b"a"
_CONFIRMING: Final = b"c"
CLIENT: Final = b"n"
"""The purpose of a mark that stands for a client's network address."""
FORM: Final = b"f"
"""... for the time at which a form was shown."""
CAPTCHA: Final = b"p"
"""... for a proof of work that we asked for."""
_PURPOSES: Final = (_RETURN, _CONTACT, _ADDRESS, _CONFIRMING, CLIENT, FORM, CAPTCHA)

# Base32 would be shorter, but the standard library's takes 4 microseconds, and hexadecimal digits take 0.1.
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_ID_OCTETS: Final = 16
_CLAIM_OCTETS: Final = 2
_SHORT_MAC: Final = 5
_LONG_MAC: Final = 16
"""A link can be tried against a web server as often as one likes."""

CLAIMS: Final = 1 << 8 * _CLAIM_OCTETS
"""Claim numbers are told modulo this."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What a return token names: a request, and its claim number modulo `CLAIMS`."""

    request_id: UUID
    claim_no: int


class Tokens:
    """Signs with the first key and accepts all of them. `keys` are the secrets, newest first, at least one."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("tokens need a key")
        self._keys = [{purpose: _keyed(key, purpose) for purpose in _PURPOSES} for key in keys]
        self._returning, self._contacting = self._keys[0][_RETURN], self._keys[0][_CONTACT]

    def __repr__(self) -> str:
        return f"Tokens({len(self._keys)} keys)"

    def for_return(self, request_id: UUID, claim_no: int) -> str:
        """Returns the token of a claim: 46 hexadecimal digits, whose case does not matter."""
        named = request_id.bytes + (claim_no % CLAIMS).to_bytes(_CLAIM_OCTETS, "big")
        return (named + _mac(self._returning, named)[:_SHORT_MAC]).hex()

    def for_mail(self, contact_id: UUID) -> str:
        """Returns the token for a contact's mail to us: 42 hexadecimal digits."""
        named = contact_id.bytes
        return (named + _mac(self._contacting, named)[:_SHORT_MAC]).hex()

    def for_link(self, contact_id: UUID) -> str:
        """Returns the token for a contact's link: 43 characters of base64url, where case matters."""
        return self.for_contact(contact_id)[1]

    def for_contact(self, contact_id: UUID) -> tuple[str, str]:
        """Returns what `for_mail` and `for_link` return, for the price of one."""
        named = contact_id.bytes
        mac = _mac(self._contacting, named)
        return (named + mac[:_SHORT_MAC]).hex(), _base64url(named + mac)

    def sender(self, token: str) -> Sender | None:
        """Returns what a return token names, or None if we did not sign it."""
        named = self._opened(_from_hex(token), _RETURN, _SHORT_MAC)
        if named is None or len(named) != _ID_OCTETS + _CLAIM_OCTETS:
            return None
        return Sender(UUID(bytes=named[:_ID_OCTETS]), int.from_bytes(named[_ID_OCTETS:], "big"))

    def contact(self, token: str) -> UUID | None:
        """Returns the contact that a token of `for_mail` names, or None if we did not sign it."""
        return _contact(self._opened(_from_hex(token), _CONTACT, _SHORT_MAC))

    def contact_of_link(self, token: str) -> UUID | None:
        """Returns the contact that a token of `for_link` names, or None if we did not sign it."""
        return _contact(self._opened(_from_base64url(token), _CONTACT, _LONG_MAC))

    def for_confirming(self, contact_id: UUID) -> str:
        """Returns the token by which a contact confirms a sign-up: 43 characters of base64url, where case matters."""
        named = contact_id.bytes
        return _base64url(named + _mac(self._keys[0][_CONFIRMING], named))

    def contact_confirming(self, token: str) -> UUID | None:
        """Returns the contact that a token of `for_confirming` names, or None if we did not sign it."""
        return _contact(self._opened(_from_base64url(token), _CONFIRMING, _LONG_MAC))

    def address_keys(self, address: str) -> Sequence[str]:
        """Returns what an erased address is known by, for each key: 32 hexadecimal digits. The newest is the first.

        `address` is a contact's, in lower case.
        """
        return [_mac(key[_ADDRESS], address.encode()).hex() for key in self._keys]

    def mark(self, purpose: bytes, text: str) -> str:
        """Returns what stands for a text, or proves that we wrote it: 32 hexadecimal digits."""
        return _mac(self._keys[0][purpose], text.encode()).hex()

    def is_mark(self, purpose: bytes, text: str, mark: str) -> bool:
        """Whether `mark` returned this for the text, with one of the keys."""
        marks = [_mac(key[purpose], text.encode()).hex().encode() for key in self._keys]
        return any(hmac.compare_digest(each, mark.encode(errors="replace")) for each in marks)

    def _opened(self, signed: bytes, purpose: bytes, mac_octets: int) -> bytes | None:
        named, mac = signed[:-mac_octets], signed[-mac_octets:]
        for key in self._keys:
            if hmac.compare_digest(_mac(key[purpose], named)[:mac_octets], mac):
                return named
        return None


def _keyed(key: bytes, purpose: bytes) -> blake2b:
    """Returns the state from which the MACs of a purpose begin. To copy it takes less time than to make it."""
    return blake2b(key=blake2b(key).digest(), person=purpose, digest_size=_LONG_MAC)  # a key has 64 octets at most


def _mac(keyed: blake2b, named: bytes) -> bytes:
    state = keyed.copy()
    state.update(named)
    return state.digest()


def _contact(named: bytes | None) -> UUID | None:
    return UUID(bytes=named) if named is not None and len(named) == _ID_OCTETS else None


def _from_hex(token: str) -> bytes:
    """Returns the octets; none if the text is anything else than hexadecimal digits."""
    return bytes.fromhex(token) if _HEX.fullmatch(token) else b""


def _from_base64url(token: str) -> bytes:
    try:
        octets = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (NotEncoded, ValueError):
        return b""
    return octets if _base64url(octets) == token else b""


def _base64url(octets: bytes) -> str:
    # The standard library's function of this name takes three times as long.
    return b2a_base64(octets, newline=False).rstrip(b"=").translate(_URLSAFE).decode()

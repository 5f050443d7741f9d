"""Signatures of shop systems' calls. All of them are over the body as it was sent, and compared in constant time."""

import base64
import hmac
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from worker.domain.errors import Forged

_WRONG: Final = "the signature is missing, or not made with this hook's secret"


def check_base64(body: bytes, signature: str, secret: str) -> None:
    """Checks an HMAC with SHA-256, in base64. Raises Forged."""
    ours = base64.b64encode(_hmac(body, secret)).decode()
    _check(signature, ours)


def check_any(body: bytes, given: str, secret: str) -> None:
    """Checks an HMAC with SHA-256, in hexadecimal or base64, or the secret itself. Raises Forged."""
    digest = _hmac(body, secret)
    signature = given.removeprefix("sha256=")
    forms = (digest.hex(), base64.b64encode(digest).decode(), secret)
    candidates = (signature.lower(), signature, given)
    same = [_is_same(each, ours) for each, ours in zip(candidates, forms, strict=True)]
    if not any(same):
        raise Forged(_WRONG)


def check_rsa(body: bytes, signature: str, public_key: str) -> None:
    """Checks a signature of RSA (PKCS #1 v1.5) with SHA-256, in base64. Raises Forged.

    Adobe Commerce signs the base64 of the body. The body itself is taken as well.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode())
        if not isinstance(key, RSAPublicKey):
            raise Forged("the hook's public key is not RSA")
        given = base64.b64decode(signature, validate=True)
    except ValueError:  # no base64, or no key
        raise Forged(_WRONG) from None
    for signed in (base64.b64encode(body), body):
        with suppress(InvalidSignature):
            return key.verify(given, signed, PKCS1v15(), SHA256())
    raise Forged(_WRONG)


def jwt_claims(token: bytes, public_key: str) -> Mapping[str, Any]:
    """Returns the claims of a JWT that is signed with RS256. Raises Forged.

    It may have expired: Wix repeats a call for two days, and events say themselves when they happened.
    """
    import jwt

    unchecked = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
    try:
        return jwt.decode(token.strip(), public_key, algorithms=["RS256"], options=unchecked)  # type: ignore[arg-type]
    except jwt.PyJWTError:
        raise Forged("the body is not a JWT that the hook's public key verifies") from None


def _hmac(body: bytes, secret: str) -> bytes:
    return hmac.digest(secret.encode(), body, "sha256")


def _check(given: str, ours: str) -> None:
    if not _is_same(given, ours):
        raise Forged(_WRONG)


def _is_same(given: str, ours: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), ours.encode())

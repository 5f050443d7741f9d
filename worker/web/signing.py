"""Signs what others are told: Standard Webhooks' signature for every delivery, and Wix's JWT.

The door for `standardwebhooks` and `jwt`. Both sign with what only the endpoint's owner, or only we, know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from standardwebhooks import Webhook

ALGORITHM: Final = "RS256"
KEY_BITS: Final = 2048
EXPIRES_SECONDS: Final = 300
"""A JWT is signed anew at each try, so it may end soon."""


def headers(message_id: str, body: str, secrets: Sequence[str], now: datetime) -> Mapping[str, str]:
    """Returns the three headers of Standard Webhooks, with one signature for each secret (`whsec_...`)."""
    at = now.astimezone(UTC)  # `sign` takes any other zone for UTC
    signatures = [Webhook(secret).sign(message_id, at, body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A private key of RSA with the id that tells receivers which one it is."""

    id: str
    private: RSAPrivateKey = field(repr=False)

    @classmethod
    def of(cls, id_: str, pem: str) -> "JwtKey":
        """Reads a key from PEM. Raises ValueError."""
        return cls(id_, cast("RSAPrivateKey", serialization.load_pem_private_key(pem.encode(), None)))

    def sign(self, claim: str, now: datetime) -> str:
        """Returns a JWT whose claim `data` is this text."""
        at = int(now.timestamp())
        payload = {"data": claim, "iat": at, "exp": at + EXPIRES_SECONDS}
        return jwt.encode(payload, self.private, ALGORITHM, headers={"kid": self.id})

    @property
    def public_pem(self) -> str:
        """The public key, as receivers and `AppStrategy({publicKey})` take it."""
        return (
            self.private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as JSON (RFC 7517)."""
        found = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"kid": self.id, "alg": ALGORITHM, "use": "sig", "kty": found["kty"], "n": found["n"], "e": found["e"]}


def new_private_pem() -> str:
    """Makes a private key."""
    return (
        generate_private_key(65537, KEY_BITS)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )

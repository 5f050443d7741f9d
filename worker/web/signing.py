"""Signs what others are told: Standard Webhooks' signature for every delivery, and Wix's JWT.

The door for `standardwebhooks` and `jwt`. Both sign with what only the endpoint's owner, or only we, know. `jwt` and
`cryptography` are imported where they are used: they take 9 MB, and few have endpoints of Wix's form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

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
    private: "RSAPrivateKey" = field(repr=False)

    @classmethod
    def of(cls, id_: str, pem: str) -> "JwtKey":
        """Reads a key from PEM. Raises ValueError."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return cls(id_, cast("RSAPrivateKey", load_pem_private_key(pem.encode(), None)))

    def sign(self, claim: str, now: datetime) -> str:
        """Returns a JWT whose claim `data` is this text."""
        import jwt

        at = int(now.timestamp())
        payload = {"data": claim, "iat": at, "exp": at + EXPIRES_SECONDS}
        return jwt.encode(payload, self.private, ALGORITHM, headers={"kid": self.id})

    @property
    def public_pem(self) -> str:
        """The public key, as receivers and `AppStrategy({publicKey})` take it."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self.private.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as JSON (RFC 7517)."""
        from jwt.algorithms import RSAAlgorithm

        found = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"kid": self.id, "alg": ALGORITHM, "use": "sig", "kty": found["kty"], "n": found["n"], "e": found["e"]}


def new_private_pem() -> str:
    """Makes a private key."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = generate_private_key(65537, KEY_BITS)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

"""Signs calls as the shop systems do."""

import base64
import hmac
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a-secret-that-nobody-guesses"
ISSUED = 1_795_859_200
HEADERS = {
    "woocommerce": "X-WC-Webhook-Signature",
    "shopify": "X-Shopify-Hmac-Sha256",
}


@cache
def private_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@cache
def public_key() -> str:
    return private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def secret(kind: str) -> str:
    return public_key() if kind == "wix" else SECRET


def body(kind: str, content: Any) -> bytes:
    """Returns the octets that are sent. Text is sent as it is; Wix packs and signs the rest."""
    if isinstance(content, str):
        return content.encode()
    if kind != "wix":
        return json.dumps(content, ensure_ascii=False).encode()
    packed = {**content, "data": json.dumps(content["data"])}
    claims = {"data": json.dumps(packed), "iat": ISSUED, "exp": ISSUED + 60}
    return jwt.encode(claims, private_key(), algorithm="RS256").encode()


def signature(kind: str, sent: bytes, key: str = SECRET) -> Mapping[str, str]:
    """Returns the header with the signature."""
    digest = hmac.digest(key.encode(), sent, "sha256")
    if kind == "magento":
        return {"Authorization": f"Bearer {key}"}
    return {HEADERS[kind]: base64.b64encode(digest).decode()} if kind in HEADERS else {}


def rsa_signature(sent: bytes) -> str:
    """Signs as Adobe Commerce's "Webhooks signature verification" says: the base64 of the body."""
    return raw_rsa_signature(base64.b64encode(sent))


def raw_rsa_signature(sent: bytes) -> str:
    return base64.b64encode(private_key().sign(sent, PKCS1v15(), SHA256())).decode()

"""Signatures of what others are told, verified by the libraries that receivers use."""

from datetime import UTC, datetime, timedelta, timezone

import jwt
import pytest
from jwt.algorithms import RSAAlgorithm
from standardwebhooks import Webhook, WebhookVerificationError

from worker.web import signing
from worker.web.signing import JwtKey

SECRET, OLDER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = JwtKey.of("key-1", signing.new_private_pem())


def test_the_signature_is_that_of_the_specification() -> None:
    # The example that libraries of Standard Webhooks are tested with.
    at = datetime.fromtimestamp(1614265330, UTC)
    found = signing.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", '{"test": 2432232314}', [SECRET], at)
    assert found == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_either_secret_verifies_and_no_other_body_does() -> None:
    now = datetime.now(timezone(timedelta(hours=5)))
    found = dict(signing.headers("id", "bödy", [SECRET, OLDER], now))
    for secret in (SECRET, OLDER):
        Webhook(secret).verify("bödy", found, json_parse=False)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify("body", found, json_parse=False)


def test_a_jwt_ends_after_five_minutes() -> None:
    now = datetime.now(UTC)
    assert jwt.decode(KEY.sign("{}", now), KEY.public_pem, ["RS256"])["data"] == "{}"
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(KEY.sign("{}", now - timedelta(minutes=6)), KEY.public_pem, ["RS256"])


def test_the_key_in_json_verifies_too() -> None:
    public = RSAAlgorithm.from_jwk(KEY.jwk)
    assert jwt.decode(KEY.sign("x", datetime.now(UTC)), public, ["RS256"])["data"] == "x"  # type: ignore[arg-type]  # it is public
    assert KEY.jwk["kid"] == "key-1"
    assert "d" not in KEY.jwk

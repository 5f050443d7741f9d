"""What a provider's hook is made with is checked at once: a wrong secret would only show as calls that are refused."""

import pytest

from tests.unit.feedback import webhook_samples as samples
from worker.domain.errors import BadSetting
from worker.domain.providers import Provider
from worker.feedback.webhooks import webhook_of

TOPIC = samples.TOPIC
CHINA = "arn:aws-cn:sns:cn-north-1:123456789012:bounces"
KEY = samples.public_text(samples.ec_key())

GOOD = [
    ("ses", TOPIC),
    ("ses", f"{TOPIC} {CHINA}"),
    ("postmark", "stockbell:0123456789abcdef:more"),
    ("sendgrid", KEY),
    ("mailgun", "0123456789abcdef0123456789abcdef"),
    ("brevo", "a-token-of-sixteen"),
]
BAD = {
    "ses": [
        "",
        "bounces",
        f"{TOPIC}:1f0c3c3a-subscription",
        "arn:aws:sqs:eu-west-1:123456789012:bounces",
        f"{TOPIC},x",
    ],
    "postmark": ["", "stockbell", "stockbell:short", ":0123456789abcdef", "stockbell:pässword-pässword"],
    "sendgrid": ["", "SG.key", KEY[:-8], samples.public_text(samples.rsa_key())],
    "mailgun": ["", "key-1", "0123456789 abcdef", "0123456789abcdé0"],
    "brevo": ["", "short", "with a blank in it!"],
}


@pytest.mark.parametrize(("provider", "secret"), GOOD)
def test_what_the_providers_page_shows_is_taken(provider: str, secret: str) -> None:
    assert webhook_of(Provider(provider), secret, lambda _: b"") is not None


@pytest.mark.parametrize(("provider", "secret"), [(name, each) for name, wrong in BAD.items() for each in wrong])
def test_what_cannot_be_the_providers_is_refused_and_not_repeated(provider: str, secret: str) -> None:
    with pytest.raises(BadSetting) as refused:
        webhook_of(Provider(provider), secret, lambda _: b"")
    assert not secret or secret not in str(refused.value)

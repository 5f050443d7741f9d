"""Webhooks of providers: from an HTTP request to the reports in it. `web.provider_hooks` has the routes.

webhook = webhook_of(Provider.POSTMARK, "stockbell:password", certificate)
reports = receive(webhook, Call(headers, body), now).reports
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from worker.domain.errors import BadSetting, BadWebhook
from worker.domain.providers import Provider
from worker.feedback.webhook_brevo import Brevo
from worker.feedback.webhook_calls import MAX_BODY, Call, Decoded, Webhook
from worker.feedback.webhook_mailgun import Mailgun
from worker.feedback.webhook_postmark import Postmark
from worker.feedback.webhook_sendgrid import SendGrid
from worker.feedback.webhook_ses import Ses

__all__ = [
    "MAX_BODY",
    "Brevo",
    "Call",
    "Decoded",
    "Mailgun",
    "Postmark",
    "SendGrid",
    "Ses",
    "Webhook",
    "receive",
    "webhook_of",
]

_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")
_LEAST_SECRET: Final = 16
"""Characters of a secret that somebody chose, or copied whole."""


def webhook_of(provider: Provider, secret: str, certificate: Callable[[str], bytes]) -> Webhook:
    """Returns a provider's webhook with what it was set up with, as docs/feedback.md says.

    `certificate` is for SES: see `webhook_sns.verify`. Raises BadSetting if this can't be the provider's secret.
    """
    match provider:
        case Provider.SES:
            return Ses(_topics(secret), certificate)
        case Provider.POSTMARK:
            return Postmark(*_user_and_password(secret))
        case Provider.SENDGRID:
            sendgrid = SendGrid(secret)
            sendgrid.check()
            return sendgrid
        case Provider.MAILGUN:
            return Mailgun(_long(secret, "the HTTP webhook signing key of Mailgun"))
        case Provider.BREVO:
            return Brevo(_long(secret, "the token that you chose for Brevo"))


def _topics(secret: str) -> frozenset[str]:
    topics = frozenset(secret.split())
    if not topics or not all(map(_TOPIC.fullmatch, topics)):
        raise BadSetting("for SES: the ARN of the SNS topic, arn:aws:sns:REGION:ACCOUNT:NAME (several with blanks)")
    return topics


def _user_and_password(secret: str) -> tuple[str, str]:
    user, _, password = secret.partition(":")
    if not user or len(password) < _LEAST_SECRET or not secret.isascii() or not secret.isprintable():
        raise BadSetting(f"for Postmark: USER:PASSWORD, with a password of {_LEAST_SECRET} ASCII characters or more")
    return user, password


def _long(secret: str, what: str) -> str:
    if len(secret) < _LEAST_SECRET or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise BadSetting(f"this has to be {what}: {_LEAST_SECRET} ASCII characters or more, and no blanks")
    return secret


def receive(webhook: Webhook, call: Call, now: datetime) -> Decoded:
    """Verifies a call, and reads it. Raises Forged (answer 403) and BadWebhook (answer 400).

    Answer 200 only after what is returned was stored: providers try again otherwise, and what comes twice is noticed
    by `Report.arrival`.
    """
    if len(call.body) > MAX_BODY:
        raise BadWebhook(f"is longer than {MAX_BODY // 2**20} MiB")
    webhook.verify(call, now)
    return webhook.decode(call)

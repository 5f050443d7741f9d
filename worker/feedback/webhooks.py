"""Webhooks of providers: from an HTTP request to the reports in it. This is their front; the routes come with the web.

webhook = Postmark("stockbell", password)
reports = receive(webhook, Call(headers, body), now).reports
"""

from datetime import datetime

from worker.domain.errors import BadWebhook
from worker.feedback.webhook_brevo import Brevo
from worker.feedback.webhook_calls import MAX_BODY, Call, Decoded, Webhook
from worker.feedback.webhook_mailgun import Mailgun
from worker.feedback.webhook_postmark import Postmark
from worker.feedback.webhook_sendgrid import SendGrid
from worker.feedback.webhook_ses import Ses

__all__ = ["MAX_BODY", "Brevo", "Call", "Decoded", "Mailgun", "Postmark", "SendGrid", "Ses", "Webhook", "receive"]


def receive(webhook: Webhook, call: Call, now: datetime) -> Decoded:
    """Verifies a call, and reads it. Raises Forged (answer 403) and BadWebhook (answer 400).

    Answer 200 only after what is returned was stored: providers try again otherwise, and what comes twice is noticed
    by `Report.arrival`.
    """
    if len(call.body) > MAX_BODY:
        raise BadWebhook(f"is longer than {MAX_BODY // 2**20} MiB")
    webhook.verify(call, now)
    return webhook.decode(call)

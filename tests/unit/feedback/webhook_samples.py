"""Calls of providers, in the forms of their documentation, signed with keys of our own."""

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from worker.domain.tokens import Tokens
from worker.feedback.webhooks import Brevo, Call, Mailgun, Postmark, SendGrid, Ses

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TOKEN = Tokens([b"k" * 32]).for_return(UUID("01934c4e-7a58-7d2b-8000-000000000001"), 1)
MESSAGE_ID = "01934c4e-7a58-7d2b-8000-000000000001@shop.example"
JANE = "jane@example.com"

TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
CONFIRM_URL = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def certificate(*, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = NOW - timedelta(days=29)
    builder = x509.CertificateBuilder(name, name, rsa_key().public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=days))
    return builder.sign(rsa_key(), SHA256()).public_bytes(Encoding.PEM)


def ses() -> Ses:
    return Ses({TOPIC}, lambda _: certificate())


SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def sns_call(message: str, *, version: str = "2", type_: str = "Notification", **fields: str) -> Call:
    envelope = {
        "Type": type_,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message,
        "Timestamp": "2026-11-28T11:59:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        **({} if type_ == "Notification" else {"Token": "2336412f37fb", "SubscribeURL": CONFIRM_URL}),
        **fields,
    }
    signed = "".join(f"{name}\n{envelope[name]}\n" for name in SIGNED[type_] if name in envelope)
    signature = rsa_key().sign(signed.encode(), PKCS1v15(), SHA1() if version == "1" else SHA256())  # noqa: S303
    envelope.setdefault("Signature", base64.b64encode(signature).decode())
    return Call({"x-amz-sns-message-type": type_}, json.dumps(envelope).encode())


def ses_mail() -> dict[str, Any]:
    return {
        "timestamp": "2026-11-28T11:58:00.000Z",
        "messageId": "0102018f-ses",
        "source": f"bounces+{TOKEN}@shop.example",
        "destination": [JANE],
        "headersTruncated": False,
        "headers": [{"name": "Message-ID", "value": f"<{MESSAGE_ID}>"}, {"name": "To", "value": JANE}],
        "commonHeaders": {"messageId": f"<{MESSAGE_ID}>", "to": [JANE]},
        "tags": {"stockbell": [TOKEN], "ses:configuration-set": ["shop"]},
    }


def ses_bounce(type_: str, sub_type: str, diagnostic: str | None, status: str | None = None) -> dict[str, Any]:
    recipient = {"emailAddress": JANE, "action": "failed", "status": status, "diagnosticCode": diagnostic}
    bounce = {
        "bounceType": type_,
        "bounceSubType": sub_type,
        "bouncedRecipients": [{name: value for name, value in recipient.items() if value is not None}],
        "timestamp": "2026-11-28T11:58:30.000Z",
        "feedbackId": "0102018f-feedback-000000",
        "reportingMTA": "dsn; a1.eu-west-1.amazonses.com",
    }
    return {"eventType": "Bounce", "mail": ses_mail(), "bounce": bounce}


def ses_complaint(**fields: str) -> dict[str, Any]:
    complaint = {"complainedRecipients": [{"emailAddress": JANE}], "feedbackId": "0102-complaint", **fields}
    return {"notificationType": "Complaint", "mail": ses_mail(), "complaint": complaint}


POSTMARK = Postmark("stockbell", "x" * 20)


def postmark_call(event: object, *, user: str = "stockbell", password: str = "x" * 20) -> Call:
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Call({"authorization": f"Basic {basic}"}, json.dumps(event).encode())


def postmark_bounce(type_: str, details: str) -> dict[str, Any]:
    return {
        "RecordType": "Bounce",
        "ID": 692560173,
        "Type": type_,
        "TypeCode": 1,
        "MessageID": "2c1b63fe-43f2-4db5-91b0-8bdfa44a9316",
        "Metadata": {"stockbell": TOKEN},
        "Email": JANE.upper(),
        "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
        "Details": details,
        "BouncedAt": "2026-11-28T11:58:30Z",
    }


def postmark_change(reason: str | None, origin: str, *, stops: bool = True) -> dict[str, Any]:
    return {
        "RecordType": "SubscriptionChange",
        "MessageID": "2c1b63fe-43f2-4db5-91b0-8bdfa44a9316",
        "ChangedAt": "2026-11-28T11:58:30Z",
        "Recipient": JANE,
        "Origin": origin,
        "SuppressSending": stops,
        "SuppressionReason": reason,
        "Metadata": {"stockbell": TOKEN},
    }


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_text(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode()


def sendgrid() -> SendGrid:
    return SendGrid(public_text(ec_key()))


def sendgrid_call(events: object, at: datetime = NOW) -> Call:
    body, timestamp = json.dumps(events).encode(), str(int(at.timestamp()))
    signature = ec_key().sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }
    return Call(headers, body)


def sendgrid_event(event: str, **fields: object) -> dict[str, Any]:
    return {
        "email": JANE,
        "timestamp": int(NOW.timestamp()),
        "smtp-id": f"<{MESSAGE_ID}>",
        "event": event,
        "sg_event_id": "ZGVmZXJyZWQtMC0x",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
        "stockbell": TOKEN,
        **fields,
    }


MAILGUN = Mailgun("key-0123456789")


def mailgun_call(data: object, at: datetime = NOW, key: str = MAILGUN.key) -> Call:
    timestamp, token = str(int(at.timestamp())), "a" * 50
    signature = hmac.new(key.encode(), f"{timestamp}{token}".encode(), "sha256").hexdigest()
    signed = {"timestamp": timestamp, "token": token, "signature": signature}
    return Call({}, json.dumps({"signature": signed, "event-data": data}).encode())


def mailgun_data(event: str, **fields: object) -> dict[str, Any]:
    return {
        "event": event,
        "id": "G9Bn5sl1TC6nu79C8C0bwg",
        "timestamp": 1795867200.123,
        "recipient": JANE,
        "user-variables": {"stockbell": TOKEN},
        "message": {"headers": {"message-id": MESSAGE_ID, "to": JANE}},
        **fields,
    }


BREVO = Brevo("s" * 20)


def brevo_call(event: object, headers: Mapping[str, str] | None = None, url_secret: str = "") -> Call:
    return Call(headers or {"Authorization": f"Bearer {BREVO.secret}"}, json.dumps(event).encode(), url_secret)


def brevo_event(event: str, **fields: object) -> dict[str, Any]:
    return {
        "event": event,
        "email": JANE,
        "id": 26224,
        "message-id": f"<{MESSAGE_ID}>",
        "ts_event": 1795867200,
        "X-Mailin-custom": f"stockbell:{TOKEN}",
        **fields,
    }

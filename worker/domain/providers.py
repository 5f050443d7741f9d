"""Providers whose relays give back a header instead of our Message-ID: whose relay a host is, and which header.

Pure. SES and Brevo write a Message-ID of their own, and all of them tell by webhook what came back. Each has a header
whose value stands in its webhooks. Our token (`tokens.Tokens.for_return`) names the mail there, and `KEY` is the name
of that value on both sides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

KEY: Final = "stockbell"
"""The name of the tag, metadata field, argument or variable that holds the token."""


class Provider(StrEnum):
    """A provider. The values are those of STOCKBELL_PROVIDER."""

    SES = auto()
    POSTMARK = auto()
    SENDGRID = auto()
    MAILGUN = auto()
    BREVO = auto()


@dataclass(frozen=True, slots=True)
class _Row:
    hosts: re.Pattern[str]
    """The names of its relays, in lower case."""
    before: str
    """Header lines up to the token."""
    after: str = ""
    """What follows the token in the same line."""


# fmt: off
_ROWS: Final[Mapping[Provider, _Row]] = {
    # docs.aws.amazon.com/ses/latest/dg/event-publishing-send-email.html: letters, digits, - and _. SES removes it.
    Provider.SES: _Row(
        re.compile(r"(vpce-[a-z0-9-]+\.)?email-smtp(-fips)?\.[a-z0-9-]+\.(vpce\.)?amazonaws\.com(\.cn)?"),
        f"X-SES-MESSAGE-TAGS: {KEY}=",
    ),
    # postmarkapp.com/support/article/1125-custom-metadata-faq. A value has 80 characters at most, a key 20.
    # With the first header it also keeps our Message-ID.
    Provider.POSTMARK: _Row(
        re.compile(r"smtp(-broadcasts)?\.postmarkapp\.com"),
        f"X-PM-KeepID: true\r\nX-PM-Metadata-{KEY}: ",
    ),
    # www.twilio.com/docs/sendgrid/for-developers/sending-email/building-an-x-smtpapi-header. SendGrid removes it.
    Provider.SENDGRID: _Row(
        re.compile(r"smtp(\.eu)?\.sendgrid\.net"),
        f'X-SMTPAPI: {{"unique_args":{{"{KEY}":"', '"}}',
    ),
    # documentation.mailgun.com/docs/mailgun/user-manual/sending-messages. The customer gets this header too.
    Provider.MAILGUN: _Row(
        re.compile(r"smtp(\.eu)?\.mailgun\.org"),
        f'X-Mailgun-Variables: {{"{KEY}":"', '"}',
    ),
    # developers.brevo.com/docs/transactional-webhooks. Any text; it comes back as it is.
    Provider.BREVO: _Row(
        re.compile(r"smtp-relay\.(brevo|sendinblue)\.com"),
        f"X-Mailin-custom: {KEY}:",
    ),
}
# fmt: on


def provider_of(host: str) -> Provider | None:
    """Returns whose relay it is, by its host name. None: nobody's whom we know."""
    name = host.lower().rstrip(".")
    return next((provider for provider, row in _ROWS.items() if row.hosts.fullmatch(name)), None)


def chosen(setting: str, host: str) -> Provider | None:
    """Returns whose relay it is by STOCKBELL_PROVIDER: `auto` (by the host), `none`, or a provider for all hosts."""
    if setting == "auto":
        return provider_of(host)
    return None if setting == "none" else Provider(setting)


def around_token(provider: Provider) -> tuple[str, str]:
    """Returns what stands before and after the token in the provider's header lines, the last line end included."""
    row = _ROWS[provider]
    return row.before, f"{row.after}\r\n"

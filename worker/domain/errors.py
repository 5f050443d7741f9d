"""Errors that are raised in one room and handled in another. Local errors are defined where they are used.

The modules that wrap an outside library (`store`, `stream`, `queue`, `mail`) translate its errors into these. Other
modules do not depend on the library.
"""


class StockbellError(Exception):
    """Base class of all errors here. The text is one line that can be shown to users unchanged."""


class BadSetting(StockbellError):
    """A setting is wrong, missing or unknown. The text names the setting and never contains its value."""


class BadReference(StockbellError):
    """A catalog reference (item id, app id, options) is invalid."""


class BadUrl(StockbellError):
    """A URL is not allowed in a mail."""


class BadAddress(StockbellError):
    """An e-mail address can't be used for sending."""


class BadEvent(StockbellError):
    """A stream entry can't be decoded. The text says why. The entry becomes a dead letter."""


class BadFile(StockbellError):
    """An import file can't be read. Single bad lines do not raise this; they are reported."""


class BadRules(StockbellError):
    """A file of reply rules can't be used. The text names the file, the row and the key."""


class BadCosts(StockbellError):
    """A table of costs can't be used. The text names the section and the key."""


class Forged(StockbellError):
    """A webhook's call can't be from the provider, or is too old. The text says why and contains nothing of it."""


class BadWebhook(StockbellError):
    """A webhook's call can't be read: too long, or not what the provider sends."""


class Refused(StockbellError):
    """The request's state does not allow this action."""


class RedisAway(StockbellError):
    """Redis can't be reached or does not answer. A later retry may succeed."""


class DnsAway(StockbellError):
    """A DNS query has no answer that says anything: no server replies, or it can't find out. The text names it."""


class DatabaseAway(StockbellError):
    """The database can't be reached, is locked, or was shut down. A later retry may succeed."""


class DatabaseUnfit(DatabaseAway):
    """The database can't be used as its URL says: it only reads, or TLS is not as asked for.

    When a process starts, this is a wrong setting. Later it is a database that is away: a fail-over is under way, or
    somebody mends the server.
    """


class MailboxAway(StockbellError):
    """A mailbox can't be read: it is locked, gone, or does not answer. A later retry may succeed."""


class MailboxRefused(MailboxAway):
    """The mailbox's server refuses user or password. A retry comes late, since servers lock accounts for many."""


class SchemaOutdated(StockbellError):
    """The database schema is older than this program, or missing."""


class OwnerLost(StockbellError):
    """The lease of this process ended. It owns no claims any more and needs a new owner id."""


class TemplateBroken(StockbellError):
    """A mail template can't be rendered. No request may fail because of it."""

    def __init__(self, template: str, reason: str) -> None:
        super().__init__(f"template {template}: {reason}")
        self.template = template
        self.reason = reason


class TextTooLarge(TemplateBroken):
    """A template makes a text that is too large for a mail. With fewer items it may not."""

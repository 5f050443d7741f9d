"""The errors that cross the program. Those that are caught where they arise are defined there.

The doors (`store`, `stream`, `tokens`, `bell`, `render`) translate their library's errors into these, so that nobody
else needs to know which library is behind them.
"""


class StockbellError(Exception):
    """The root of all. Its text is one line that can be shown to a user as it is."""


class BadSetting(StockbellError):
    """A setting is wrong, missing or unknown. Names the setting, never its value."""


class BadReference(StockbellError):
    """A catalog reference (item id, app id, options) can't be understood."""


class BadUrl(StockbellError):
    """A URL that may not go into a mail."""


class BadAddress(StockbellError):
    """An e-mail address that we can't send to."""


class BadEvent(StockbellError):
    """A stream entry that can't be understood; the text says why. It becomes a dead letter."""


class BadFile(StockbellError):
    """An import file that can't be read at all (single bad lines are only reported)."""


class Refused(StockbellError):
    """A verb that the request's state doesn't allow."""


class RedisAway(StockbellError):
    """Redis can't be reached or doesn't answer. Trying again later may help."""


class DatabaseAway(StockbellError):
    """The database can't be reached, or gave up on us (locked, shut down). Trying again later may help."""


class SchemaOutdated(StockbellError):
    """The database's tables are older than this program, or not there yet."""


class OwnerLost(StockbellError):
    """This process's lease ended: it owns nothing any more and must begin anew."""


class TemplateBroken(StockbellError):
    """A mail template can't be rendered. Our fault, never the customer's."""

    def __init__(self, template: str, reason: str) -> None:
        super().__init__(f"template {template}: {reason}")
        self.template = template
        self.reason = reason

"""Finds out whether the person of an imported line still waits, as far as the file says so.

Exports also hold those who were told, or gave up. An import must not make them wait again, since they would be told
twice, or against their will.
"""

from collections.abc import Mapping
from typing import Final

from worker.services.import_columns import STATUS, TOLD
from worker.services.import_reference import NULLS
from worker.services.import_text import BadLine

ZERO_DATE: Final = "0000-00-00"
"""How MySQL writes that there is no date."""

# Words of our own export and Wix's, and of extensions for WooCommerce and Magento; without case and punctuation.
_WAITING: Final = frozenset(
    {
        *("received", "processing", "waiting", "pending", "queued", "subscribed", "active", "open", "new"),
        *("confirmed", "enabled", "cwgsubscribed"),
    }
)
_OVER: Final = frozenset(
    {
        *("notificationsent", "failed", "sent", "notified", "mailed", "mailsent", "emailsent", "processed", "done"),
        *("complete", "completed", "converted", "purchased", "unsubscribed", "cancelled", "canceled", "expired"),
        *("bounced", "complained", "suppressed", "inactive", "disabled", "deleted", "trash"),
        *("cwgmailsent", "cwgmailnotsent", "cwgunsubscribed", "cwgconverted"),
    }
)
_NOT_TOLD: Final = frozenset({"0", "no", "false", "n"})


class Over(Exception):
    """The person does not wait any more."""


def check_waits(fields: Mapping[str, object]) -> None:
    """Raises Over if the person does not wait any more, and BadLine if the file's word for it is not known."""
    told = _word(fields.get(TOLD))
    if told and told not in _NOT_TOLD and not told.startswith(ZERO_DATE):
        raise Over
    status = "".join(filter(str.isalnum, _word(fields.get(STATUS))))
    if status in _OVER:
        raise Over
    # Elsewhere 0 may mean that somebody gave up. Magento, which has a date of telling, writes 0 for who waits.
    if status and status not in _WAITING and not (status == "0" and TOLD in fields):
        raise BadLine("status is not known to mean that somebody waits; --map THEIRS= leaves the column out")


def _word(value: object) -> str:
    text = "" if value is None or value is False else str(value)
    return "" if text in NULLS else text.casefold()

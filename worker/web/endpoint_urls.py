"""Checks the URL of a new endpoint, as far as it can be told before it is called: its form, and its addresses now."""

from urllib.parse import urlsplit

from worker.domain.errors import BadUrl
from worker.domain.outgoing_urls import checked_endpoint, is_redis
from worker.domain.webhooks import Format


def checked(url: str, form: Format, *, allows_private: bool) -> str:
    """Returns the URL in its usual form. Asks the DNS, so it may take seconds. Raises BadUrl, with one clear line."""
    found = checked_endpoint(url, allows_private=allows_private)
    if not is_redis(found):
        _check_addresses(found, allows_private=allows_private)
    elif form is Format.WIX:
        raise BadUrl("a stream in Redis gets the format standard")
    return found


def _check_addresses(url: str, *, allows_private: bool) -> None:
    from worker.web.posting import Refused, addresses_of, check  # a stream in Redis needs no client for HTTP

    parts = urlsplit(url)
    try:
        found = addresses_of(str(parts.hostname), parts.port or 443)
        check(found, allows_private=allows_private, is_plain=parts.scheme == "http")
    except (OSError, UnicodeError):
        raise BadUrl("the endpoint's name has no address") from None
    except Refused as refused:
        raise BadUrl(f"the endpoint can't be used: {refused}") from None

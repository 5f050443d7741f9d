"""What Amazon SNS makes us fetch: certificates, and the URL that confirms a subscription.

The URLs are checked before (`feedback.webhook_sns`): they are SNS's own. So is who answers, by TLS. No redirect is
followed.
"""

from typing import Final

from worker.web.errors import RETRY_SECONDS, ApiError

SECONDS: Final = 5.0
MAX_ANSWER: Final = 64 * 1024
"""Octets that are read of an answer."""
_MOST_KEPT: Final = 20


class Sns:
    """Asks SNS, and keeps its certificates, whose names change with them. Blocks."""

    def __init__(self) -> None:
        self._certificates: dict[str, bytes] = {}

    def certificate(self, url: str) -> bytes:
        """Returns a certificate. Raises ApiError, which makes SNS try again."""
        if url not in self._certificates:
            found = _get(url)
            if len(self._certificates) >= _MOST_KEPT:
                self._certificates.clear()
            self._certificates[url] = found
        return self._certificates[url]

    def confirm(self, url: str) -> None:
        """Confirms a subscription. Raises ApiError, which makes SNS try again."""
        _get(url)


def _get(url: str) -> bytes:
    import httpx2  # few mail by SES, and it takes memory

    try:
        with httpx2.stream("GET", url, timeout=SECONDS, follow_redirects=False) as reply:
            found = b""
            for part in reply.iter_bytes():
                found += part
                if len(found) > MAX_ANSWER:
                    break
    except httpx2.HTTPError as error:
        raise _away(type(error).__name__) from None
    if reply.status_code != httpx2.codes.OK:
        raise _away(str(reply.status_code))
    return found


def _away(why: str) -> ApiError:
    retry = {"Retry-After": str(RETRY_SECONDS)}
    return ApiError(503, "PROVIDER_AWAY", f"SNS did not answer as it should: {why}", headers=retry)

"""What a publishable key may say when it signs somebody up."""

from urllib.parse import urlsplit

from worker.domain.api_keys import Key


def allowed_url(key: Key, url: str | None) -> str | None:
    """Returns the URL if a mail may lead there. Publishable keys may name their own hosts only."""
    if url is None or not key.is_publishable:
        return url
    hosts = {urlsplit(origin).hostname for origin in key.origins} | set(key.url_hosts)
    return url if urlsplit(url).hostname in hosts else None

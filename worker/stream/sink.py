"""A Redis Stream that changes of requests are told to: the other way from `event_stream`."""

from typing import Final

from worker.stream.redis_client import connect, translated

STREAM: Final = "stockbell:events"
MOST_ENTRIES: Final = 1_000_000
"""About so many entries are kept, whether somebody has read them or not."""
SECONDS: Final = 2.0


class Sink:
    """The stream `stockbell:events` in one Redis. It connects with the first call. Threads may share it."""

    def __init__(self, url: str) -> None:
        """Raises BadSetting for a URL that can't be understood."""
        self._client = connect(url, of="the endpoint's URL", timeout=SECONDS, connect_timeout=SECONDS)

    def add(self, message_id: str, body: str) -> None:
        """Adds an entry with the fields `id` and `event`. It may be there even if RedisAway is raised."""
        with translated(self._client, "webhooks"):
            self._client.xadd(STREAM, {"id": message_id, "event": body}, maxlen=MOST_ENTRIES, approximate=True)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

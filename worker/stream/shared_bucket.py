"""The rate limit that all workers on all hosts share: a token bucket in Redis, changed by one Lua script.

It uses only the clock of the Redis server. The script does the same as `domain.token_bucket.Bucket.take`.
"""

from typing import Any, Final

from worker.domain.token_bucket import BURST_SECONDS, TICK_SECONDS, Grant
from worker.stream.redis_client import connect, translated

KEY: Final = "stockbell:rate"
TIMEOUT_SECONDS: Final = 1
"""Short, because a stopping process waits for a running call."""

# The key expires after a minute without use. By then the bucket would be full; a new one starts with one token.
_SCRIPT: Final = f"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local rate, wanted, back = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1] or 1), tonumber(kept[2] or now)
tokens = math.min(1 + rate * {BURST_SECONDS}, tokens + math.max(0, now - at) * rate + back)
local taken = math.min(wanted, math.floor(tokens))
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil(60 + 2 / rate))
local wait = 0
if taken < wanted then
  local worth = math.max(1, math.min(wanted - taken, rate * {TICK_SECONDS}))
  wait = math.max(0.001, (worth - tokens) / rate)
end
return {{taken, tostring(wait)}}
"""


class SharedBucket:
    """The bucket for one rate (mails per second). Calls block. It connects with the first call."""

    def __init__(self, url: str, rate: float) -> None:
        self.rate = rate
        self._client = connect(url, of="REDIS_URL", timeout=TIMEOUT_SECONDS, connect_timeout=TIMEOUT_SECONDS)
        self._script = self._client.register_script(_SCRIPT)

    def take(self, wanted: int, back: int = 0) -> Grant:
        """Returns `back` unused tokens to the bucket, then takes up to `wanted`. Raises RedisAway.

        If the reply is lost, the tokens are lost too. The rate then is too low rather than too high.
        """
        with translated(self._client, "rate"):
            reply: Any = self._script(keys=[KEY], args=[self.rate, wanted, back])
        return Grant(int(reply[0]), float(reply[1]))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

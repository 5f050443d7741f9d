"""What clients have done lately, for all processes on all hosts: moving windows in Redis, changed by one Lua script.

It uses only the clock of the Redis server. The script does the same as `domain.moving_window.Windows.take`.
"""

from typing import Any, Final

from worker.domain.moving_window import DAY, HOUR, PER_DAY, PER_HOUR
from worker.stream.redis_client import connect, translated

PREFIX: Final = "stockbell:client:"
USED: Final = "stockbell:used:"
TIMEOUT_SECONDS: Final = 0.25
"""A caller waits for less. The thread that asks is free again after that time."""

# A list of times, newest first: all that has to be known is when the tenth and the sixtieth was. Times in the future,
# since the clock was set back, are forgotten.
_SCRIPT: Final = f"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
if tonumber(redis.call('LINDEX', KEYS[1], 0) or 0) > now + 1 then
  redis.call('DEL', KEYS[1])
end
local function wait(most, seconds)
  local at = redis.call('LINDEX', KEYS[1], most - 1)
  return at and math.max(0, math.ceil(tonumber(at) + seconds - now)) or 0
end
local seconds = math.max(wait({PER_HOUR}, {HOUR}), wait({PER_DAY}, {DAY}))
if seconds == 0 then
  redis.call('LPUSH', KEYS[1], string.format('%.3f', now))
  redis.call('LTRIM', KEYS[1], 0, {PER_DAY - 1})
  redis.call('EXPIRE', KEYS[1], {DAY})
end
return seconds
"""


class SharedWindows:
    """The windows of all clients. Calls block. It connects with the first call."""

    def __init__(self, url: str) -> None:
        self._client = connect(url, of="REDIS_URL", timeout=TIMEOUT_SECONDS, connect_timeout=TIMEOUT_SECONDS)
        self._script = self._client.register_script(_SCRIPT)

    def take(self, name: str) -> int:
        """Counts one, and returns 0. If there were enough, counts nothing and returns the seconds to wait.

        Raises RedisAway.
        """
        with translated(self._client, "limits"):
            reply: Any = self._script(keys=[f"{PREFIX}{name}"])
        return int(reply)

    def use_up(self, name: str, seconds: float) -> bool:
        """Whether this is the first use of a name that is good for so many seconds. Raises RedisAway."""
        with translated(self._client, "limits"):
            return bool(self._client.set(f"{USED}{name}", 1, nx=True, px=max(1, int(seconds * 1000))))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

"""Which Redis server a URL means, for both doors to Redis: the primary that sentinels name, and what can't be used.

Sentinels are asked for each new connection and nothing is kept, so after a fail-over the next connection is to the new
primary. Follows "Guidelines for Redis clients with support for Redis Sentinel" of Redis' documentation. The role of the
server is asked for with HELLO, which every user may send.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from enum import Enum
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from worker.domain.errors import BadSetting
from worker.domain.redis_url import Sentinels, sentinels_of

OPTIONS: Final[Mapping[str, Any]] = {
    # The client name is set so that every connection starts with a command. With TLS, the server's session tickets
    # arrive before the first reply, and redis-py drops a connection that has data to read before the first command.
    "client_name": "stockbell",
    "driver_info": None,  # a restricted user may lack the permission for CLIENT SETINFO
    "protocol": 2,  # replies have the same shape on every server and version
}
"""What all connections have in common."""
ASK_SECONDS: Final = 1
"""How long a sentinel may take to be reached, and to answer. Short, since a stopping process waits for it."""
CHECK_SECONDS: Final = 2

NO_CLUSTER: Final = (
    "names a Redis Cluster, which is not supported: an event and its dead letter are changed in one transaction, and"
    " Celery's keys lie on several servers; name a single server, or sentinels"
)
_NOT_PLAIN: Final = "names a Sentinel, not a server with data: use redis+sentinel://host:26379/service/0"


class NoPrimary(redis.ConnectionError):
    """The sentinels name no primary now. It may be different soon."""


class WrongSentinels(NoPrimary):
    """The sentinels that answered can never name the primary: the setting is wrong, or they are."""


class _No(Enum):
    """Why one sentinel named no primary."""

    ANSWER = "no sentinel answers"
    PRIMARY = "the sentinels see no primary now: it is down, or they are about to elect another"
    SERVICE = "the sentinels know no service of the name that the URL has after the hosts"
    SENTINEL = "what answers is a Redis that is not a Sentinel: use redis:// for it, or name the sentinels (port 26379)"
    LOGIN = "the sentinels want another password than ?sentinel_password=, or their user may not ask for the primary"


class Primary(SentinelConnectionPool):
    """Connections to the primary of a service, wherever it is when they are made."""

    def __init__(self, sentinels: Sentinels, **options: Any) -> None:
        """`options` are those of redis-py's connections. Nothing is connected."""
        of = SentinelManagedSSLConnection if sentinels.is_encrypted else SentinelManagedConnection
        asked = _asked(sentinels)
        usual = {"connection_class": of, "redis_connect_func": asked.greet, "db": sentinels.database}
        super().__init__(  # type: ignore[no-untyped-call]
            sentinels.service, asked, **{**usual, **sentinels.login.as_options(), **options}
        )


class _Asked:
    """Asks the sentinels. It is what redis-py's pool takes for its own `Sentinel`.

    That one would keep connections, and name its objects in errors instead of the reason.
    """

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels
        self._hosts = sentinels.hosts
        """Whoever answered last comes first, so that a host that is away is not waited for each time."""

    def greet(self, connection: Any) -> None:
        """Prepares a new connection. Raises NoPrimary if the server is none: then who named it is asked last."""
        connection.on_connect()
        connection.send_command("HELLO")
        if _about(connection.read_response())["role"] != "master":
            self._hosts = (*self._hosts[1:], self._hosts[0])
            raise NoPrimary("a sentinel named a server that is not the primary: it does not know of a fail-over yet")

    def discover_master(self, service: str) -> tuple[str, int]:
        """Returns host and port of the primary. Raises NoPrimary."""
        refusals: list[tuple[_No, str]] = []
        for host in self._hosts:
            answer = self._ask(host, service)
            if isinstance(answer[0], str):
                self._hosts = (host, *(other for other in self._hosts if other != host))
                return answer
            refusals.append(answer)
        raise _reason(refusals)

    def _ask(self, host: tuple[str, int], service: str) -> "tuple[str, int] | tuple[_No, str]":
        with closing(self._client(*host)) as sentinel:
            try:
                state: Any = sentinel.sentinel_master(service)
            except (AuthenticationError, NoPermissionError) as error:
                return _No.LOGIN, str(error)
            except (RedisError, OSError) as error:
                return _said(str(error)), str(error)
        if state["is_sdown"] or state["is_odown"] or not state["is_master"]:
            return _No.PRIMARY, ""
        return state["ip"], state["port"]

    def _client(self, host: str, port: int) -> redis.Redis:
        return redis.Redis(
            host=host,
            port=port,
            ssl=self._sentinels.is_encrypted,
            socket_timeout=ASK_SECONDS,
            socket_connect_timeout=ASK_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **self._sentinels.sentinel_login.as_options(),
            **OPTIONS,
        )


@cache
def _asked(sentinels: Sentinels) -> _Asked:
    """Returns the same one to all pools of a process: Celery makes a pool for each connection that it lost."""
    return _Asked(sentinels)


def _said(error: str) -> _No:
    if "No such master" in error:
        return _No.SERVICE
    return _No.SENTINEL if "unknown command" in error else _No.ANSWER


def _reason(refusals: Sequence[tuple[_No, str]]) -> NoPrimary:
    """Sentinels that do not answer prove nothing. If one of the others knows the service, the setting is right."""
    answers = [no for no, _ in refusals if no is not _No.ANSWER]
    if not answers:
        return NoPrimary(f"{_No.ANSWER.value}; the last one tried: {refusals[-1][1]}")
    if _No.PRIMARY in answers:
        return NoPrimary(_No.PRIMARY.value)
    return WrongSentinels(answers[0].value)


# The start of a process


def check(url: str, setting: str) -> None:
    """Raises BadSetting, which names the setting, if the URL names what can never be used.

    That is a Redis Cluster, a Sentinel instead of a server, a server instead of a Sentinel, or sentinels that do not
    know the service or the password. Servers that are away are not: whoever needs them waits.
    """
    try:
        mode = next((mode for client in _clients(url) if (mode := _mode(client))), None)
    except WrongSentinels as wrong:
        raise BadSetting(f"{setting}: {wrong}") from None
    if mode == "cluster":
        raise BadSetting(f"{setting} {NO_CLUSTER}")
    if mode == "sentinel":
        raise BadSetting(f"{setting} {_NOT_PLAIN}")


def _clients(url: str) -> Iterator[redis.Redis]:
    """Yields clients that may learn what the server is.

    After a user's comes one that does not log in, since a Sentinel mostly knows none of the users. None selects a
    database, which Sentinel and Cluster don't have.
    """
    sentinels = sentinels_of(url)
    options = {**OPTIONS, "socket_timeout": CHECK_SECONDS, "socket_connect_timeout": CHECK_SECONDS}
    if sentinels is not None:
        yield redis.Redis.from_pool(Primary(sentinels, retry=Retry(NoBackoff(), 0), **options))
        return
    parts = urlsplit(url)._replace(path="")
    for netloc in dict.fromkeys((parts.netloc, parts.netloc.rpartition("@")[2])):
        url = parts._replace(netloc=netloc).geturl()
        yield redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)


def _mode(client: redis.Redis) -> str | None:
    """Returns `standalone`, `sentinel` or `cluster`, or None if the server does not tell. Raises WrongSentinels."""
    with closing(client):
        try:
            return about(client)["mode"]
        except WrongSentinels:
            raise
        except (RedisError, OSError):
            return None


def about(client: redis.Redis) -> dict[str, str]:
    """Returns what a server says of itself, such as `version` and `mode`; errors are redis-py's."""
    # HELLO needs fewer permissions than INFO; redis-py has no method for it.
    return _about(client.execute_command("HELLO"))  # type: ignore[no-untyped-call]


def _about(reply: Any) -> dict[str, str]:
    said = dict(zip(reply[::2], reply[1::2], strict=True))
    return {str(name, "ascii"): str(value, "ascii") for name, value in said.items() if isinstance(value, bytes)}

"""How often a client may sign up, on a real Redis and in memory: both count alike."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
import redis

from tests.redis_server import RedisServer
from worker.domain.errors import BadSetting, RedisAway
from worker.domain.moving_window import DAY, HOUR, MOST_NAMES, PER_DAY, PER_HOUR, Windows
from worker.stream import shared_window
from worker.stream.shared_window import PREFIX, SharedWindows


class InMemory:
    """The windows of one process, whose clock the tests move."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._now = 1e9

    def take(self, name: str) -> int:
        return self._windows.take(name, self._now)

    def use_up(self, name: str, seconds: float) -> bool:
        return self._windows.use_up(name, self._now, seconds)

    def pass_time(self, name: str, seconds: float) -> None:
        self._now += seconds


class InRedis(SharedWindows):
    """The shared windows. Time passes by moving what is stored."""

    def __init__(self, server: RedisServer, client: redis.Redis) -> None:
        super().__init__(server.url)
        self._moved = client

    def pass_time(self, name: str, seconds: float) -> None:
        key = f"{PREFIX}{name}"
        for place, at in enumerate(self._moved.lrange(key, 0, -1)):
            self._moved.lset(key, place, str(float(at) - seconds))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_window, "TIMEOUT_SECONDS", 20)


@pytest.fixture(params=["redis", "memory"])
def windows(request: pytest.FixtureRequest) -> Iterator[InRedis | InMemory]:
    if request.param == "memory":
        yield InMemory()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with server.client() as client, closing(InRedis(server, client)) as shared:
        yield shared


def taken(windows: InRedis | InMemory, times: int, name: str = "jane") -> int:
    return sum(windows.take(name) == 0 for _ in range(times))


def test_ten_in_any_hour(windows: InRedis | InMemory) -> None:
    assert taken(windows, 4) == 4
    windows.pass_time("jane", HOUR / 2)
    assert taken(windows, 20) == PER_HOUR - 4
    assert HOUR / 2 - 30 < windows.take("jane") <= HOUR / 2
    windows.pass_time("jane", HOUR / 2 + 1)
    assert taken(windows, 20) == 4


def test_sixty_in_any_day(windows: InRedis | InMemory) -> None:
    for _ in range(PER_DAY // PER_HOUR):
        assert taken(windows, 20) == PER_HOUR
        windows.pass_time("jane", HOUR + 1)
    assert taken(windows, 20) == 0
    assert DAY / 2 < windows.take("jane") < DAY
    windows.pass_time("jane", DAY - 6 * HOUR)
    assert taken(windows, 20) == PER_HOUR


def test_each_client_has_its_own(windows: InRedis | InMemory) -> None:
    assert taken(windows, 20) == taken(windows, 20, "john") == PER_HOUR


def test_a_name_is_used_up_once(windows: InRedis | InMemory) -> None:
    assert windows.use_up("one", 600)
    assert not windows.use_up("one", 600)
    assert windows.use_up("two", 600)


def test_a_clock_that_was_set_back_stops_nobody(redis_server: RedisServer) -> None:
    with redis_server.client() as client, closing(InRedis(redis_server, client)) as shared:
        assert taken(shared, 20) == PER_HOUR
        shared.pass_time("jane", -DAY)
        assert shared.take("jane") == 0


def test_all_processes_together_have_one_window(redis_server: RedisServer) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(closing(SharedWindows(redis_server.url))) for _ in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(8))
        waits = list(pool.map(lambda number: processes[number % 4].take("jane"), range(60)))
        uses = list(pool.map(lambda number: processes[number % 4].use_up("one", 60), range(20)))
    assert waits.count(0) == PER_HOUR
    assert uses.count(True) == 1


def test_what_is_kept_ends_within_a_day(redis_server: RedisServer) -> None:
    with redis_server.client() as client, closing(SharedWindows(redis_server.url)) as shared:
        shared.take("jane")
        shared.use_up("one", 0.0001)
        shared.use_up("two", 600)
        left = [client.ttl(key) for key in client.keys("stockbell:*")]
    assert 1 < len(left) <= 3
    assert all(each == -2 or 0 <= each <= DAY for each in left)


def test_the_memory_of_a_process_has_an_end() -> None:
    windows = Windows()
    for number in range(MOST_NAMES + 100):
        windows.take(str(number), 1e9)
        windows.use_up(str(number), 1e9, 600)
    assert len(windows._times) == len(windows._used) == MOST_NAMES


def test_a_redis_that_is_away_is_named() -> None:
    with closing(SharedWindows("redis://127.0.0.1:1/0")) as shared:
        with pytest.raises(RedisAway):
            shared.take("jane")
        with pytest.raises(RedisAway):
            shared.use_up("one", 60)


def test_a_url_that_means_nothing_is_refused() -> None:
    with pytest.raises(BadSetting, match="REDIS_URL"):
        SharedWindows("http://127.0.0.1")

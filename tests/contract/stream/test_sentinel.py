"""Redis behind Sentinel: whoever needs Redis finds the primary, also after a fail-over. Mistakes are told apart."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import redis
import trustme

from tests.polling import eventually
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.redis_set import HOST, SERVICE, RedisSet, SentinelServer
from worker import redis_servers
from worker.domain.errors import BadSetting, RedisAway
from worker.queue.bell import Bell, celery_app
from worker.stream.event_stream import Stream
from worker.stream.shared_bucket import SharedBucket

PASSWORD = "p@ss/w,rd:1"
QUOTED = "p%40ss%2Fw%2Crd%3A1"


@pytest.fixture(scope="module")
def redis_set() -> Iterator[RedisSet]:
    """A primary, a replica and three sentinels for all tests here."""
    with closing(RedisSet()) as started:
        started.start()
        yield started


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    redis_server.skip_unless_ours()
    return redis_server


def users(url: str) -> tuple[Stream, SharedBucket, Bell]:
    """Returns all that talk to Redis. They connect with their first call."""
    return Stream(url, "events", consumer="me"), SharedBucket(url, 1000.0), Bell(celery_app(lambda: url))


def uses(url: str) -> Sequence[Callable[[], object]]:
    stream, tokens, bell = users(url)
    return (
        lambda: stream.publish({"catalogItemId": "mug-1"}),
        lambda: tokens.take(1),
        lambda: bell.ring([UUID(int=1)]),
    )


def reason(work: Callable[[], object]) -> str:
    """Returns why Redis is away, or "" if it is there."""
    try:
        work()
    except RedisAway as away:
        return str(away)
    return ""


def test_everything_goes_on_at_the_new_primary_after_an_admin_s_fail_over(redis_set: RedisSet) -> None:
    redis_servers.check(redis_set.url, "REDIS_URL")
    everything = uses(redis_set.url)
    assert [reason(work) for work in everything] == ["", "", ""]
    redis_set.fail_over()
    refusals = [reason(work) for work in everything]
    # Before Redis 7.0, the refusal of a script is an error of its own.
    assert all(re.search("previous master is now a slave|read only replica", said) for said in refusals), refusals
    assert [reason(work) for work in everything] == ["", "", ""]
    with redis_set.client() as primary:
        assert (primary.xlen("events"), primary.llen("stockbell:bells")) == (2, 2)


def test_everything_goes_on_at_the_new_primary_after_a_crash(redis_set: RedisSet) -> None:
    everything = uses(redis_set.url)
    assert [reason(work) for work in everything] == ["", "", ""]
    redis_set.until_ready()
    old = redis_set.primary()
    old.kill()
    assert all(reason(work) for work in everything[:2]), "nobody is elected yet"
    for work in everything:
        eventually(lambda work=work: not reason(work), 60, until="another server was elected")  # type: ignore[misc]
    assert redis_set.primary().port != old.port
    old.start()
    redis_set.until_ready()
    assert [reason(work) for work in everything] == ["", "", ""]


def test_sentinels_that_are_away_are_passed_over(redis_set: RedisSet) -> None:
    url = f"redis+sentinel://{HOST}:{free_port()},{redis_set.hosts}/{SERVICE}"
    redis_servers.check(url, "REDIS_URL")
    assert [reason(work) for work in uses(url)] == ["", "", ""]


def test_a_sentinel_that_is_behind_is_asked_last(server: RedisServer) -> None:
    with closing(RedisServer()) as replica:
        replica.start()
        replica.client().replicaof(HOST, str(server.port))
        with (
            closing(SentinelServer(replica, f"sentinel down-after-milliseconds {SERVICE} 600000")) as behind,
            closing(SentinelServer(server)) as right,
        ):
            for each in (behind, right):
                eventually(lambda each=each: each.ask("MASTER", SERVICE), 30, until="it answers")  # type: ignore[misc]
            everything = uses(f"redis+sentinel://{HOST}:{behind.port},{HOST}:{right.port}/{SERVICE}")
            assert "is not the primary" in reason(everything[0])
            assert [reason(work) for work in everything] == ["", "", ""]


def test_each_database_is_its_own(redis_set: RedisSet) -> None:
    stream, *_ = users(redis_set.url.removesuffix("0") + "5")
    stream.publish({"catalogItemId": "mug-1"})
    with redis_set.client() as primary:
        primary.select(5)
        assert primary.xlen("events") == 1


# What can never be used


def refusal(url: str) -> str:
    with pytest.raises(BadSetting) as refused:
        redis_servers.check(url, "REDIS_URL")
    said = str(refused.value)
    assert said.startswith("REDIS_URL")
    assert said.isprintable()
    assert HOST not in said
    return said


def test_a_service_that_no_sentinel_knows(redis_set: RedisSet) -> None:
    assert "no service of the name" in refusal(redis_set.url.replace(SERVICE, "shops"))
    dead = f"redis+sentinel://{HOST}:{free_port()},{redis_set.hosts}/shops/0"
    assert "no service of the name" in refusal(dead), "whoever does not answer proves nothing"
    stream, tokens, bell = users(redis_set.url.replace(SERVICE, "shops"))
    for work in (stream.ping, lambda: tokens.take(1), bell.queued):  # type: Callable[[], object]
        assert "no service of the name" in reason(work), "who runs already waits"


@pytest.mark.parametrize("user", ["", f":{QUOTED}@", f"jo:{QUOTED}@"])
@pytest.mark.parametrize("database", ["", "/0", "/3"])
def test_a_sentinel_that_is_named_as_a_server(redis_set: RedisSet, user: str, database: str) -> None:
    url = f"redis://{user}{HOST}:{redis_set.sentinels[0].port}{database}"
    assert "redis+sentinel://" in refusal(url)


def test_a_server_that_is_named_as_a_sentinel(server: RedisServer) -> None:
    assert "is not a Sentinel" in refusal(f"redis+sentinel://{HOST}:{server.port}/{SERVICE}/0")


@pytest.mark.parametrize(("user", "database"), [("", ""), (f":{QUOTED}@", ""), ("", "/3")])
def test_a_cluster(user: str, database: str) -> None:
    cluster = RedisServer({"cluster-enabled": "yes"})
    cluster.skip_unless_ours()
    with closing(cluster):
        cluster.start()
        assert "Cluster, which is not supported" in refusal(f"redis://{user}{HOST}:{cluster.port}{database}")


def test_the_sentinels_have_a_password_of_their_own(server: RedisServer) -> None:
    with closing(SentinelServer(server, f'requirepass "{PASSWORD}"')) as sentinel:
        url = f"redis+sentinel://{HOST}:{sentinel.port}/{SERVICE}/0"
        right = f"{url}?sentinel_password={QUOTED}"
        eventually(lambda: not reason(users(right)[0].ping), 30, until="the sentinel is up")
        for wrong in (url, f"{url}?sentinel_password=x", url.replace("//", f"//:{QUOTED}@")):
            said = refusal(wrong)
            assert "?sentinel_password=" in said
            assert PASSWORD not in said
        redis_servers.check(right, "REDIS_URL")
        assert [reason(work) for work in uses(right)] == ["", "", ""]


def test_a_user_of_the_sentinels_may_need_nothing_but_to_ask(server: RedisServer) -> None:
    lines = [
        "user default on nopass allchannels +@all",
        f"user bell on >{PASSWORD} -@all +client|setname +sentinel|master",
        f"user mute on >{PASSWORD} -@all +client|setname",
    ]
    with closing(SentinelServer(server, *lines)) as sentinel:
        url = f"redis+sentinel://{HOST}:{sentinel.port}/{SERVICE}/0?sentinel_password={QUOTED}&sentinel_username="
        eventually(lambda: not reason(users(f"{url}bell")[0].ping), 30, until="the sentinel is up")
        redis_servers.check(f"{url}bell", "REDIS_URL")
        assert "their user may not ask" in refusal(f"{url}mute")
        assert "want another password" in refusal(f"{url}nobody")


# What is away


def test_sentinels_that_nobody_reaches_are_away() -> None:
    url = f"redis+sentinel://:{QUOTED}@{HOST}:{free_port()},{HOST}:{free_port()}/{SERVICE}/0"
    redis_servers.check(url, "REDIS_URL")
    for said in map(reason, uses(url)):
        assert "no sentinel answers" in said
        assert PASSWORD not in said


def test_a_primary_that_is_down_is_away(server: RedisServer, redis_set: RedisSet) -> None:
    with closing(SentinelServer(server)) as sentinel:
        url = f"redis+sentinel://{HOST}:{sentinel.port}/{SERVICE}/0"
        stream, *_ = users(url)
        eventually(lambda: not reason(stream.ping), 30, until="the sentinel is up")
        server.kill()
        eventually(lambda: "see no primary now" in reason(stream.ping), 30, until="the sentinel knows it")
        redis_servers.check(url, "REDIS_URL")
        also_wrong = f"redis+sentinel://{HOST}:{redis_set.primary().port},{HOST}:{sentinel.port}/{SERVICE}/0"
        redis_servers.check(also_wrong, "REDIS_URL")  # one that knows the service is enough
        server.start()
        eventually(lambda: not reason(stream.ping), 30, until="the primary is back")


# TLS


class TlsServer(RedisServer):
    """A server that speaks nothing but TLS."""

    def __init__(self, options: dict[str, str], ca: trustme.CA) -> None:
        super().__init__(options)
        self._options |= {"tls-port": str(self.port), "port": "0"}
        self._trusted = ca.cert_pem.bytes().decode()

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, ssl=True, ssl_ca_data=self._trusted, protocol=2)


def tls_options(directory: Path, ca: trustme.CA) -> dict[str, str]:
    """Returns what server and sentinel are told of their certificate."""
    certificate = ca.issue_cert(HOST)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    own, authority = str(directory / "server.pem"), str(directory / "ca.pem")
    options = {"tls-cert-file": own, "tls-key-file": own, "tls-ca-cert-file": authority}
    return options | {"tls-auth-clients": "no", "tls-replication": "yes"}


def has_tls(options: dict[str, str]) -> bool:
    with closing(RedisServer(options)) as server:
        try:
            server.start()
        except AssertionError:  # it does not know these options
            return False
    return True


def test_sentinels_and_servers_are_verified_with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    options = tls_options(tmp_path, ca)
    if not has_tls(options):
        pytest.skip("this Redis was built without TLS")
    lines = [f"{name} {value}" for name, value in options.items()]
    with closing(TlsServer(options, ca)) as server:
        server.skip_unless_ours()
        server.start()
        with closing(SentinelServer(server, *lines, "port 0", "tls-port {port}")) as sentinel:
            url = f"rediss+sentinel://{HOST}:{sentinel.port}/{SERVICE}/0"
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            eventually(lambda: not reason(users(url)[0].ping), 30, until="the sentinel is up")
            redis_servers.check(url, "REDIS_URL")
            assert [reason(work) for work in uses(url)] == ["", "", ""]
            trustme.CA().cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "stranger.pem"))
            for work in uses(f"{url[:-1]}1"):  # for the old one Celery has a connection
                assert "certificate verify failed" in reason(work)
            assert reason(users(url.replace("rediss", "redis"))[0].ping)

"""Redis locked down as SECURITY.md says: one user for each process, TLS, and no access for strangers."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import trustme

from tests.acceptance.conftest import running
from tests.acceptance.stockbell import Loaded, Stockbell, done, refused
from tests.polling import eventually
from tests.proxy import HOST, Proxy
from tests.redis_server import RedisServer
from tests.redis_set import SERVICE, RedisSet
from tests.relay import ScriptedRelay, authority
from worker import redis_servers
from worker.domain.errors import RedisAway
from worker.queue.bell import Bell, celery_app
from worker.stream.event_stream import Stream
from worker.stream.shared_bucket import SharedBucket

ROOT = Path(__file__).parents[2]
(EXAMPLE,) = re.findall(r"^```acl\n(.*?)^```", (ROOT / "SECURITY.md").read_text(), re.MULTILINE | re.DOTALL)
"""What SECURITY.md tells people to put into their ACL file."""
SERVERS, SENTINELS = (
    re.findall(rf"^```acl {whose}\n(.*?)^```", (ROOT / "SECURITY.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    for whose in ("servers", "sentinels")
)
"""The same behind Sentinel: what else the servers know, and the lines of sentinel.conf."""
USERS = [words[1] for words in map(str.split, EXAMPLE.splitlines()) if words[2] == "on"]
STREAM = "inventory:events"


def locked_down(directory: Path) -> Iterator[RedisServer]:
    """Yields a server with the users of SECURITY.md, and one for the tests."""
    users = directory / "users.acl"
    users.write_text(f"{EXAMPLE}user tester on >tester ~* &* +@all\n")
    server = RedisServer({"aclfile": str(users), "maxmemory-policy": "noeviction", "proto-max-bulk-len": "1mb"})
    server.skip_unless_ours()
    server.url = f"redis://tester:tester@{HOST}:{server.port}/0"
    with closing(server):
        server.start()
        yield server


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Such a server for one test."""
    yield from locked_down(tmp_path)


@pytest.fixture(scope="module")
def asked_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Such a server for all the tests that only ask it."""
    yield from locked_down(tmp_path_factory.mktemp("acl"))


def url_of(server: RedisServer, user: str) -> str:
    return f"redis://{user}:{user.upper()}_PASSWORD@{HOST}:{server.port}/0"


def as_user(server: RedisServer, user: str) -> redis.Redis:
    return redis.Redis.from_url(url_of(server, user), protocol=2, driver_info=None)


def denied(server: RedisServer) -> list[object]:
    with server.client() as client:
        return [(entry["username"], entry["object"], entry["client-info"]) for entry in client.acl_log()]


@pytest.fixture
def locked(sqlite_url: str, locked_redis: RedisServer, relay: ScriptedRelay, tmp_path: Path) -> Iterator[Stockbell]:
    """The program on such a server. It runs commands as `admin`."""
    yield from running(sqlite_url, locked_redis, relay, tmp_path, Loaded)


def test_the_whole_line_works_with_the_rights_of_security_md(locked: Stockbell, locked_redis: RedisServer) -> None:
    locked.environment |= {"REDIS_URL": url_of(locked_redis, "admin"), "STOCKBELL_MAX_SEND_RATE": "200"}
    for command, user in (("listen", "listener"), ("work", "worker"), ("schedule", "scheduler")):
        locked.start(command, *(["-c", "1"] if command == "work" else []), REDIS_URL=url_of(locked_redis, user))
    locked.waiting("mug-1", 5)
    locked.waiting("mug-2", 5)
    with as_user(locked_redis, "publisher") as publisher:
        publisher.xadd(STREAM, {"event": "no JSON"})
        publisher.xadd(STREAM, {"catalogItemId": "mug-1", "quantity": 5})
    locked.until(NOTIFICATION_SENT=5)
    done(locked.run("publish", "mug-2", "--quantity", "5"))
    locked.until(NOTIFICATION_SENT=10)
    told = locked.waiting("mug-3", 1)
    with locked_redis.client() as client:  # a dead letter that a newer version understands
        letter = {"catalogItemId": "mug-3", "quantity": "5", "originalId": "1795424400000-0", "reason": "too new"}
        client.xadd(f"{STREAM}:dead", dict(letter))
    assert "replayed: 1, refused: 1" in locked.run("dead-letters", "replay", "--all").stdout
    eventually(lambda: locked.mails()[told[0]] == 1)
    assert locked.status()["events"]["deadLetters"] == 1
    done(locked.run("dead-letters", "drop", "--all"))
    done(locked.run("report", "--item", "mug-1"))
    done(locked.run("doctor"))
    assert denied(locked_redis) == []
    assert "PASSWORD" not in locked.logs()


@pytest.mark.parametrize(
    "command",
    [
        ("XREAD", "STREAMS", STREAM, "0"),
        ("XRANGE", STREAM, "-", "+"),
        ("XREADGROUP", "GROUP", "stockbell", "me", "STREAMS", STREAM, ">"),
        ("XGROUP", "DESTROY", STREAM, "stockbell"),
        ("XTRIM", STREAM, "MAXLEN", "0"),
        ("XDEL", STREAM, "1-1"),
        ("XADD", f"{STREAM}:dead", "*", "a", "b"),
        ("XADD", "others", "*", "a", "b"),
        ("DEL", STREAM),
        ("LPUSH", "stockbell:bells", "{}"),
        ("LRANGE", "stockbell:bells", "0", "-1"),
        ("HSET", "stockbell:rate", "tokens", "0"),
        ("SET", STREAM, "x"),
        ("PUBLISH", "stockbell:/0.celery.pidbox", "{}"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("ACL", "LIST"),
        ("MONITOR",),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SHUTDOWN", "NOSAVE"),
    ],
    ids=" ".join,
)
def test_a_publisher_may_add_events_and_nothing_else(asked_redis: RedisServer, command: tuple[str, ...]) -> None:
    with as_user(asked_redis, "publisher") as publisher:
        assert publisher.xadd(STREAM, {"event": "{}"})
        with pytest.raises(redis.exceptions.NoPermissionError):
            publisher.execute_command(*command)


def test_the_web_process_adds_events_and_reads_none(asked_redis: RedisServer) -> None:
    with closing(Stream(url_of(asked_redis, "web"), STREAM)) as events:
        assert len(events.publish_many([{"event": b"{}"}, {"event": b"{}"}])) == 2
        with pytest.raises(RedisAway, match="permission"):
            events.read(1, 1)


@pytest.mark.parametrize("user", ["worker", "scheduler"])
def test_those_who_send_and_rescue_touch_no_event(asked_redis: RedisServer, user: str) -> None:
    with as_user(asked_redis, user) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command("LPUSH", STREAM, "x")


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET *", "SHUTDOWN", "ACL LIST", "CLIENT LIST"])
def test_no_process_may_do_what_only_an_owner_does(asked_redis: RedisServer, user: str, command: str) -> None:
    with as_user(asked_redis, user) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_a_listener_may_also_do_what_it_seldom_does(asked_redis: RedisServer) -> None:
    with as_user(asked_redis, "listener") as listener:
        listener.xgroup_create(STREAM, "stockbell", id="0", mkstream=True)
        listener.xreadgroup("stockbell", "gone", {STREAM: ">"})
        assert listener.xpending(STREAM, "stockbell")
        listener.xgroup_delconsumer(STREAM, "stockbell", "gone")
        listener.xtrim(STREAM, minid="0-1", approximate=False)


def test_an_admin_sees_whether_anybody_listens(asked_redis: RedisServer) -> None:
    stream = f"{STREAM}:unread"
    older = "~* -@all +hello +client|setname +select +xinfo|groups +xlen +xrange"
    with asked_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "older", "on", ">OLDER_PASSWORD", *older.split())
        client.execute_command("ACL", "SETUSER", "admin", f"~{stream}", f"~{stream}:dead")
        client.xgroup_create(stream, "stockbell", mkstream=True)
        client.xadd(stream, {"event": "{}"})
    for user, sees_it in (("admin", True), ("older", False)):
        with closing(Stream(url_of(asked_redis, user), stream)) as events:
            assert events.figures().unattended is sees_it, user
            # The older user may not count the unread entries, and sees what Redis says of them, if it does.
            assert events.figures().lag in ((1,) if sees_it else (1, None))


def test_nobody_is_let_in_without_a_name(asked_redis: RedisServer) -> None:
    with closing(socket.create_connection((HOST, asked_redis.port), 30)) as nobody:
        nobody.sendall(b"PING\r\n")
        assert nobody.recv(100).startswith(b"-NOAUTH")


def test_behind_sentinel_everybody_has_the_rights_of_security_md(tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    users.write_text(f"{EXAMPLE}{SERVERS}user tester on >tester ~* &* +@all\n")
    options = {"aclfile": str(users), "masteruser": "replica", "masterauth": "REPLICA_PASSWORD"}
    login = f"sentinel auth-user {SERVICE} sentinel", f"sentinel auth-pass {SERVICE} SENTINEL_PASSWORD"
    servers = RedisSet(options, *login, *SENTINELS.splitlines(), sentinels_password="SENTINELS_PASSWORD")
    for server in servers.servers:
        server.url = f"redis://tester:tester@{HOST}:{server.port}/0"
    with closing(servers):
        servers.start()
        ours = "?sentinel_username=stockbell&sentinel_password=OUR_PASSWORD"
        url = {
            user: f"redis+sentinel://{user}:{user.upper()}_PASSWORD@{servers.hosts}/{SERVICE}/0{ours}" for user in USERS
        }
        for each in url.values():
            redis_servers.check(each, "REDIS_URL")
        servers.kill_primary()
        Stream(url["publisher"], STREAM).publish({"quantity": "5"})
        Bell(celery_app(lambda: url["scheduler"])).ring([uuid4()])
        SharedBucket(url["worker"], 50.0).take(1)
        assert denied(servers) == []


# TLS


def tls_of(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST).configure_cert(context)
    return context


def names_of_others(server: RedisServer) -> set[str]:
    """Returns the names that the connected clients give themselves."""
    with server.client() as client:
        me = client.client_id()
        return {each["name"] for each in client.client_list() if int(each["id"]) != me}


def test_redis_behind_a_trusted_certificate_is_used_for_everything(
    program: Stockbell, redis_server: RedisServer, tmp_path: Path
) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Proxy(redis_server.port, tls_of(authority())) as proxy:
        program.environment |= {
            "REDIS_URL": f"rediss://{HOST}:{proxy.port}/0",
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            "STOCKBELL_MAX_SEND_RATE": "200",
        }
        program.waiting("mug-1", 5)
        program.start_all()
        done(program.run("publish", "mug-1", "--quantity", "5"))
        program.until(NOTIFICATION_SENT=5)
        # A connection that just began has no name yet. Otherwise the server's tickets would be taken for an answer.
        eventually(lambda: names_of_others(redis_server) == {"stockbell"}, until="every connection has its name")
        done(program.run("doctor"))
    assert "rate.unknown" not in program.logs()


def test_an_authority_of_one_s_own_may_stand_in_the_url(redis_server: RedisServer, tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Proxy(redis_server.port, tls_of(authority())) as proxy:
        url = f"rediss://{HOST}:{proxy.port}/0?ssl_cert_reqs=required&ssl_ca_certs={tmp_path / 'ca.pem'}"
        Stream(url, STREAM).publish({"quantity": "5"})
        Bell(celery_app(lambda: url)).ring([uuid4()])
        SharedBucket(url, 50.0).take(1)


def test_a_stranger_s_certificate_is_refused_wherever_redis_is_needed(
    program: Stockbell, redis_server: RedisServer
) -> None:
    with Proxy(redis_server.port, tls_of(trustme.CA())) as proxy:
        url = f"rediss://shop:s3cr3t@{HOST}:{proxy.port}/0"
        uses: list[Callable[[], object]] = [
            lambda: Stream(url, STREAM).publish({"quantity": "5"}),
            lambda: Bell(celery_app(lambda: url)).ring([uuid4()]),
            lambda: SharedBucket(url, 50.0).take(1),
        ]
        for use in uses:
            with pytest.raises(RedisAway, match="certificate verify failed"):
                use()
        program.environment["REDIS_URL"] = url
        said = refused(program.run("publish", "mug-1", "--quantity", "5"))
        assert "certificate verify failed" in said
        program.start("listen")
        program.start("work", "-c", "1")
        eventually(lambda: program.logs().count("certificate verify failed") >= 2, until="both say why")
    assert program.logs().count("certificate verify failed") == 2, "once each"
    assert "s3cr3t" not in said + program.logs()
    with redis_server.client() as client:
        assert client.keys() == []

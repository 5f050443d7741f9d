"""URLs of PostgreSQL: whatever libpq reads is read, and what can't be used is said in words without its value."""

import os
import re
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from worker.domain.errors import DatabaseAway, DatabaseUnfit
from worker.store.host_errors import ONLY_READS, Unusable, unusable
from worker.store.postgres import Host, Servers, parse, weakness

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("place", "hosts"),
    [
        ("host", ["host"]),
        ("host:5433", ["host:5433"]),
        ("host1:5433,host2", ["host1:5433", "host2"]),
        ("host1,host2:5433", ["host1", "host2:5433"]),
        ("host-1.shop.example.,db_2:1", ["host-1.shop.example.", "db_2:1"]),
        ("10.0.0.1,[fd00::1]:5433,[::1]", ["10.0.0.1", "[fd00::1]:5433", "[::1]"]),
        ("%2Frun%2Fpostgresql", ["/run/postgresql"]),
        ("%2Fcloudsql%2Fproject%3Aregion%3Ashop", ["/cloudsql/project:region:shop"]),
        ("", [""]),
    ],
)
def test_hosts_are_those_of_the_url(place: str, hosts: list[str]) -> None:
    servers = parse(f"postgresql://shop:{SECRET}@{place}/name")
    assert [str(host) for host in servers.hosts] == hosts
    assert servers.database == "name"
    assert SECRET not in repr(servers)


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("host=/run/postgresql", ["/run/postgresql"]),
        ("host=/run/postgresql&port=5433", ["/run/postgresql:5433"]),
        ("host=a,b", ["a", "b"]),
        ("host=a,b&port=5433", ["a:5433", "b:5433"]),
        ("host=a,b&port=1,2", ["a:1", "b:2"]),
        ("host=a,b&port=,2", ["a", "b:2"]),
        ("host=a,b&hostaddr=10.0.0.1,10.0.0.2", ["a", "b"]),
        ("hostaddr=10.0.0.1,10.0.0.2", ["10.0.0.1", "10.0.0.2"]),
        ("port=5433", [":5433"]),
    ],
)
def test_hosts_may_come_as_options(query: str, hosts: list[str]) -> None:
    assert [str(host) for host in parse(f"postgresql:///name?{query}").hosts] == hosts


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_options_are_passed_on(scheme: str) -> None:
    url = (
        f"{scheme}://u%40:p%2F@host/name?sslmode=verify-full&connect_timeout=3&application_name=bell&options=-c%20a%3D1"
    )
    assert parse(url).options == {
        "user": "u@",
        "password": "p/",
        "dbname": "name",
        "sslmode": "verify-full",
        "connect_timeout": "3",
        "application_name": "bell",
        "options": "-c a=1",
    }


@pytest.mark.parametrize("wanted", ["any", "primary", "read-write"])
def test_a_server_that_writes_may_be_asked_for_and_is_used_anyway(wanted: str) -> None:
    assert parse(f"postgresql://a,b/name?target_session_attrs={wanted}").options == {"dbname": "name"}


FORM = "must have user:password@host:port"
QUERY = "must have its options as ?name=value&name=value"


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (f"u:{SECRET}/x@host/name", FORM),
        (f"u:1/{SECRET}@host/name", FORM),
        (f"u:p@{SECRET}@host/name", FORM),
        (f"u:p%{SECRET}@host/name", FORM),
        (f"u:p?{SECRET}/x@host/name", FORM),
        (f"u?{SECRET}=/x@host/name", FORM),
        (f"host:{SECRET}/name", FORM),
        ("host:0/name", FORM),
        ("host:65536/name", FORM),
        ("host:٣/name", FORM),
        ("[::1/name", FORM),
        ("host1,,host2/name", FORM),
        ("host1,/name", FORM),
        ("host 1/name", FORM),
        ("host..example/name", FORM),
        ("/name?host=a:5432", FORM),
        ("/name?host=a:1&host=b:2", "must name its hosts as host1:5432,host2:5432"),
        ("/name?host=a,b&port=1,2,3", "must have as many ports as hosts, or one port for all"),
        ("/name?host=a,b&hostaddr=10.0.0.1", "must have as many ports as hosts, or one port for all"),
        ("host/name?sslmod=require", 'has an option that PostgreSQL does not know: "sslmod"; did you mean "sslmode"?'),
        ("host/name?pgbouncer=true", 'has an option that PostgreSQL does not know: "pgbouncer"'),
        (f"u:{SECRET}@host/name?options=project=ep-1", QUERY),
        (f"u:{SECRET}@host/name?options=-c search_path=shop", QUERY),
        (f"u:{SECRET}@host/name?sslmode", QUERY),
        (f"u:a {SECRET}@host/name", FORM),
        (f"u:a?b {SECRET}@host/name", FORM),
        (f"host/name?sslmode={SECRET}", "must have one of allow, disable, prefer, require, verify-ca, verify-full"),
        ("host/name?target_session_attrs=standby", "must not ask for a server that only reads"),
        ("host/name?target_session_attrs=read-only", "must not ask for a server that only reads"),
        (f"host/name?sslrootcert=/{SECRET}.pem", "must name an existing file as sslrootcert"),
        (f"host/name?sslcert=/{SECRET}.pem", "must name an existing file as sslcert"),
        (f"host/name?sslkey=/{SECRET}.pem", "must name an existing file as sslkey"),
    ],
)
def test_what_cannot_be_used_is_said_without_its_value(rest: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}") as caught:
        parse(f"postgresql://{rest}")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_key_in_hardware_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "shop.pem").touch()
    parse(f"postgresql://host/name?sslcert={tmp_path}/shop.pem&sslkey=pkcs11:token")


# Which host is asked first


class Network:
    """Takes connections at some hosts only, of which some only read. Notes who was asked."""

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.readers: set[str] = set()
        self.asked: list[str] = []
        self.connections: dict[str, Mock] = {}

    def connect(self, *, host: str, **_options: object) -> Any:
        self.asked.append(host)
        if host not in self.up:
            raise psycopg.OperationalError("connection failed: Connection refused")
        connection = self.connections[host] = Mock()
        connection.execute.return_value.fetchone.return_value = ("on" if host in self.readers else "off",)
        return connection


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    found = Network()
    monkeypatch.setattr("worker.store.postgres.AnsweredConnection.connect", found.connect)
    return found


def connect(servers: Servers, network: Network, *up: str) -> list[str]:
    """Connects once, while these hosts take connections. Returns the hosts that were asked."""
    network.up = set(up)
    network.asked.clear()
    servers.connect(None, None, [], {})
    return list(network.asked)


def test_the_host_that_was_used_last_is_asked_first(network: Network) -> None:
    servers = parse("postgresql://a,b,c/name")
    assert connect(servers, network, "b", "c") == ["a", "b"]
    assert connect(servers, network, "a", "b", "c") == ["b"]
    assert connect(servers, network, "c") == ["b", "a", "c"]
    assert connect(servers, network, "a", "b", "c") == ["c"]


def test_a_host_that_only_reads_is_passed_over(network: Network) -> None:
    network.readers = {"a", "b"}
    servers = parse("postgresql://a,b,c/name")
    assert connect(servers, network, "a", "b", "c") == ["a", "b", "c"]
    assert [bool(each.close.called) for each in network.connections.values()] == [True, True, False]
    assert connect(servers, network, "a", "b", "c") == ["c"]


def test_hosts_are_asked_in_any_order_if_the_url_says_so(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.shuffle", list.reverse)
    assert connect(parse("postgresql://a,b,c/name?load_balance_hosts=random"), network, "a") == ["c", "b", "a"]


def test_all_hosts_are_named_if_none_can_be_used(network: Network) -> None:
    with pytest.raises(DatabaseAway, match=r"^a:1 and b:2: Connection refused$"):
        connect(parse("postgresql://a:1,b:2/name"), network)


def test_the_systems_authorities_are_those_that_python_knows(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """libpq of psycopg's binary package looks for them where no system has any."""
    paths = SimpleNamespace(
        openssl_cafile_env="SSL_CERT_FILE", cafile=f"{tmp_path}/all.pem", openssl_capath_env="SSL_CERT_DIR", capath=None
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setenv("SSL_CERT_FILE", "to be restored")
    monkeypatch.delenv("SSL_CERT_FILE")
    connect(parse("postgresql://a/name"), network, "a")
    assert "SSL_CERT_FILE" not in os.environ
    connect(parse("postgresql://a/name?sslrootcert=system"), network, "a")
    assert os.environ["SSL_CERT_FILE"] == f"{tmp_path}/all.pem"


@pytest.mark.parametrize(
    ("options", "is_local"),
    [
        ({"host": "localhost"}, True),
        ({"host": "127.0.0.9"}, True),
        ({"host": "::1"}, True),
        ({"host": "/run/postgresql"}, True),
        ({}, True),
        ({"host": "db", "hostaddr": "127.0.0.1"}, True),
        ({"host": "db"}, False),
        ({"host": "localhost", "hostaddr": "10.0.0.1"}, False),
        ({"host": "10.0.0.1"}, False),
    ],
)
def test_a_host_is_local_if_nothing_leaves_the_machine(options: dict[str, str], is_local: bool) -> None:
    assert Host(options).is_local == is_local


# What libpq says, and what it means

TO = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
AWAY = [
    ("Connection refused\n\tIs the server running?", "Connection refused"),
    ('FATAL:  password authentication failed for user "shop"', "password authentication failed for user ***"),
    ('FATAL:  role "shop" does not exist', "role *** does not exist"),
    ('FATAL:  database "name" does not exist', 'database "name" does not exist'),
    (
        'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "shop", database "name", no encryption',
        'no pg_hba.conf entry for host "10.0.0.9", user ***, database "name", no encryption',
    ),
    ("FATAL:  the database system is starting up", "the database system is starting up"),
    ("FATAL:  sorry, too many clients already", "sorry, too many clients already"),
]
WRONG = [
    ('server certificate for "db" does not match host name "10.0.0.1"', "its certificate is for another name"),
    (
        "SSL error: certificate verify failed",
        "its certificate has expired, or no authority that we trust has signed it",
    ),
    ("server does not support SSL, but SSL was required", "it offers no TLS, and sslmode asks for it"),
    (
        'root certificate file "/ca.crt" does not exist',
        "to verify it, name the file of its authority as sslrootcert",
    ),
    (
        'private key file "/key" has group or world access; file must have ...',
        "others may read the file of sslkey: set its mode to 0600",
    ),
    ('could not load private key file "/key": no start line', "sslcert and sslkey can't be used"),
    ('certificate does not match private key file "/key": mismatch', "sslcert and sslkey can't be used"),
    ('weak sslmode "require" may not be used with sslrootcert=system', "sslrootcert=system needs sslmode=verify-full"),
    ('invalid integer value "x" for connection option "keepalives"', "the value of keepalives must be a whole number"),
    ("bad value for connect_timeout: 'x'", "the value of connect_timeout must be a whole number"),
    ('invalid channel_binding value: "x"', "the value of channel_binding is none that PostgreSQL knows"),
]


def told(*words: str) -> DatabaseAway:
    return unusable(
        [Unusable(f"db{n}", psycopg.OperationalError(said)) for n, said in enumerate(words, 1)], "DATABASE_URL"
    )


@pytest.mark.parametrize(("said", "words"), AWAY)
def test_what_may_pass_is_away(said: str, words: str) -> None:
    error = told(TO + said)
    assert str(error) == f"db1: {words}"
    assert not isinstance(error, DatabaseUnfit)


@pytest.mark.parametrize(("said", "words"), WRONG)
def test_what_does_not_pass_is_a_setting(said: str, words: str) -> None:
    error = told(TO + said)
    assert str(error) == f"DATABASE_URL can't be used: db1: {words}"
    assert isinstance(error, DatabaseUnfit)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("failed to resolve host 'db': [Errno -2] Name or service not known", "Name or service not known"),
        ('connection is bad: connection to server on socket "/run/x" failed: No such file', "No such file"),
        ("connection timeout expired", "no answer in time (connect_timeout)"),
        ("", "no answer"),
    ],
)
def test_what_comes_before_the_reason_is_left_out(said: str, words: str) -> None:
    assert str(told(said)) == f"db1: {words}"


def test_one_host_that_only_reads_is_a_setting_and_several_wait_for_a_promotion() -> None:
    assert str(told(ONLY_READS)) == f"DATABASE_URL can't be used: db1: {ONLY_READS}"
    assert isinstance(told(ONLY_READS), DatabaseUnfit)
    assert str(told(ONLY_READS, ONLY_READS)) == f"db1 and db2: {ONLY_READS}"
    assert not isinstance(told(ONLY_READS, ONLY_READS), DatabaseUnfit)


def test_a_host_that_is_away_may_come_back_as_what_is_needed() -> None:
    error = told(TO + WRONG[0][0], ONLY_READS, f"{TO}Connection refused")
    assert str(error) == f"db1: {WRONG[0][1]}; db2: {ONLY_READS}; db3: Connection refused"
    assert not isinstance(error, DatabaseUnfit)


def test_a_standby_beside_a_wrong_host_is_no_excuse() -> None:
    assert isinstance(told(ONLY_READS, TO + WRONG[0][0]), DatabaseUnfit)


@pytest.mark.parametrize(
    ("host", "address", "sslmode", "words"),
    [
        ("db.shop.example", "10.0.0.5", "prefer", "encrypted, but the server is not verified"),
        ("db.shop.example", "10.0.0.5", "verify-full", "None"),
        ("localhost", "127.0.0.1", "prefer", "None"),
        ("/run/postgresql", "", "prefer", "None"),
    ],
)
def test_what_the_url_leaves_out_is_asked_of_the_connection(host: str, address: str, sslmode: str, words: str) -> None:
    """It may be in PGHOST and PGSSLMODE, or in the file of a service."""
    connection = Mock()
    connection.connection.driver_connection.info = SimpleNamespace(
        host=host, hostaddr=address, get_parameters=lambda: {"sslmode": sslmode}
    )
    assert str(weakness(connection, parse("postgresql:///name"))).startswith(words)


@pytest.mark.parametrize("words", ["unsupported startup parameter: a", "unsupported startup parameter in options: a"])
def test_an_option_that_a_pooler_refuses_is_named_in_every_version(words: str) -> None:
    told = unusable([Unusable("db", psycopg.OperationalError(f"connection failed: FATAL:  {words}"))], "DATABASE_URL")
    assert str(told) == "DATABASE_URL can't be used: db: a pooler refuses an option of the URL or of PGOPTIONS: a"
    assert isinstance(told, DatabaseUnfit)

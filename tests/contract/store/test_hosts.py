"""Several hosts, a server that only reads, and TLS: what a real PostgreSQL says, and what we make of it."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier

import psycopg
import pytest
import trustme
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from tests.confidential import PASSWORD
from tests.contract.shop import shop_at
from tests.faults.postgres import PostgresServer
from tests.ports import listen
from tests.postgres_server import USER
from worker.domain.errors import BadSetting, DatabaseAway, DatabaseUnfit
from worker.models import Owner
from worker.store.database import Database
from worker.store.host_errors import ONLY_READS


def encrypted(c: Connection) -> bool:
    return bool(c.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar())


def refused(url: str) -> DatabaseAway:
    """Returns the error of whoever connects."""
    with closing(Database(url)) as database, pytest.raises(DatabaseAway) as caught:
        database.read(encrypted)
    line = str(caught.value)
    assert line.isprintable()
    assert PASSWORD not in line
    assert f'"{USER}"' not in line
    return caught.value


@pytest.fixture
def server(postgres_url: str) -> tuple[str, str]:
    """The host of a server with our tables, and the name of its database."""
    url = make_url(postgres_url)
    return f"{url.host}:{url.port}", str(url.database)


@pytest.fixture
def reader(postgres_url: str) -> tuple[str, str]:
    """The same for a database that only reads."""
    url = make_url(postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on".encode())
    return f"{url.host}:{url.port}", str(url.database)


# Several hosts


def test_a_host_that_is_silent_costs_its_time_once(server: tuple[str, str]) -> None:
    host, name = server
    with listen(backlog=20) as silent:
        silent.setblocking(False)
        first = f"127.0.0.1:{silent.getsockname()[1]}"
        with closing(Database(f"postgresql://{USER}@{first},{host}/{name}?connect_timeout=2")) as database:
            assert database.where == f"postgresql {first},{host}/{name}"
            database.read(encrypted)
            together = Barrier(3)
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda _: database.read(lambda _c: together.wait(60)), range(3)))
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_host_that_only_reads_may_be_promoted_if_others_are_away(reader: tuple[str, str]) -> None:
    host, name = reader
    refusal = refused(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:1,{host}/{name}")
    assert str(refusal) == f"127.0.0.1:1: Connection refused; {host}: {ONLY_READS}"
    assert not isinstance(refusal, DatabaseUnfit)


def test_a_single_host_that_only_reads_is_a_wrong_setting(reader: tuple[str, str]) -> None:
    host, name = reader
    refusal = refused(f"postgresql://{USER}:{PASSWORD}@{host}/{name}")
    assert str(refusal) == f"DATABASE_URL can't be used: {host}: {ONLY_READS}"
    assert isinstance(refusal, DatabaseUnfit)


def test_whoever_finds_that_its_server_only_reads_now_looks_for_another(postgres_url: str) -> None:
    """An old primary may become a standby, or read-only, while connections to it are open."""
    with shop_at(postgres_url) as shop:
        owner = shop.owner()
        shop.database.read(lambda c: c.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
        with pytest.raises(DatabaseAway, match="read-only"):
            shop.change("UPDATE owner SET host = 'new'")
        shop.change("UPDATE owner SET host = 'new'")
        assert shop.read_one(Owner, owner).host == "new"


def test_a_server_that_does_not_answer_is_given_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.store.database.ANSWER_SECONDS", 0.5)
    with shop_at(postgres_url) as shop:
        owner = shop.owner()
        for ask in (shop.change, lambda words: shop.write(Connection.exec_driver_sql, words)):
            with pytest.raises(DatabaseAway, match=r"^no answer within 0\.5 s$"):
                ask("SELECT pg_sleep(30)")
            assert shop.read_one(Owner, owner)


def test_no_host_can_be_used_and_all_are_named(server: tuple[str, str]) -> None:
    host, name = server
    with socket.socket() as held:  # so that nobody else listens there
        held.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
        assert str(refused(f"postgresql://{USER}:{PASSWORD}@{nobody},host.invalid,{host}/no{name}")) == (
            f"{nobody}: Connection refused; host.invalid: Name or service not known;"
            f' {host}: database "no{name}" does not exist'
        )
        assert str(refused(f"postgresql://stranger:{PASSWORD}@{host}/{name}")) == f"{host}: role *** does not exist"


# TLS


class TlsServer:
    """A server that takes anybody in, but `shop` only with a certificate of its own."""

    def __init__(self, server: PostgresServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.ca = directory / "ca.pem"

    def url(self, host: str = "localhost", user: str = USER, **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{user}@{host}:{self.server.port}/postgres?{query}"


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsServer]:
    # The wheel's PostgreSQL is built without TLS.
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs:
        pytest.skip("PostgreSQL with TLS is not installed (Debian's package postgresql)")
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        authority = trustme.CA()
        server = PostgresServer(directory, programs[-1])
        authority.cert_pem.write_to_path(directory / "ca.pem")
        trustme.CA().cert_pem.write_to_path(directory / "other.pem")
        certificate = authority.issue_cert("localhost")
        server.put("server.crt", b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        server.put("server.key", certificate.private_key_pem.bytes())
        server.put("ca.crt", authority.cert_pem.bytes())
        client = authority.issue_cert(common_name="shop")
        client.cert_chain_pems[0].write_to_path(directory / "shop.crt")
        client.private_key_pem.write_to_path(directory / "shop.key")
        server.options = ("-c", "ssl=on", "-c", "ssl_cert_file=../server.crt", "-c", "ssl_key_file=../server.key")
        server.options += ("-c", "ssl_ca_file=../ca.crt", "-c", "hba_file=hba")
        server.put("hba", b"hostssl all shop 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 trust\n")
        with closing(server):
            server.begin()
            server.execute("CREATE ROLE shop LOGIN")
            yield TlsServer(server, directory)


def test_a_verified_server_is_used(tls: TlsServer) -> None:
    with closing(Database(tls.url(sslmode="verify-full", sslrootcert=tls.ca))) as database:
        assert database.read(encrypted)


def test_the_systems_authorities_count_for_a_verified_server(tls: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    with closing(Database(tls.url(sslrootcert="system"))) as database:
        assert database.read(encrypted)


def test_a_certificate_of_our_own_is_shown(tls: TlsServer) -> None:
    key = tls.directory / "shop.key"
    url = tls.url(
        user="shop", sslmode="verify-full", sslrootcert=tls.ca, sslcert=tls.directory / "shop.crt", sslkey=key
    )
    key.chmod(0o600)
    with closing(Database(url)) as database:
        assert database.read(encrypted)
    key.chmod(0o644)
    assert str(refused(url)).endswith("others may read the file of sslkey: set its mode to 0600")
    assert isinstance(refused(url), DatabaseUnfit)
    bare = refused(tls.url(user="shop", sslmode="require"))
    assert str(bare) == f"localhost:{tls.server.port}: connection requires a valid client certificate"


@pytest.mark.parametrize(
    ("host", "authority", "words"),
    [
        ("127.0.0.1", "ca.pem", "its certificate is for another name"),
        ("localhost", "other.pem", "its certificate has expired, or no authority that we trust has signed it"),
        ("localhost", "shop.key", "the file of sslrootcert holds no certificate"),
    ],
)
def test_a_server_that_is_not_verified_is_refused(tls: TlsServer, host: str, authority: str, words: str) -> None:
    refusal = refused(tls.url(host, sslmode="verify-full", sslrootcert=tls.directory / authority))
    assert str(refusal) == f"DATABASE_URL can't be used: {host}:{tls.server.port}: {words}"
    assert isinstance(refusal, DatabaseUnfit)


def test_a_server_without_tls_is_refused_if_tls_is_asked_for(server: tuple[str, str]) -> None:
    host, name = server
    refusal = refused(f"postgresql://{USER}@{host}/{name}?sslmode=require")
    assert str(refusal) == f"DATABASE_URL can't be used: {host}: it offers no TLS, and sslmode asks for it"
    assert isinstance(refusal, DatabaseUnfit)


def test_an_authority_is_asked_for_if_there_is_none(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "name the file of its authority as sslrootcert" in str(refused(tls.url(sslmode="verify-full")))
    with pytest.raises(BadSetting, match=r"^DATABASE_URL must name an existing file as sslrootcert$"):
        Database(tls.url(sslmode="verify-full", sslrootcert=tmp_path / "missing.pem"))


def weakness(url: str) -> str | None:
    with closing(Database(url)) as database:
        return database.weakness


def test_who_could_listen_or_meddle_is_told(tls: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    unsafe = tls.url(sslmode="require")
    assert weakness(unsafe) is None, "nothing leaves this machine"
    monkeypatch.setattr("worker.store.postgres.Host.is_local", property(lambda _host: False))
    assert str(weakness(unsafe)).startswith("encrypted, but the server is not verified")
    assert str(weakness(tls.url(sslmode="prefer"))).startswith("encrypted, but the server is not verified")
    assert str(weakness(tls.url(sslmode="disable"))).startswith("not encrypted")
    assert weakness(tls.url(sslmode="verify-full", sslrootcert=tls.ca)) is None

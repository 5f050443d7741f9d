"""A Redis behind Sentinel for tests: a primary, its replicas, and three sentinels that elect another primary.

All of them are real servers on ports of their own. They have the binary of `redis_server`; Valkey's has Sentinel, too.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.polling import eventually
from tests.ports import free_port
from tests.redis_server import RedisServer, binary

HOST = "127.0.0.1"
SERVICE = "shop"
SENTINELS = 3
SECONDS = 60
"""How long an election may take on a busy machine. Without load it takes 1 to 3 s."""
DOWN_AFTER_MS, FAILOVER_TIMEOUT_MS = 700, 2000


class SentinelServer:
    """One sentinel. It has a file, since it writes down what it learns."""

    def __init__(self, primary: RedisServer, *lines: str, password: str = "", own_password: str = "") -> None:
        """`lines` are more lines of sentinel.conf, where {port} is its port. `password` is that of the servers."""
        self.port = free_port()
        self._own_password = own_password
        self._directory = Path(tempfile.mkdtemp(prefix="stockbell-sentinel-"))
        usual = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self._directory}",
            "logfile sentinel.log",
            f"sentinel monitor {SERVICE} {HOST} {primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}",
            *([f"sentinel auth-pass {SERVICE} {password}"] if password else []),
        ]
        config = self._directory / "sentinel.conf"
        config.write_text("\n".join([*usual, *(line.format(port=self.port) for line in lines), ""]))
        self._process = subprocess.Popen([binary(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)

    def client(self) -> redis.Redis:
        return redis.Redis(
            host=HOST,
            port=self.port,
            password=self._own_password or None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5,
        )

    def ask(self, command: str, *arguments: str) -> Any:
        """Returns the answer to a command, or None if there is none."""
        with self.client() as client:
            try:
                return client.execute_command(f"SENTINEL {command}", *arguments)
            except redis.ConnectionError:
                return None

    def is_ready(self) -> bool:
        """Whether it knows the primary with its replicas, and all other sentinels."""
        state = self.ask("MASTER", SERVICE)
        return bool(
            state
            and state["flags"] == "master"
            and state["num-slaves"] > 0
            and state["num-other-sentinels"] == SENTINELS - 1
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)


class RedisSet(RedisServer):
    """Behaves as the server that is the primary now. `url` names the sentinels."""

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *lines: str,
        password: str = "",
        sentinels_password: str = "",
        replicas: int = 1,
    ) -> None:
        """`options` are those of redis.conf for every server, `lines` those of sentinel.conf for every sentinel."""
        super().__init__(password=password)
        usual = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1", "masterauth": password}
        usual |= options or {}
        self._password, self._sentinels_password = password, sentinels_password
        self._lines = lines
        self.servers = [RedisServer(usual, password=password) for _ in range(1 + replicas)]
        self.sentinels: list[SentinelServer] = []
        self._stack = ExitStack()
        self._primary = self.servers[0]

    def start(self) -> None:
        """Starts all, and waits until every sentinel could lead a fail-over."""
        self._primary.skip_unless_ours()
        for server in self.servers:
            self._stack.enter_context(closing(server)).start()
        for replica in self.servers[1:]:
            with replica.client() as client:
                client.replicaof(HOST, str(self._primary.port))
        for _ in range(SENTINELS):
            sentinel = SentinelServer(
                self._primary, *self._lines, password=self._password, own_password=self._sentinels_password
            )
            self.sentinels.append(sentinel)
            self._stack.callback(sentinel.close)
        self.url = f"redis+sentinel://{self._password and f':{self._password}@'}{self.hosts}/{SERVICE}/0"
        self.until_ready()

    @property
    def hosts(self) -> str:
        """The sentinels, as a URL names them."""
        return ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)

    def stop(self) -> None:
        self._stack.close()

    def client(self) -> redis.Redis:
        """Returns a client of the primary."""
        return self.primary().client()

    def primary(self) -> RedisServer:
        """Returns the server that most sentinels name, as far as they answer."""
        ports = [
            int(address[1]) for each in self.sentinels if (address := each.ask("GET-MASTER-ADDR-BY-NAME", SERVICE))
        ]
        if ports:
            named = max(ports, key=ports.count)
            self._primary = next(server for server in self.servers if server.port == named)
        return self._primary

    def until_ready(self) -> None:
        """Waits until a fail-over can happen: sentinels know all others, and a replica is up to date."""
        eventually(lambda: all(each.is_ready() for each in self.sentinels), SECONDS, until="the sentinels know all")
        eventually(lambda: self._is_copied(self.primary()), SECONDS, until="a replica has what the primary has")

    def _is_copied(self, primary: RedisServer) -> bool:
        with primary.client() as client:
            try:
                said: Any = client.info("replication")
            except redis.RedisError:
                return False
        copies = [said[f"slave{number}"] for number in range(said.get("connected_slaves", 0))]
        return said["role"] == "master" and any(copy["offset"] >= said["master_repl_offset"] for copy in copies)

    def until_moved(self, old: RedisServer) -> None:
        """Waits until all sentinels name another primary, and see that it answers."""
        eventually(lambda: self._is_moved(old), SECONDS, until="another server is the primary")

    def _is_moved(self, old: RedisServer) -> bool:
        states = [each.ask("MASTER", SERVICE) for each in self.sentinels]
        return all(state and state["port"] != old.port and state["flags"] == "master" for state in states)

    def fail_over(self) -> None:
        """Lets a sentinel move the primary, as an admin would. Nothing that is written before is lost.

        The old primary takes writes until the sentinels make it a replica, 8 s later. Here that is done at once.
        """
        self.until_ready()
        old = self.primary()
        self.sentinels[0].ask("FAILOVER", SERVICE)
        self.until_moved(old)
        with old.client() as client:
            client.replicaof(HOST, str(self.primary().port))

    def kill_primary(self) -> RedisServer:
        """Kills the primary once a replica has all that was written, and waits for the election. Returns the server."""
        self.until_ready()
        old = self.primary()
        old.kill()
        self.until_moved(old)
        return old

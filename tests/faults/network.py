"""Two worker hosts, a third one with the servers, and a router between them that can drop what it should pass on.

All four are network namespaces of the run's own. No packet leaves them.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests import namespaces
from tests.faults.trial import Unavailable

DATABASE: Final = "192.0.2.1"
REDIS: Final = "192.0.2.2"
RELAY: Final = "192.0.2.3"
HOSTS: Final = ("198.51.100.1", "203.0.113.1")
"""The addresses of the servers and of the worker hosts: those that RFC 5737 keeps for examples, which lead nowhere."""


class Network:
    """A context manager: the thread that enters it is on the servers' host, and so is all that it starts."""

    def __enter__(self) -> Self:
        """Raises Unavailable where Linux does not let us do this."""
        if os.geteuid() != 0:
            raise Unavailable("only root may make network namespaces")
        if shutil.which("ip") is None:
            raise Unavailable("there is no program ip on PATH")
        with ExitStack() as stack:
            try:
                self._router, servers, *hosts = [self._kept(stack) for _ in range(2 + len(HOSTS))]
                self._hosts = dict(zip(HOSTS, hosts, strict=True))
                self._connect("servers", servers, DATABASE, REDIS, RELAY)
                for number, (address, host) in enumerate(self._hosts.items()):
                    self._connect(f"host{number}", host, address)
                with namespaces.inside(namespaces.path_of(self._router)):
                    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            except OSError as error:
                raise Unavailable(f"the kernel refuses network namespaces: {error}") from error
            stack.enter_context(namespaces.inside(namespaces.path_of(servers)))
            self._ends = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """Moves this thread to a worker host, so that processes start there."""
        with namespaces.inside(namespaces.path_of(self._hosts[host])):
            yield

    @contextmanager
    def cut(self, host: str, server: str, *, is_told: bool = False) -> Iterator[None]:
        """Lets nothing pass between a worker host and a server. Nobody is told of it, unless `is_told`.

        If it is, connections of the host end at once, and it can't make new ones.
        """
        loss = "unreachable" if is_told else "blackhole"
        rules = [f"from {host} to {server} {loss}", f"from {server} to {host} {loss}"]
        _ip(self._router, *(f"rule add {rule}" for rule in rules))
        if is_told:
            _run(self._hosts[host], "ss", "--kill", "dst", server)
        try:
            yield
        finally:
            _ip(self._router, *(f"rule del {rule}" for rule in rules))

    @contextmanager
    def unplugged(self, host: str) -> Iterator[None]:
        """Takes the cable out of a worker host."""
        link = f"host{HOSTS.index(host)}"
        _ip(self._router, f"link set {link} down")
        try:
            yield
        finally:
            _ip(self._router, f"link set {link} up")

    def _kept(self, stack: ExitStack) -> int:
        namespace = namespaces.made()
        stack.callback(os.close, namespace)
        return namespace

    def _connect(self, link: str, host: int, *addresses: str) -> None:
        """Lays a cable from the router to a host that has these addresses."""
        network = addresses[0].rpartition(".")[0]
        _ip(
            self._router,
            f"link add {link} type veth peer name eth0 netns {namespaces.path_of(host)}",
            f"address add {network}.254/24 dev {link}",
            f"link set {link} up",
        )
        _ip(
            host,
            "link set lo up",
            *(f"address add {address}/24 dev eth0" for address in addresses),
            "link set eth0 up",
            f"route add default via {network}.254",
        )


def _ip(namespace: int, *commands: str) -> None:
    """Runs commands of `ip`. Raises OSError if one fails."""
    done = _run(namespace, "ip", "-batch", "-", text="\n".join(commands))
    if done.returncode:
        raise OSError(done.stderr.strip())


def _run(namespace: int, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    with namespaces.inside(namespaces.path_of(namespace)):
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

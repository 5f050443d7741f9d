"""The environment of the demo's processes: a Redis server, and the settings for database, inbox and Redis."""

import os
import secrets
import socket
import sysconfig
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from worker.demo import redis_program
from worker.demo.processes import CantGoOn, Process, Processes
from worker.domain.errors import RedisAway
from worker.stream.event_stream import Stream

STREAM: Final = "inventory:events"
LEASE_SECONDS: Final = 60.0
START_SECONDS: Final = 60.0
"""Seconds that servers and processes may take to start."""
PORTS_TRIED: Final = 3
CONNECTIONS: Final = 8
"""SMTP connections to the inbox, for all worker children together"""
READY: Final = {
    "listener": "listener.started",
    "worker": "worker.ready",
    "scheduler": "scheduler.started",
    "web": "web.started",
}
"""The log event of each process when it is ready."""


def environment(database_url: str, redis_url: str, smtp_port: int, web_port: int) -> dict[str, str]:
    """Returns this process's environment, with the demo's STOCKBELL_* settings in place of all others."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("STOCKBELL_")}
    return inherited | {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PORT": str(web_port),
        "SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
        "MAIL_FROM": "Example Shop <shop@shop.example>",
        # So that the mails show how a customer leaves. Nobody reads the answers.
        "STOCKBELL_SECRET_KEY": secrets.token_hex(32),
        "STOCKBELL_BOUNCE_ADDRESS": "bounces+{token}@shop.example",
        "STOCKBELL_STORE_NAME": "Example Shop",
        "STOCKBELL_EVENT_STREAM": STREAM,
        "STOCKBELL_LEASE_SECONDS": f"{LEASE_SECONDS:.0f}",
        "STOCKBELL_SWEEP_SECONDS": "1",
        "STOCKBELL_RETRY_SECONDS": "2",
        # Few connections, so that the demo is slow enough to watch on a machine with many cores too.
        "STOCKBELL_SMTP_CONNECTIONS": str(max(1, CONNECTIONS // (os.cpu_count() or 1))),
        "STOCKBELL_LOG_FORMAT": "console",
    }


class RedisServer(NamedTuple):
    """The server's URL, with the password, and its name and version."""

    url: str
    about: str


def start_redis(processes: Processes) -> RedisServer:
    """Starts a Redis server that stores nothing on disk. Raises CantGoOn, Interrupted."""
    binary, password = redis_program.find(), secrets.token_urlsafe()
    server = None
    for port in (free_port() for _ in range(PORTS_TRIED)):
        _configure(processes.cwd / "redis.conf", port, password)
        server = processes.start("redis", [binary, "redis.conf"])
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        about = processes.wait(partial(_about, server, url), START_SECONDS, "Redis to answer", but=server)
        if server.code() is None:
            return RedisServer(url, about)
        processes.running.remove(server)  # another program may have taken the port first
    raise CantGoOn(f"{binary} does not start; its last lines:\n{server.last_words() if server else ''}")


def _configure(file: Path, port: int, password: str) -> None:
    # The password keeps other users of this machine out, and keeps the demo from using another server by mistake.
    lines = ["bind 127.0.0.1", f"port {port}", f"requirepass {password}", 'save ""', "appendonly no", "daemonize no"]
    file.touch(mode=0o600)
    file.write_text("\n".join(lines), encoding="ascii")


def _about(server: Process, url: str) -> str:
    """Returns its name and version, "" while the server does not answer, or "none" if it has ended."""
    if server.code() is not None:
        return "none"
    stream = Stream(url, STREAM)
    try:
        return str(stream.ping())
    except RedisAway:
        return ""
    finally:
        stream.close()


def free_port() -> int:
    """Returns a port that no program listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

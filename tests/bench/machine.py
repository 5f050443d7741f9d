"""The machine and what runs on it, for readers who compare figures."""

import os
import platform
import re
import sqlite3
import subprocess
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psycopg
import redis

from tests.bench.servers import plain, redis_server

SYNCS = 50
BLOCK = b"\0" * 8192


def describe(postgres_url: str, directory: Path) -> dict[str, str]:
    """Returns names and versions, and the speed of this disk."""
    return {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "a block written to disk": f"{_sync_microseconds(directory):.0f} µs",
        "load when it began": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        "PostgreSQL": _postgresql(postgres_url),
        "SQLite": sqlite3.sqlite_version,
        "Redis": _redis(directory),
        "Postfix": _postfix(),
        "Celery": version("celery"),
        "Stockbell": version("stockbell"),
    }


def _processor() -> str:
    with suppress(FileNotFoundError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _sync_microseconds(directory: Path) -> float:
    path = directory / "sync"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.monotonic()
            file.write(BLOCK)
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - began)
    path.unlink()
    return median(times) * 1e6


def _postgresql(url: str) -> str:
    with psycopg.connect(plain(url)) as connection:
        fsync = connection.execute("SELECT current_setting('fsync') || ', ' || current_setting('synchronous_commit')")
        settings = (fsync.fetchone() or ("",))[0]
        return f"{connection.info.parameter_status('server_version')} (fsync, synchronous_commit: {settings})"


def _redis(directory: Path) -> str:
    with redis_server(directory) as server, redis.Redis.from_url(server.url, protocol=2) as client:
        return str(client.info("server")["redis_version"])


def _postfix() -> str:
    for program in ("/usr/sbin/postconf", "/usr/local/sbin/postconf", "postconf"):
        with suppress(FileNotFoundError):
            said = subprocess.run([program, "-d", "mail_version"], capture_output=True, text=True, check=False).stdout
            if found := re.search(r"= (\S+)", said):
                return found[1]
    return "not known"

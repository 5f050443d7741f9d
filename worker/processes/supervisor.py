"""`stockbell work`: keeps a Celery worker running. If the worker exits, for any reason, it is started again.

Whatever Redis does, a worker comes back without a human hand. Celery was seen to exit for good when Redis was in
trouble, so this process starts it again. By SIGHUP it is told to start it anew, with settings and templates as they are
then.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from types import FrameType

import structlog

from worker.processes.bootstrap import Parts
from worker.processes.startup import wait_for_database
from worker.processes.stop import Stop

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the worker is started again."""
STEADY_SECONDS = 60.0
"""After a worker ran for this long, the next pause is the first one again."""
PATIENCE_SECONDS = 20.0
"""How long a worker may take to end after it was asked to."""
CHECK_SECONDS = 0.2
LOOK_SECONDS = 5.0
"""How often it looks whether templates have changed."""
PR_SET_PDEATHSIG = 1
# With `-m celery`, and by Celery itself, a `worker.py` or `config.py` in the folder that we run in would be imported in
# place of ours. So that folder is left out (-P), and ours is loaded first.
PROGRAM = "import worker.tasks; from celery.__main__ import main; main()"
OPTIONS = """--quiet --app worker.tasks:app worker --pool prefork --loglevel WARNING
    --without-gossip --without-mingle --without-heartbeat"""
CELERY = (sys.executable, "-P", "-c", PROGRAM, *OPTIONS.split())

log = structlog.get_logger()


def run(parts: Parts, concurrency: int | None) -> None:
    """Works until SIGTERM or SIGINT, with so many children (default: one for each processor)."""
    stop = Stop().listen()
    _ = parts.relays, parts.sender, parts.reply_rules  # raises BadSetting here rather than in a child
    parts.check_broker()
    hang_up = _HangUp().listen()
    templates = _Templates(parts)
    if not wait_for_database(parts.database, stop):
        return
    children = concurrency or os.cpu_count() or 1
    pause = FIRST_PAUSE
    log.info("worker.started", children=children, relay=", ".join(map(str, parts.relays)))
    while not stop.is_set():
        started = time.monotonic()
        code = _work(children, stop, hang_up, templates)
        if stop.is_set():
            break
        if hang_up.taken():
            log.info("worker.started_anew", reason="SIGHUP")
            templates = _Templates(parts.anew())
            continue
        pause = FIRST_PAUSE if time.monotonic() - started > STEADY_SECONDS else pause
        log.error("worker.exited", code=code, again_in_seconds=pause)
        stop.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    log.info("worker.stopped")


class _HangUp:
    """Whether SIGHUP came. Where people look on it ends the process, as that of a terminal that is closed does."""

    def __init__(self) -> None:
        self._has_come = False

    def listen(self) -> "_HangUp":
        """Installs the signal handler."""
        if sys.stdin is None or not sys.stdin.isatty():
            signal.signal(signal.SIGHUP, self._handle)
        return self

    def has_come(self) -> bool:
        """Whether the worker shall begin anew."""
        return self._has_come

    def taken(self) -> bool:
        """Returns the same, and waits for the next one."""
        has_come, self._has_come = self._has_come, False
        return has_come

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._has_come = True


class _Templates:
    """A shop's own templates, as the worker has them: says what is wrong with them, and when they have changed since.

    What is broken holds only what uses it.
    """

    def __init__(self, parts: Parts) -> None:
        self._sources = parts.templates
        self._look_at = time.monotonic() + LOOK_SECONDS
        for each in parts.inspection().findings if self._sources.has_own else ():
            if each.is_fault:
                log.error("template.wrong", file=each.file, reason=each.text)
            else:
                log.warning("template.warning", file=each.file, reason=each.text)

    def look(self) -> None:
        """Says once that they have changed."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        if not self._sources.is_current():
            log.warning("template.changed", until="mails are made as before until a restart or SIGHUP")
            self._look_at = float("inf")


def _work(children: int, stop: Stop, hang_up: _HangUp, templates: _Templates) -> int:
    """Runs one Celery worker until it exits or we are stopped; returns its exit code."""
    # The files of Celery's pool are deleted with the directory, however the worker ends.
    with TemporaryDirectory(prefix="stockbell-", ignore_cleanup_errors=True) as scratch:
        worker = _start(children, scratch)
        while worker.poll() is None and not (stop.is_set() or hang_up.has_come()):
            stop.wait(CHECK_SECONDS)
            templates.look()
        return _ended(worker)


def _start(children: int, scratch: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*CELERY, "--concurrency", str(children)],
        env=os.environ | {"TMPDIR": scratch},
        stdout=subprocess.DEVNULL,  # Celery's banner; logs go to stderr
        preexec_fn=_between_fork_and_exec,  # noqa: PLW1509  # we have no other thread
    )


def _ended(worker: "subprocess.Popen[bytes]") -> int:
    if worker.poll() is None:
        worker.send_signal(signal.SIGTERM)  # a second SIGTERM, if the group was signalled, does nothing
    try:
        return worker.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        log.error("worker.killed", after_seconds=PATIENCE_SECONDS)
        worker.kill()
        return worker.wait()


def _between_fork_and_exec() -> None:
    """If the supervisor is killed, the worker ends too (on Linux; elsewhere it goes on until it is stopped)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; we pass it on as SIGTERM
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

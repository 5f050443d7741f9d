"""`stockbell work`: keeps a Celery worker running. If the worker exits, for any reason, it is started again.

Whatever Redis does, a worker comes back without a human hand. Celery was seen to exit for good when Redis was in
trouble, so this process starts it again.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import structlog

from worker.processes.bootstrap import Parts
from worker.processes.startup import wait_for_database
from worker.processes.stop import Stop

if TYPE_CHECKING:
    from worker.mail.inspection import Inspection

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the worker is started again."""
STEADY_SECONDS = 60.0
"""After a worker ran for this long, the next pause is the first one again."""
PATIENCE_SECONDS = 20.0
"""How long a worker may take to end after it was asked to."""
CHECK_SECONDS = 0.2
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
    if parts.templates.has_own:
        _say_what_is_wrong(parts.inspection())
    if not wait_for_database(parts.database, stop):
        return
    children = concurrency or os.cpu_count() or 1
    pause = FIRST_PAUSE
    log.info("worker.started", children=children, relay=", ".join(map(str, parts.relays)))
    while not stop.is_set():
        started = time.monotonic()
        code = _work(children, stop)
        if stop.is_set():
            break
        pause = FIRST_PAUSE if time.monotonic() - started > STEADY_SECONDS else pause
        log.error("worker.exited", code=code, again_in_seconds=pause)
        stop.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    log.info("worker.stopped")


def _say_what_is_wrong(inspection: "Inspection") -> None:
    """Says what is wrong with a shop's own templates. What is broken holds only what uses it."""
    for each in inspection.findings:
        if each.is_fault:
            log.error("template.wrong", file=each.file, reason=each.text)
        else:
            log.warning("template.warning", file=each.file, reason=each.text)


def _work(children: int, stop: Stop) -> int:
    """Runs one Celery worker until it exits or we are stopped; returns its exit code."""
    # The files of Celery's pool are deleted with the directory, however the worker ends.
    with TemporaryDirectory(prefix="stockbell-", ignore_cleanup_errors=True) as scratch:
        return _see_through(_start(children, scratch), stop)


def _start(children: int, scratch: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*CELERY, "--concurrency", str(children)],
        env=os.environ | {"TMPDIR": scratch},
        stdout=subprocess.DEVNULL,  # Celery's banner; logs go to stderr
        preexec_fn=_between_fork_and_exec,  # noqa: PLW1509  # we have no other thread
    )


def _see_through(worker: "subprocess.Popen[bytes]", stop: Stop) -> int:
    while worker.poll() is None and not stop.is_set():
        stop.wait(CHECK_SECONDS)
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

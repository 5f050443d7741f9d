"""The Celery worker: two tasks of a few lines each, and what happens when the pool starts and ends.

The pool is prefork. Each child has one event loop, made after the fork and kept for the child's life, so that
connections to the relay stay open between tasks. `stockbell work` starts it as `worker.tasks:app`.
"""

import gc
import os
import signal
from logging import CRITICAL, WARNING, getLogger
from typing import Any
from uuid import UUID
from warnings import filterwarnings

import structlog
from celery import signals
from celery.platforms import SecurityWarning
from celery.worker.consumer import Consumer

from config import logging, settings
from worker.delivery.deliver import deliver, probe
from worker.domain import reply_rules
from worker.domain.errors import DatabaseAway
from worker.mail.sources import Sources
from worker.processes.bootstrap import Parts
from worker.processes.pool_child import Child, Lifeline
from worker.queue.bell import DELIVER, LISTS_PER_BELL, PROBE, celery_app
from worker.services.ringing import try_to_ring

log = structlog.get_logger()
app = celery_app(lambda: settings.load().redis_url)


class _Process:
    """What this process has besides Celery: the parent has the lifeline, and a child of the pool has `Child`."""

    lifeline: Lifeline
    templates: Sources
    child: Child


_process = _Process()


@app.task(name=DELIVER)
def deliver_task(lists: object = None, *_rest: object) -> None:
    """A bell rang for these waiting lists."""
    child = _process.child
    if child.run(deliver(child.line, _ids(lists))):
        _ring_all(child)


@app.task(name=PROBE)
def probe_task(*_rest: object) -> None:
    """The sweep asks whether the relay is back. If it is, bells ring for all lists that wait."""
    child = _process.child
    try:
        if child.run(probe(child.line)):
            _ring_all(child)
    except DatabaseAway as away:  # the next sweep asks again
        log.warning("probe.failed", reason=str(away))


def _ring_all(child: Child) -> None:
    """The relay takes mail again: bells ring for all lists that wait."""
    line = child.line
    try_to_ring(line.database, line.bell, policies=line.policies)


def _ids(lists: object) -> list[UUID]:
    """The ids in a message. Anybody who can write to the broker can send anything, so other messages are dropped."""
    try:
        if isinstance(lists, list) and len(lists) <= LISTS_PER_BELL:
            return list(dict.fromkeys(UUID(list_id) for list_id in lists))
    except (AttributeError, TypeError, ValueError):
        pass
    log.warning("bell.rejected", reason="not a list of up to 100 ids")
    return []


@signals.celeryd_init.connect
@signals.setup_logging.connect
def _set_up_logging(**_kwargs: Any) -> None:
    logging.configure(settings.load().log_format)
    getLogger("celery").setLevel(WARNING)  # a line for every bell helps nobody
    getLogger(Consumer.__module__).setLevel(CRITICAL)  # `queue.consumer` logs these in one line each
    # It warns of running as root with pickle. We accept JSON only.
    filterwarnings("ignore", category=SecurityWarning)


@signals.worker_init.connect
def _before_the_pool(**_kwargs: Any) -> None:
    _process.lifeline = Lifeline()
    reply_rules.shipped()  # read once for all children
    _process.templates = Parts(settings.load()).templates  # also for a child that takes the place of another later
    # These objects stay and are shared with the children. Without them the heap is small, so Python collects it often;
    # otherwise cycles left by lost connections would add up to 10 MB.
    gc.freeze()


@signals.worker_process_init.connect
def _in_the_child(**_kwargs: Any) -> None:
    _process.child = Child(Parts(settings.load(), _process.templates), _process.lifeline)


@signals.worker_ready.connect
def _ready(**_kwargs: Any) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # is for the supervisor; Celery would start itself anew, and can't
    log.info("worker.ready")


@signals.worker_shutting_down.connect
def _ending(**_kwargs: Any) -> None:
    if _process.lifeline.cut():
        os._exit(0)  # Celery has nothing left to end


@signals.worker_process_shutdown.connect
def _at_the_end_of_the_child(exitcode: int, **_kwargs: Any) -> None:
    _process.child.end(exitcode)

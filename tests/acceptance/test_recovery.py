"""Recovery from a kill, a restart, an emptied Redis: everybody is told, and a bounded number of people twice."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing

from tests.acceptance.stockbell import Stockbell, children, descendants, is_alive, told_exactly_once
from tests.polling import eventually
from tests.redis_server import RedisServer


def at_mail(program: Stockbell, number: int, action: Callable[[], object]) -> threading.Event:
    """Does something once, when the relay has taken so many mails, before the relay says so."""
    done = threading.Event()

    def on_accept(accepted: int) -> None:
        if accepted >= number and not done.is_set():
            action()
            done.set()  # only now: a thread that waits for it goes on at once

    program.relay.on_accept = on_accept
    return done


def test_a_killed_celery_worker_is_started_again(stockbell: Stockbell) -> None:
    addresses = stockbell.waiting("mug-1", 600)
    stockbell.start("listen")
    stockbell.start("schedule")
    supervisor = stockbell.start("work", "-c", "2")
    orphans: list[int] = []

    def kill_the_parent_of_the_pool() -> None:
        (celery,) = children(supervisor.pid)
        orphans.extend(descendants(celery))
        os.kill(celery, signal.SIGKILL)

    killed = at_mail(stockbell, 100, kill_the_parent_of_the_pool)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=600)
    assert killed.is_set()
    assert told_exactly_once(stockbell.mails(), addresses), "its children ended in order: nobody is told twice"
    assert "worker.exited" in stockbell.logs()
    eventually(lambda: not any(is_alive(pid) for pid in orphans), until="no child outlives its pool")


def test_a_killed_supervisor_leaves_no_process_behind(stockbell: Stockbell) -> None:
    addresses = stockbell.waiting("mug-1", 300)
    stockbell.start("listen")
    stockbell.start("schedule")
    supervisor = stockbell.start("work", "-c", "2")
    left: list[int] = []

    def kill_the_supervisor() -> None:
        left.extend(descendants(supervisor.pid))
        supervisor.kill()

    killed = at_mail(stockbell, 50, kill_the_supervisor)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    eventually(killed.is_set, 60)
    eventually(lambda: not any(is_alive(pid) for pid in left), until="the worker ends with its supervisor")
    stockbell.start("work", "-c", "2")
    stockbell.until(NOTIFICATION_SENT=300)
    assert told_exactly_once(stockbell.mails(), addresses), "it ended in order: nobody is told twice"


def test_bells_that_never_arrive_are_made_good_by_the_sweep(stockbell: Stockbell, redis_server: RedisServer) -> None:
    addresses = stockbell.waiting("mug-1", 20)
    with closing(RedisServer()) as elsewhere:
        elsewhere.start()
        stockbell.start("listen", REDIS_URL=elsewhere.url, STOCKBELL_EVENTS_URL=redis_server.url)
        stockbell.start("work", "-c", "1")
        stockbell.start("schedule")
        stockbell.publish(catalogItemId="mug-1", quantity=5)
        stockbell.until(NOTIFICATION_SENT=20)
        with elsewhere.client() as client:
            assert client.llen("stockbell:bells") == 1, "the listener did ring, where nobody hears it"
    assert told_exactly_once(stockbell.mails(), addresses)


def test_sigterm_to_every_group_under_load_ends_all_in_order(stockbell: Stockbell) -> None:
    addresses = stockbell.waiting("mug-1", 600)
    stockbell.start_all(children=2)
    due = at_mail(stockbell, 100, lambda: None)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    eventually(due.is_set, 60)
    started = [pid for process in stockbell.processes for pid in (process.pid, *descendants(process.pid))]
    for process in stockbell.processes:
        os.killpg(process.pid, signal.SIGTERM)
    assert [process.wait(60) for process in stockbell.processes] == [0, 0, 0]
    assert not any(is_alive(pid) for pid in started)
    assert "Traceback" not in stockbell.logs()
    counts = stockbell.counts()
    assert counts["PROCESSING"] == counts["FAILED"] == 0
    assert counts["NOTIFICATION_SENT"] == len(stockbell.relay.accepted), "each mail that was taken is recorded"
    stockbell.start_all(children=2)
    stockbell.until(NOTIFICATION_SENT=600)
    assert told_exactly_once(stockbell.mails(), addresses)


def test_a_relay_that_is_away_for_a_while_costs_nobody_an_attempt(stockbell: Stockbell) -> None:
    addresses = stockbell.waiting("mug-1", 50)
    stockbell.relay.decide = lambda stage, _recipient: "421 4.3.2 going down" if stage == "greeting" else None
    stockbell.start_all()
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    eventually(lambda: stockbell.breaker().state == "open", 60)
    stockbell.relay.decide = None
    stockbell.until(NOTIFICATION_SENT=50)
    assert told_exactly_once(stockbell.mails(), addresses)
    assert {request["attempts"] for request in stockbell.requests()} == {0}

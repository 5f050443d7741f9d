"""What the transport leaves in a worker's loop, however often it was created anew."""

from types import SimpleNamespace

from kombu.asynchronous import Hub

from worker.queue.bell import celery_app


def test_of_a_transport_that_was_lost_nothing_stays_in_the_loop() -> None:
    hub = Hub()
    for _ in range(3):
        connection = celery_app(lambda: "redis://127.0.0.1:1/0").connection()
        connection.transport.register_with_event_loop(SimpleNamespace(client=connection), hub)
    assert len(hub.on_tick) == 1
    assert sum(not scheduled.entry.canceled for scheduled in hub.timer.queue) == 5, "kombu's five timers, once"
    hub.close()

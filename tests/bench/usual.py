"""The usual design, as a baseline: Celery with one task for each mail, smtplib, and two updates of the row.

The event's task reads who waits and queues a task for each. That task writes PROCESSING and commits, renders the same
templates as we do, builds an EmailMessage, connects, sends, disconnects, writes NOTIFICATION_SENT and commits. There
are two children.
"""

import os
import smtplib
import sys
import time
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from functools import cache
from pathlib import Path

from celery import Celery
from sqlalchemy import Engine, TextClause, create_engine, text

from config.settings import SHIPPED_TEMPLATES
from tests.bench.processes import NotInTime, running, until
from tests.bench.servers import Relay, redis_server
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources

CHILDREN = 2
BROKER, DATABASE, PORT = "BENCH_BROKER", "BENCH_DATABASE", "BENCH_SMTP_PORT"
MOST_SECONDS = 40.0

WAITING = text(
    """SELECT r.id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    JOIN item AS i ON i.id = w.item_id WHERE i.catalog_item_id = :item AND r.status = 'RECEIVED'"""
)
REQUEST = text(
    """SELECT r.email, i.catalog_item_id, i.name, i.price, i.currency, i.image_url FROM request AS r
    JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id WHERE r.id = :id"""
)
BEGIN = text("UPDATE request SET status = 'PROCESSING' WHERE id = :id")
END = text("UPDATE request SET status = 'NOTIFICATION_SENT', notified_date = now() WHERE id = :id")
TOLD = text("SELECT count(*) FROM request WHERE status = 'NOTIFICATION_SENT'")

app = Celery("usual", broker=os.environ.get(BROKER), set_as_current=False)
app.conf.task_ignore_result = True


@cache
def _engine() -> Engine:
    return create_engine(os.environ[DATABASE])


@cache
def _renderer() -> Renderer:
    return Renderer(Sources(SHIPPED_TEMPLATES), "Stockbell")


def _restocked(item: str) -> None:
    for request_id in _waiting(_engine(), item):
        mail.delay(request_id)


def _mail(request_id: str) -> None:
    with _engine().begin() as c:
        row = c.execute(REQUEST, {"id": request_id}).one()
        c.execute(BEGIN, {"id": request_id})
    message = _message(
        row.email,
        MailContext(
            item_url=f"https://shop.example/p/{row.catalog_item_id}",
            catalog_item_id=row.catalog_item_id,
            options={},
            item_name=row.name,
            price=row.price,
            currency=row.currency,
            image_url=row.image_url,
        ),
    )
    with smtplib.SMTP("127.0.0.1", int(os.environ[PORT])) as relay:
        relay.send_message(message)
    with _engine().begin() as c:
        c.execute(END, {"id": request_id})


def _message(recipient: str, context: MailContext) -> EmailMessage:
    rendered, _ = _renderer().render(context, None)
    message = EmailMessage()
    message["From"], message["To"] = "Shop <shop@shop.example>", recipient
    message["Subject"], message["Date"] = rendered.subject, formatdate()
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    return message


restocked = app.task(name="restocked")(_restocked)
mail = app.task(name="mail")(_mail)


def measure(directory: Path, url: str, relay: Relay, rounds: int) -> list[float]:
    """Returns mails a second for each round.

    A round is one item (`hot-0`, `hot-1` ...), from the event until the last row is written.
    """
    log, engine = directory / "usual.log", create_engine(url)
    with redis_server(directory) as server:
        environment = os.environ | {BROKER: server.url, DATABASE: url, PORT: str(relay.port)}
        options = ("--pool", "prefork", "--concurrency", str(CHILDREN), "--loglevel", "INFO")
        command = [sys.executable, "-m", "celery", "--app", f"{__name__}:app", "worker", *options]
        try:
            with running(command, log=log, environment=environment):
                until(lambda: " ready." in log.read_text(), "the usual worker is up")
                sender = Celery(broker=server.url, set_as_current=False)
                return [_measure(engine, sender, f"hot-{round_}") for round_ in range(rounds)]
        finally:
            engine.dispose()


def _measure(engine: Engine, sender: Celery, item: str) -> float:
    before, mails = _count(engine, TOLD), len(_waiting(engine, item))
    began = time.monotonic()
    sender.send_task("restocked", [item])
    with suppress(NotInTime):
        until(lambda: _count(engine, TOLD) == before + mails, "all are told", MOST_SECONDS)
    return (_count(engine, TOLD) - before) / (time.monotonic() - began)


def _count(engine: Engine, question: TextClause) -> int:
    with engine.connect() as c:
        return int(c.execute(question).scalar_one())


def _waiting(engine: Engine, item: str) -> list[str]:
    with engine.connect() as c:
        return [str(row.id) for row in c.execute(WAITING, {"item": item})]

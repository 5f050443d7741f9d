"""Distance: mails a second over one connection to a relay whose replies take 20 ms.

A proxy of our own delays all data by 10 ms in either direction. NOOPs through it measure what the distance really is.
The limit is one mail in each such round trip. One worker child with one connection mails for four seconds a round:
first with the default settings, then with STOCKBELL_SMTP_PIPELINING=off, which is plain aiosmtplib.
"""

import smtplib
import time
from statistics import median

from config.settings import Settings
from tests.bench.figures import Figure, at_least, number
from tests.bench.fill import fill
from tests.bench.growth import window
from tests.bench.proxy import at_a_distance
from tests.bench.servers import Relay
from tests.bench.world import World, progress

NAME = "distance"
ROUND_TRIP = 0.02
SECONDS = 4.0, 2.0
WAITING = 5_000
NOOPS = 20
LEAST_SHARE = 0.9
OFF = "STOCKBELL_SMTP_PIPELINING"


def run(world: World) -> list[Figure]:
    with at_a_distance(world.directory, world.sink, ROUND_TRIP) as relay:
        limit = 1 / round_trip(relay)
        piped = _measure(world, relay, {})
        plain = _measure(world, relay, {OFF: "off"}) if "smtp_pipelining" in Settings.model_fields else []
    shares = [rate / limit for rate in piped]
    figures = [
        Figure(NAME, "limit: one mail a round trip", "mails/s", [limit], note=f"{1000 / limit:.1f} ms measured"),
        Figure(NAME, "one connection", "mails/s", piped),
        Figure(NAME, "one connection: share of the limit", "x", shares, at_least(LEAST_SHARE)),
    ]
    return [*figures, *([Figure(NAME, "one connection, pipelining off", "mails/s", plain)] if plain else [])]


def round_trip(relay: Relay) -> float:
    """Returns the seconds that a command and its reply take."""
    times = []
    with smtplib.SMTP("127.0.0.1", relay.port) as session:
        for _ in range(NOOPS):
            began = time.monotonic()
            session.noop()
            times.append(time.monotonic() - began)
    return median(times)


def _measure(world: World, relay: Relay, settings: dict[str, str]) -> list[float]:
    one = {"STOCKBELL_SMTP_CONNECTIONS": "1"} | settings
    with world.database() as url:
        fill(url, "hot", items=len(world.rounds), waiting=WAITING)
        with world.program(url, "listen", "work -c 1", "schedule", relay=relay, settings=one) as program:
            rates = [window(program, f"hot-{round_}", world.size_seconds(*SECONDS)) for round_ in world.rounds]
    for rate in rates:
        progress(NAME, f"{number(rate)} mails/s, {' '.join(f'{n}={v}' for n, v in one.items())}")
    return rates

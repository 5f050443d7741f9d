"""How many requests this process has answered, and how fast, by route. The only figures that are a process's own."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the durations' buckets, in seconds."""
UNKNOWN: Final = "(none)"
"""The route of what leads nowhere: paths are never told, anybody can make them up."""


class HttpCounts:
    """The counts of one process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._answers = Counter[tuple[str, int]]()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def note(self, route: str, status: int, seconds: float) -> None:
        """Notes one answer."""
        self._answers[route, status] += 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(BUCKETS) + 1)
            self._seconds[route] = 0.0
        buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[route] += seconds

    def families(self) -> Iterator[Metric]:
        """Yields the counts as metrics."""
        words = "Requests that this process has answered."
        answers = CounterMetricFamily("stockbell_http_requests", words, labels=["route", "status"])
        for (route, status), n in sorted(self._answers.items()):
            answers.add_metric([route, str(status)], n)
        yield answers
        words = "How long this process took for an answer."
        durations = HistogramMetricFamily("stockbell_http_requests_seconds", words, labels=["route"])
        bounds = [*map(str, BUCKETS), "+Inf"]
        for route, buckets in sorted(self._buckets.items()):
            amounts = zip(bounds, map(float, accumulate(buckets)), strict=True)
            durations.add_metric([route], list(amounts), self._seconds[route])
        yield durations


class Counted:
    """Notes each request in `counts`. The innermost of the middlewares: the route is known only there."""

    def __init__(self, app: ASGIApp, counts: HttpCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, mounted_at, begun = 500, scope.get("root_path", ""), time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._counts.note(_route(scope, mounted_at), status, time.monotonic() - begun)


def _route(scope: Scope, mounted_at: str) -> str:
    """Returns the pattern of the route that was taken. Starlette's own routes do not say that it was them."""
    mount = scope.get("root_path", "").removeprefix(mounted_at)
    route = scope.get("route")
    if route is None and (endpoint := scope.get("endpoint")):
        route = next((each for each in scope["app"].routes if getattr(each, "endpoint", None) is endpoint), None)
    return f"{mount}{route.path_format}" if route else mount or UNKNOWN

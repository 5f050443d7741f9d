"""Puts the web process together: which routes there are, what is around them, and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from typing import Final, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from worker.web import (
    api_page,
    confirm,
    confirmation_mails,
    connectors,
    errors,
    events_intake,
    guard,
    health,
    jwks,
    metrics,
    middleware,
    openapi,
    pages,
    provider_hooks,
    unsubscribe,
    widget,
    wix,
    wix_requests,
)
from worker.web.access import Access
from worker.web.context import Context
from worker.web.http_counts import Counted, HttpCounts
from worker.web.peers import Peers
from worker.web.telling import Teller


class Part(StrEnum):
    """What a web process can serve: `--serve`."""

    API = "api"
    """Wix's API, sign-up and events, for shops."""
    UNSUBSCRIBE = "unsubscribe"
    """What the links in mails lead to, for customers."""
    HOOKS = "hooks"
    """Calls by providers and shop systems; and what we tell others."""
    METRICS = "metrics"
    """Figures for Prometheus."""
    ADMIN = "admin"
    """The pages for admins."""


USUAL: Final = frozenset(Part) - {Part.ADMIN}
"""What is served unless something else is said."""
PRIVATE: Final = frozenset({Part.METRICS, Part.ADMIN})
"""A process that serves only these is not for the world: its metrics need no key."""


class Background(Protocol):
    """What runs beside the routes until `Context.stopping` is set. It must not raise."""

    async def __call__(self) -> None:
        """Runs until the process ends."""


@dataclass(slots=True)
class Served:
    """What one part brings."""

    routers: Sequence[APIRouter] = ()
    background: Sequence[Background] = field(default_factory=list)
    mounts: Mapping[str, ASGIApp] = field(default_factory=dict)
    """applications of their own, by their paths"""
    around: Sequence[Callable[[ASGIApp], ASGIApp]] = ()
    """what is around everything, outside of CORS"""


def create_app(context: Context, serve: Collection[Part] = USUAL) -> FastAPI:
    """Returns the app with these parts. Its lifespan runs what is in the background. Raises BadSetting."""
    access = Access(context)
    served = [_PARTS[part](context, access) for part in Part if part in serve and part in _PARTS]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(run()) for each in served for run in each.background]
        try:
            yield
        finally:
            context.stopping.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="Stockbell",
        lifespan=lifespan,
        openapi_url="/openapi.json" if Part.API in serve else None,
        docs_url=None,  # it would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS it would send the key to http
        max_body_size=middleware.MAX_BODY,
    )
    errors.answer_errors(app)
    if Part.METRICS in serve:
        counts = HttpCounts()
        app.add_middleware(Counted, counts=counts)
        app.include_router(metrics.routes(context, access, counts, is_open=frozenset(serve) <= PRIVATE))
    middleware.add_to(app)
    for each in served:
        for around in each.around:
            app.add_middleware(around)
    if proxies := context.parts.settings.trusted_proxies:
        app.add_middleware(Peers, proxies)
    for each in served:
        for router in each.routers:
            app.include_router(router)
        for path, mounted in each.mounts.items():
            app.mount(path, mounted)
    app.include_router(health.routes(context))
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    openapi.describe(app, version("stockbell"))
    if Part.API in serve:
        app.include_router(api_page.routes(context, app))
        app.router.routes.insert(0, wix_requests.busiest(context, access))
    return app


class _Bringer(Protocol):
    def __call__(self, context: Context, access: Access) -> Served: ...


def _api(context: Context, access: Access) -> Served:
    mails = confirmation_mails.sender_of(context)
    routers = [
        *wix.routes(context, access),
        guard.routes(context, access),
        widget.routes(context, access),
        events_intake.routes(context, access),
    ]
    return Served(routers, [mails] if mails else [])


def _unsubscribe(context: Context, access: Access) -> Served:
    return Served([unsubscribe.routes(context), confirm.routes(context)])


def _hooks(context: Context, access: Access) -> Served:
    routers = [connectors.routes(context), provider_hooks.routes(context), jwks.routes(context)]
    return Served(routers, [Teller(context)])


def _admin(context: Context, access: Access) -> Served:
    from worker.web.admin import app as admin  # a process that serves customers needs none of it
    from worker.web.admin.doorway import Doorway

    office = admin.office_of(context)
    return Served(
        [admin.door(office)],
        [office.actor],
        mounts={"/admin": admin.create_app(office)},
        around=[partial(Doorway, office=office)],
    )


_PARTS: Final[Mapping[Part, _Bringer]] = {
    Part.API: _api,
    Part.UNSUBSCRIBE: _unsubscribe,
    Part.HOOKS: _hooks,
    Part.ADMIN: _admin,
}

"""The page "System": what runs, what it is set to, and what `doctor` says of it."""

import asyncio
import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from worker.domain.admins import Visitor
from worker.processes.bootstrap import Parts
from worker.services import system
from worker.services.doctor import Finding, examine
from worker.services.system import InRedis
from worker.stream.event_stream import Stream
from worker.web.admin.office import Office

DOCTOR_SECONDS: Final = 30.0
"""So long the page waits for the checks. Each relay may take 5 s."""
COMMANDS: Final = ("stockbell doctor", "stockbell status", "stockbell --version")


@dataclass(slots=True)
class _Checks:
    """The findings of one examination, which goes on in a thread until it is done or given up."""

    findings: list[Finding] = field(default_factory=list)
    given_up: threading.Event = field(default_factory=threading.Event)
    is_late: bool = False

    def run(self, parts: Parts) -> None:
        """Examines everything, with parts of its own."""
        with closing(parts.database), closing(parts.stream):
            for finding in examine(parts.installation):
                self.findings.append(finding)
                if self.given_up.is_set():
                    return


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    viewer, admin = Depends(office.gate.viewer), Depends(office.gate.admin)
    context, frame = office.context, office.frame
    settings = context.parts.settings
    examining = asyncio.Lock()

    def asked() -> InRedis:
        with closing(Stream(settings.events_url, settings.event_stream)) as stream:
            return system.ask(stream)

    async def shown(request: Request, visitor: Visitor, status: int = 200, **values: Any) -> HTMLResponse:
        redis, database = await asyncio.gather(
            context.run(asked), context.read(system.read, settings.lease_seconds), return_exceptions=False
        )
        usual: dict[str, Any] = {"checks": None, "busy": False}
        return frame.show(
            request,
            visitor,
            "system.html",
            title="System",
            nav="system",
            command=COMMANDS,
            status=status,
            redis=redis,
            database=database,
            where=context.database.where,
            processes=system.processes(database, redis, sweep_seconds=settings.sweep_seconds),
            versions=system.Versions(),
            relays=[str(relay) for relay in settings.smtp or ()],
            settings=context.parts.shown_settings,
            wants_bounces=settings.bounce_imap is not None,
            doctor_seconds=int(DOCTOR_SECONDS),
            **{**usual, **values},
        )

    @router.get("/system")
    async def show(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        return await shown(request, visitor)

    @router.post("/system/doctor")
    async def doctor(request: Request, visitor: Annotated[Visitor, admin]) -> HTMLResponse:
        if examining.locked():
            return await shown(request, visitor, 409, busy=True)
        async with examining:
            checks = _Checks()
            try:
                await asyncio.wait_for(context.run(checks.run, context.parts.anew()), DOCTOR_SECONDS)
            except TimeoutError:
                checks.is_late = True
            finally:
                checks.given_up.set()
        return await shown(request, visitor, checks=checks)

    return router

"""The page "Failed": what has failed by code and age, by the relay's words, by domain; and what to do about it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from worker.domain.admins import Visitor
from worker.domain.catalog import options_from_text
from worker.models import Status
from worker.services import failing
from worker.services.selection import CODES, Selection
from worker.store.failures import MOST_GROUPED, MOST_LOOKED_AT
from worker.web.admin.office import Office

FIELDS: Final = ("code", "words", "domain", "item", "app", "option", "since", "until", "locale", "email", "contact")
AGES: Final = (("hour", 3600), ("day", 86_400), ("week", 604_800))


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()

    @router.get("/failed")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> HTMLResponse:
        given = [(name, text) for name, text in request.query_params.multi_items() if name in FIELDS]
        selection, errors = Selection.read(given)
        before = _key(request.query_params.get("before", ""))
        found = None if errors else await office.context.read(failing.look, selection, before)
        selection = replace(selection, status=Status.FAILED)
        after = found.rows[-1] if found and found.has_more else None
        return office.frame.show(
            request,
            visitor,
            "failed.html",
            title="Failed",
            nav="failed",
            command=[selection.command("list"), f"{selection.command('retry')} --dry-run"] if not errors else (),
            status=400 if errors else 200,
            found=found,
            errors=errors,
            given=_given(given),
            is_filtered=not selection.is_everything,
            is_first=before is None,
            pairs=selection.as_pairs(),
            link=partial(_link, selection, f"{office.frame.here}/failed"),
            options_of=options_from_text,
            after=f"{after.failed_at.isoformat()}_{after.id}" if after and after.failed_at else "",
            codes=[("", "Any"), *((code, code) for code in CODES)],
            further=(found.looked_until + timedelta(microseconds=1)).isoformat()
            if found and found.looked_until
            else "",
            most_grouped=MOST_GROUPED,
            most_looked_at=MOST_LOOKED_AT,
            ages=_since(datetime.now(UTC)),
        )

    return router


def _link(selection: Selection, path: str, **changed: str) -> str:
    """The page with the selection, but for some fields."""
    pairs = [(name, text) for name, text in selection.as_pairs() if name != "status" and name not in changed]
    return f"{path}?{urlencode([*pairs, *changed.items()])}"


def _given(pairs: list[tuple[str, str]]) -> Mapping[str, str]:
    """What was asked for, to be shown beside what is wrong with it."""
    return dict.fromkeys(FIELDS, "") | dict(pairs)


def _since(now: datetime) -> Mapping[str, str]:
    ago = {name: datetime.fromtimestamp(int(now.timestamp()) - seconds, UTC) for name, seconds in AGES}
    return {name: at.strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in ago.items()}


def _key(text: str) -> tuple[datetime, UUID] | None:
    """Reads after which request the page begins. What can't be read is the beginning."""
    at, _, id_ = text.partition("_")
    try:
        return datetime.fromisoformat(at).astimezone(UTC), UUID(id_)
    except (ValueError, OverflowError):
        return None

"""The page "Keys": keys for the HTTP API, and for which catalogs sign-ups are taken."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.domain.api_keys import NewKey, Scope, checked_hosts, checked_name, checked_origins
from worker.domain.errors import Refused
from worker.services import keys as services
from worker.store import collections, keys
from worker.web.admin.office import Office

Text = Annotated[str, Form()]

_DONE: Final = {
    "revoked": "The key is revoked. Whoever still uses it is refused, a second later at most.",
    "started": "New requests are taken again.",
    "stopped": "No more new requests are taken. Mails to those who wait already go on.",
}
_PLAIN: Final = {"NAME must": "It must", "--origin must": "Each must", "--item-url-host must": "Each must"}
_OPTIONS: Final = {"--origin": "an origin", "--item-url-host is": "A host is", "(--scope create)": ""}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form for a new key, as it was filled in."""

    name: str = ""
    scope: str = Scope.CREATE.value
    origins: str = ""
    hosts: str = ""


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context, frame = office.context, office.frame
    catalogs = services.catalogs(context.parts.settings.catalogs)
    Admin = Annotated[Visitor, Depends(office.gate.admin)]  # noqa: N806  # a type

    async def page(
        request: Request,
        visitor: Visitor,
        *,
        wanted: Wanted | None = None,
        errors: Mapping[str, str] | None = None,
        made: NewKey | None = None,
    ) -> Response:
        rows = await context.read(keys.each)
        stopped = await context.read(collections.stopped)
        found = [
            {"row": row, "origins": json.loads(row.origins), "hosts": json.loads(row.url_hosts)}
            for row in sorted(rows, key=lambda row: row.revoked_at is not None)
        ]
        return frame.show(
            request,
            visitor,
            "keys.html",
            title="Keys",
            nav="keys",
            status=400 if errors else 200,
            command=_commands(wanted),
            keys=found,
            has_publishable=any(row.scope == Scope.CREATE and not row.revoked_at for row in rows),
            catalogs=[(each, each not in stopped) for each in catalogs],
            wanted=wanted if errors and wanted else Wanted(),
            errors=errors or {},
            made=made,
            scopes=_SCOPES,
            done=_DONE.get(request.query_params.get("done", ""), "") if request.method == "GET" else "",
        )

    @router.get("/keys")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        return await page(request, visitor)

    @router.post("/keys")
    async def create(
        request: Request, visitor: Admin, name: Text = "", scope: Text = "", origins: Text = "", hosts: Text = ""
    ) -> Response:
        """The answer shows the key, once. It is not redirected to: the key would have to be in a URL, or kept."""
        wanted = Wanted(name, scope, origins, hosts)
        values, errors = _checked(wanted)
        if errors:
            return await page(request, visitor, wanted=wanted, errors=errors)
        made = await context.write(
            services.create, visitor.name, values["name"], Scope(scope), values["origins"], values["hosts"]
        )
        return await page(request, visitor, wanted=wanted, made=made)

    @router.post("/keys/revoke")
    async def revoke(visitor: Admin, id: Text = "") -> Response:
        if "\0" in id or not await context.write(services.revoke, visitor.name, id):
            raise Refused("there is no such key, or it was revoked before")
        return RedirectResponse(f"{frame.here}/keys?done=revoked", 303)

    async def collect(visitor: Visitor, catalog: str, *, on: bool) -> Response:
        if catalog not in catalogs:
            raise Refused("this catalog is not in STOCKBELL_CATALOGS")
        await context.write(services.collect, visitor.name, catalog, on=on)
        return RedirectResponse(f"{frame.here}/keys?done={'started' if on else 'stopped'}", 303)

    @router.post("/keys/start")
    async def start(visitor: Admin, catalog: Text = "") -> Response:
        return await collect(visitor, catalog, on=True)

    @router.post("/keys/stop")
    async def stop(visitor: Admin, catalog: Text = "") -> Response:
        return await collect(visitor, catalog, on=False)

    return router


_SCOPES: Final = (
    (Scope.CREATE.value, "create: sign up, from a page (publishable)"),
    (Scope.READ.value, "read: get, query and count"),
    (Scope.ADMIN.value, "admin: everything"),
)


def _checked(wanted: Wanted) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the values of the form, and what is wrong with it by field."""
    if wanted.scope not in set(Scope):
        return {}, {"scope": "Choose one of them."}
    scope = Scope(wanted.scope)
    checks: Mapping[str, Callable[[], object]] = {
        "name": lambda: checked_name(wanted.name),
        "origins": lambda: checked_origins(wanted.origins.split(), scope),
        "hosts": lambda: checked_hosts(wanted.hosts.split(), scope),
    }
    values: dict[str, Any] = {}
    errors = {}
    for field, check in checks.items():
        try:
            values[field] = check()
        except ValueError as error:
            errors[field] = _plain(str(error))
    return values, errors


def _plain(text: str) -> str:
    """Returns an error of the command line as it reads beside a field."""
    for ours, plain in (*_PLAIN.items(), *_OPTIONS.items()):
        text = text.replace(ours, plain)
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}."


def _commands(wanted: Wanted | None) -> list[str]:
    if wanted is None or not wanted.name.strip():
        first = "stockbell keys create NAME --scope create --origin https://shop.example"
        return ["stockbell keys list", first, "stockbell keys collecting"]
    options = [f"--origin {shlex.quote(each)}" for each in wanted.origins.split()]
    options += [f"--item-url-host {shlex.quote(each)}" for each in wanted.hosts.split()]
    scope = shlex.quote(wanted.scope)
    return [" ".join(["stockbell keys create", shlex.quote(wanted.name.strip()), "--scope", scope, *options])]

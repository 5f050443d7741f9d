"""The page of one item: what happens next, facts, policies, stock and seats, who waits and why, past restocks.

And what if N pieces come back.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from worker.domain.admins import Visitor
from worker.domain.catalog import (
    WIX_STORES,
    CatalogReference,
    Item,
    Options,
    catalog_reference,
    checked_url,
    compared_options,
    item_of,
    options_from_text,
    options_text,
)
from worker.domain.difference import options_words
from worker.domain.errors import BadReference, BadUrl, Refused
from worker.services import item_policies, items
from worker.services.ringing import try_to_ring
from worker.store import actions, pauses, requests
from worker.store.database import Connection
from worker.store.items import candidates
from worker.web.admin.frame import item_path
from worker.web.admin.office import Office

VERBS: Final = frozenset({"pause", "resume"})
SET: Final = "set"
"""The verb of the form with the item's own policies. What is left empty there is as the shop has it."""
POLICIES: Final = ("min_quantity", "per_unit", "wave_seconds", "settle_seconds")
MOST_CHOICES: Final = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks by the form "What if N come back?"."""

    n: str = ""
    options: str = ""
    """as JSON"""
    reference: CatalogReference | None = None
    pieces: int | None = None
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody gave in the form with the item's own policies, and what is wrong with it."""

    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context, frame = office.context, office.frame

    async def page(request: Request, visitor: Visitor, which: list[Item], given: Given | None = None) -> Response:
        shown = await context.read(items.show, which, context.parts.policies)
        asked = _asked(request.query_params, shown.item)
        guess = None
        if asked.reference and asked.pieces is not None:
            policies = context.parts.policies
            guess = await context.sql(partial(items.what_if, context.database, asked.reference, asked.pieces, policies))
        return frame.show(
            request,
            visitor,
            "item.html",
            title=shown.row.name or shown.item.catalog_item_id,
            nav="demand",
            command=_commands(shown.item, asked),
            status=400 if asked.errors or given else 200,
            shown=shown,
            given=given or Given({each.name: each.plain for each in shown.policy_lines}),
            asked=asked,
            guess=guess,
            here_item=frame.here + item_path(shown.item.app_id, shown.item.catalog_item_id),
            names=items.REASONS,
            words=options_words,
            options_of=options_from_text,
            choices=_choices(shown),
            image=_link(shown.row.image_url),
            url=_link(shown.row.url),
            done=DONE.get(request.query_params.get("done", "")),
            as_text=options_text,
            item_fields=urlencode({"item": shown.item.catalog_item_id, "app": shown.item.app_id}),
        )

    async def act(request: Request, visitor: Visitor, which: list[Item]) -> Response:
        form = await request.form()
        verb, text = form.get("verb"), form.get("option")
        if verb == SET:
            return await set_policies(request, visitor, which, form)
        if verb not in VERBS:
            raise Refused("there is no such button")
        if not (isinstance(text, str) and text.strip()):
            raise Refused("the form does not say which variant: {} is the whole item")
        shown = await context.read(items.show, which, context.parts.policies)
        try:
            reference = _reference(shown.item, text)
        except BadReference as bad:
            raise Refused(str(bad)) from None
        changed, lists = await context.write(_changed, str(verb), reference, visitor.name)
        if lists:
            await context.run(try_to_ring, context.database, context.parts.bell, lists)
        done = str(verb) if changed else f"no-{verb}"
        path = item_path(shown.item.app_id, shown.item.catalog_item_id, done=done)
        return RedirectResponse(f"{frame.here}{path}", 303)

    async def set_policies(request: Request, visitor: Visitor, which: list[Item], form: FormData) -> Response:
        texts = {name: text if isinstance(text := form.get(name), str) else "" for name in POLICIES}
        wish, errors = item_policies.read(texts, is_reset=True)
        if errors:
            return await page(request, visitor, which, Given(texts, errors))
        policies, bell = context.parts.policies, context.parts.bell
        item = (await context.read(items.show, which, policies)).item
        change = partial(item_policies.change, context.database, bell, item, wish, policies, visitor.name)
        done = SET if (await context.sql(change)).is_changed else f"no-{SET}"
        return RedirectResponse(f"{frame.here}{item_path(item.app_id, item.catalog_item_id, done=done)}#policies", 303)

    @router.get("/item")
    async def show_named(
        request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)], app: str = "", item: str = ""
    ) -> Response:
        return await page(request, visitor, _items([(app, item)]))

    @router.post("/item")
    async def act_named(
        request: Request, visitor: Annotated[Visitor, Depends(office.gate.admin)], app: str = "", item: str = ""
    ) -> Response:
        return await act(request, visitor, _items([(app, item)]))

    @router.get("/items/{path:path}")
    async def show(request: Request, path: str, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        return await page(request, visitor, _items((each.app_id, each.catalog_item_id) for each in candidates(path)))

    @router.post("/items/{path:path}")
    async def do(request: Request, path: str, visitor: Annotated[Visitor, Depends(office.gate.admin)]) -> Response:
        return await act(request, visitor, _items((each.app_id, each.catalog_item_id) for each in candidates(path)))

    return router


DONE: Final[Mapping[str, str]] = {
    "pause": "Paused. Nobody is told until it is resumed, and all go on waiting.",
    "no-pause": "It was paused already.",
    "resume": "Resumed. Whoever is due is told now.",
    "no-resume": "It was not paused by itself.",
    "set": "Set. The policies below hold from now on.",
    "no-set": "It had these policies already.",
}


def _items(pairs: Any) -> list[Item]:
    found = []
    for app, item in pairs:
        try:
            found.append(item_of(item, app or None))
        except BadReference:
            continue
    return found


def _changed(c: Connection, verb: str, reference: CatalogReference, who: str) -> tuple[bool, list[Any]]:
    """Pauses or resumes, and notes it. Returns whether that has changed anything, and for which lists bells ring."""
    act = pauses.pause if verb == "pause" else pauses.resume
    if not act(c, reference):
        return False, []
    item = reference.item
    about = {"item": item.catalog_item_id, "app": item.app_id, "option": [f"{k}={v}" for k, v in reference.spelled]}
    actions.note(c, who, verb, about, command=_line(["stockbell", verb], item, reference.spelled, "--item"), changed=1)
    return True, requests.lists_of(c, item, reference.options) if verb == "resume" else []


def _link(url: str | None) -> str | None:
    """Returns a URL that somebody may follow; None for what a browser would take for anything else."""
    try:
        return checked_url(url) if url else None
    except BadUrl:
        return None


def _reference(item: Item, text: str) -> CatalogReference:
    try:
        return catalog_reference(item, json.loads(text) if text.strip() else None)
    except (ValueError, RecursionError):
        raise BadReference("the options can't be read") from None


def _asked(given: Mapping[str, str], item: Item) -> Asked:
    n, options = given.get("n", "").strip(), given.get("option", "").strip()
    if not n:
        return Asked()
    errors: dict[str, str] = {}
    pieces = int(n) if n.isascii() and n.isdecimal() and len(n) <= 10 else None
    if pieces is None or pieces > items.LARGEST:
        errors["n"] = "it must be a whole number, like 5"
    reference = None
    try:
        reference = _reference(item, options)
    except BadReference as bad:
        errors["option"] = str(bad)
    return Asked(n, options, None if errors else reference, None if errors else pieces, errors)


def _choices(shown: items.Shown) -> list[tuple[str, str]]:
    """What may come back: the whole item, and each variant that an event or a request has named."""
    known: dict[Options, Options] = {}
    for options in [*(options_from_text(row.options) for row in shown.stock), *(each.options for each in shown.lists)]:
        if options:
            known.setdefault(compared_options(options_text(options)), options)
    variants = [(options_text(options), options_words(options)) for options in known.values()]
    return [("{}", "the whole item"), *sorted(variants, key=lambda choice: choice[1])[:MOST_CHOICES]]


def _commands(item: Item, asked: Asked) -> list[str]:
    show = _line(["stockbell", "items", "show"], item, (), "")
    if asked.reference and asked.pieces is not None:
        guess = ["stockbell", "items", "show"]
        return [_line(guess, item, asked.reference.spelled, "", ["--what-if", str(asked.pieces)])]
    per_unit = _line(["stockbell", "items", "set"], item, (), "", ["--per-unit", "2"])
    return [show, f"{show} --what-if 5", per_unit, _line(["stockbell", "pause"], item, (), "--item")]


def _line(words: list[str], item: Item, options: Options, flag: str, more: Any = ()) -> str:
    id_ = item.catalog_item_id
    named = [f"{flag}={id_}"] if flag and id_.startswith("-") else [flag, id_] if flag else []
    app = [] if item.app_id == WIX_STORES else [f"--app-id={item.app_id}"]
    chosen = [f"--option={name}={value}" for name, value in options]
    last = [] if flag else ["--", id_] if id_.startswith("-") else []
    first = [] if flag or last else [id_]
    return shlex.join([*words, *first, *named, *app, *chosen, *more, *last])

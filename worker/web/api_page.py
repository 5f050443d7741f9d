"""The page `/docs`: the OpenAPI document for people. It needs no script, and loads nothing from other hosts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse

from worker.web.context import Context

_ORDER: Final = ("get", "post", "put", "delete")
_DEPTH: Final = 6


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    anchor: str
    summary: str
    needs_key: bool
    parameters: Sequence[Mapping[str, Any]]
    body: Sequence["Line"]
    answers: Sequence["Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What may be answered."""

    status: str
    meaning: str
    shape: Sequence["Line"]


@dataclass(frozen=True, slots=True)
class Line:
    """One field of a body."""

    depth: int
    name: str
    kind: str
    is_required: bool
    about: str


def routes(context: Context, app: FastAPI) -> APIRouter:
    """Returns the route."""
    router = APIRouter(tags=["health"])

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Shows the document of this process."""
        document = app.openapi()
        about = {"version": document["info"]["version"], "groups": _groups(document)}
        return context.pages.show("docs.html", "docs", None, **about)

    return router


def _groups(document: Mapping[str, Any]) -> Mapping[str, list[Operation]]:
    groups: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method in _ORDER:
            if method in methods:
                tag = (methods[method].get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append(_operation(document, method, path, methods[method]))
    return groups


def _operation(document: Mapping[str, Any], method: str, path: str, about: Mapping[str, Any]) -> Operation:
    body = about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = [
        Answer(status, answer.get("description", ""), _shape(document, answer) if status == "200" else ())
        for status, answer in about["responses"].items()
    ]
    return Operation(
        method.upper(),
        path,
        about["operationId"],
        about.get("description", ""),
        "security" in about,
        about.get("parameters", ()),
        _lines(document, body) if body else (),
        answers,
    )


def _shape(document: Mapping[str, Any], answer: Mapping[str, Any]) -> Sequence[Line]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    return _lines(document, schema) if schema else ()


def _lines(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> list[Line]:
    schema = _resolved(document, schema)
    if "items" in schema:
        return _lines(document, schema["items"], depth)
    lines: list[Line] = []
    for name, raw in schema.get("properties", {}).items():
        field = _resolved(document, raw)
        example = next(iter(field.get("examples", ())), None)
        about = field.get("description", "") if field.get("type") != "object" else ""
        shown = f"{about} Example: {example}".strip() if example is not None else about
        lines.append(Line(depth, name, _kind(field), name in schema.get("required", ()), shown))
        if depth < _DEPTH:
            lines += _lines(document, field, depth + 1)
    return lines


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows a reference, and takes the one alternative that is not null."""
    if reference := schema.get("$ref"):
        found: Mapping[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
        return _resolved(document, found)
    alternatives = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if alternatives:
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
        return {**_resolved(document, alternatives[0]), **rest}
    return schema


def _kind(field: Mapping[str, Any]) -> str:
    kinds = field.get("type", "any")
    words: Mapping[str, str] = {"string": "text", "array": "list", "integer": "number", "boolean": "true or false"}
    return " or ".join(words.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))

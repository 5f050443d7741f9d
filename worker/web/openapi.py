"""The OpenAPI document: errors in our shapes, keys as a security scheme, and bodies that handlers read themselves.

Routes declare what they answer: `responses=errors(400, 404)`. What every route may answer is added here.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Responses = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses`."""


class Described(BaseModel):
    """A model that only describes: handlers check what comes in themselves, and name all that is wrong."""

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True)


class ApplicationError(Described):
    """What went wrong, for programs and for people."""

    code: str = Field(examples=["NOT_FOUND"])
    description: str = Field(examples=["there is no such request"])
    data: dict[str, Any] = {}


class FieldViolation(Described):
    """What is wrong with one field of the request."""

    field: str = Field(examples=["request.email"])
    description: str = Field(examples=["is not a valid address"])
    violated_rule: str = Field(examples=["FORMAT"])
    rule_name: str = Field("", examples=["EMAIL"])
    data: dict[str, Any] = {}


class FieldErrors(Described):
    """All fields that are wrong."""

    field_violations: list[FieldViolation]


class ErrorDetails(Described):
    """One of the two."""

    application_error: ApplicationError | None = None
    validation_error: FieldErrors | None = None


class ErrorReply(Described):
    """An error, in the shape of Wix ("About Errors")."""

    message: str = Field(examples=["there is no such request"])
    details: ErrorDetails


_MEANINGS: Final = {
    400: "Fields are wrong, each with its own reason (`validationError`), or the body can't be read.",
    401: "There is no key, or it is not known: `UNAUTHENTICATED`.",
    403: "The key may not do this, or not from this page: `PERMISSION_DENIED`.",
    404: "There is no such thing: `NOT_FOUND`.",
    409: "It is there already.",
    413: "The body is too large: `PAYLOAD_TOO_LARGE`.",
    415: "The body is not JSON: `UNSUPPORTED_MEDIA_TYPE`.",
    428: "Something does not allow it now.",
    429: "Too many calls: `RATE_LIMITED`. The header Retry-After says how many seconds to wait.",
    500: "A fault of ours: `INTERNAL`.",
    503: "The database or Redis is away: `DATABASE_AWAY`, `REDIS_AWAY`. Try again after Retry-After.",
}

# Not as `model`: FastAPI would build a validator for each of them, a tenth of a second for all routes.
_SHAPE: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorReply"}}}
ERRORS: Final[Responses] = {
    status: {"description": meaning, "content": _SHAPE} for status, meaning in _MEANINGS.items()
}
"""The errors that routes answer, by status."""

_EVERYWHERE: Final = (400, 401, 403, 429, 500, 503)
"""What every route with a key may answer."""
_WITH_BODY: Final = (413, 415)


def replies(model: type[BaseModel], others: Responses) -> Responses:
    """Returns the responses of a route that answers 200 with this model, and these errors."""
    return {200: {"model": model}, **others}


def errors(*statuses: int, says: Mapping[int, str] | None = None, with_key: bool = True) -> Responses:
    """Returns these errors, and with a key those that every such route may answer.

    `says` has statuses that mean something of their own here, in Markdown.
    """
    own = says or {}
    chosen = {*statuses, *own, *(_EVERYWHERE if with_key else ())}
    return {status: {**ERRORS[status], "description": own.get(status, _MEANINGS[status])} for status in sorted(chosen)}


def body_errors(*statuses: int, says: Mapping[int, str] | None = None) -> Responses:
    """Returns what `errors` does, for a route with a key that reads a body of JSON."""
    return errors(*_WITH_BODY, *statuses, says=says)


def json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Returns `openapi_extra` for a handler that reads a body of JSON itself."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema_of(model)}}}}


@cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the JSON Schema of a model without references, so that it can stand anywhere. Callers don't change it."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    found: dict[str, Any] = _inlined(schema, definitions)
    return found


def _inlined(part: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    if reference := part.get("$ref"):
        rest = {name: value for name, value in part.items() if name != "$ref"}
        return {**_inlined(definitions[reference.rpartition("/")[2]], definitions), **rest}
    return {name: _inlined(value, definitions) for name, value in part.items()}


_ABOUT: Final = (
    "Wix's Back In Stock API, and what Stockbell adds. All paths of Wix's API also work with "
    "`/back-in-stock-service` before them. `docs/api.md` is the guide."
)


def describe(app: FastAPI, version: str) -> None:
    """Makes the app describe itself as it really answers."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=version, description=_ABOUT, routes=app.routes)
            for operation in _operations(found):
                _correct(operation)
            _finish(found)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation says


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _correct(operation: dict[str, Any]) -> None:
    """Replaces FastAPI's own 422, which `errors` never answers."""
    if operation["responses"].pop("422", None):
        operation["responses"].setdefault("400", ERRORS[400])
    if "requestBody" in operation:
        operation["responses"].setdefault("413", ERRORS[413])


def _finish(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schema = ErrorReply.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {}) | {"ErrorReply": schema}

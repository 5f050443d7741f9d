"""Errors of the API, in the shapes of Wix ("About Errors"): an application error, or violations of single fields.

Every error has a code that is text: Wix's SDK would take the status code's number for it otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from worker.domain.errors import DatabaseAway, RedisAway, SchemaOutdated

RETRY_SECONDS: Final = 5
"""What callers are told to wait while the database or Redis is away."""

_CODES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
}

log = structlog.get_logger()


class ApiError(Exception):
    """Ends a request with this status, code and description. `data` is for programs."""

    def __init__(
        self,
        status: int,
        code: str,
        description: str,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description
        self.data = data
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field, named by its path in the request: `request.email`."""

    path: str
    description: str
    rule: str = "FORMAT"
    """FORMAT, REQUIRED_FIELD, MIN_LENGTH, MAX_LENGTH, MAX_SIZE or OTHER"""
    rule_name: str | None = None
    """what exactly, where the rule does not say it: EMAIL, GUID, DECIMAL_GTE"""
    data: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Returns it with Wix's names."""
        named = {"ruleName": self.rule_name} if self.rule_name else {}
        data = {"data": dict(self.data)} if self.data else {}
        return {"field": self.path, "description": self.description, "violatedRule": self.rule, **named, **data}


class Invalid(Exception):
    """Ends a request with 400 and all violations at once."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{each.path} {each.description}" for each in violations))
        self.violations = violations


def application_error(
    status: int,
    code: str,
    description: str,
    data: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Returns an application error."""
    error: dict[str, Any] = {"code": code, "description": description}
    if data:
        error["data"] = dict(data)
    body = {"message": description, "details": {"applicationError": error}}
    return JSONResponse(body, status, headers=dict(headers or {}))


def validation_error(violations: Sequence[Violation]) -> JSONResponse:
    """Returns the error for fields that are wrong: 400."""
    found = [violation.as_json() for violation in violations]
    return JSONResponse(
        {"message": "INVALID_ARGUMENT", "details": {"validationError": {"fieldViolations": found}}}, 400
    )


def answer_errors(app: FastAPI) -> None:
    """Makes the app answer all errors in these shapes."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(Invalid, _on_invalid)
    app.add_exception_handler(RequestValidationError, _on_unreadable)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(DatabaseAway, _on_database_away)
    app.add_exception_handler(SchemaOutdated, _on_database_away)
    app.add_exception_handler(RedisAway, _on_redis_away)
    app.add_exception_handler(Exception, _on_fault)


# Starlette types handlers as taking any exception; each gets the one that it was added for.


async def _on_api_error(_request: Request, error: Any) -> JSONResponse:
    return application_error(error.status, error.code, error.description, error.data, error.headers)


async def _on_invalid(_request: Request, error: Any) -> JSONResponse:
    return validation_error(error.violations)


async def _on_unreadable(_request: Request, error: Any) -> JSONResponse:
    """What FastAPI itself refuses: a parameter or a body that is not as declared."""
    return validation_error([_violation(each) for each in error.errors()])


def _violation(error: Mapping[str, Any]) -> Violation:
    place = [str(part) for part in error["loc"][1:]] or [str(error["loc"][0])]
    rule = "REQUIRED_FIELD" if error["type"] == "missing" else "FORMAT"
    return Violation(".".join(place), error["msg"][:1].lower() + error["msg"][1:], rule)


async def _on_http(_request: Request, error: Any) -> JSONResponse:
    code = _CODES.get(error.status_code, "INVALID_ARGUMENT" if error.status_code < 500 else "INTERNAL")
    return application_error(error.status_code, code, str(error.detail), headers=error.headers)


async def _on_disconnect(_request: Request, _error: Any) -> JSONResponse:
    """Nobody reads this. It was no fault of ours."""
    return application_error(400, _CODES[400], "the body did not come to its end")


async def _on_database_away(_request: Request, error: Any) -> JSONResponse:
    log.warning("web.database_away", reason=str(error))
    away = {"Retry-After": str(RETRY_SECONDS)}
    return application_error(503, "DATABASE_AWAY", "the database can't be reached now", headers=away)


async def _on_redis_away(_request: Request, error: Any) -> JSONResponse:
    log.warning("web.redis_away", reason=str(error))
    away = {"Retry-After": str(RETRY_SECONDS)}
    return application_error(503, "REDIS_AWAY", "Redis can't be reached now", headers=away)


async def _on_fault(request: Request, error: Any) -> JSONResponse:
    log.error("web.fault", method=request.method, route=_route(request), exc_info=error)
    return application_error(500, "INTERNAL", "something went wrong; the log has more under this request's id")


def _route(request: Request) -> str:
    """Returns the route's pattern. The path itself may hold a token."""
    return str(getattr(request.scope.get("route"), "path", "unknown"))

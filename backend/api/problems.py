"""How does an error look to a program? One table: problem+json (RFC 9457).

`type` names the class of error and is stable, `detail` is the sentence for people, `field` the
input it is about, `request_id` what to look for in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from backend.access.principal import Forbidden
from backend.idempotency import BadKey
from mailagent.errors import (
    Conflict,
    MailagentError,
    Malformed,
    Misconfigured,
    NotFound,
    TransientFailure,
    Unauthentic,
)

__all__ = ["RESPONSES", "Problem", "install", "unexpected"]

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457, with the members `field` and `request_id` of our own."""

    type: str = Field(examples=["urn:mailagent:problem:not-found"])
    title: str
    status: int
    detail: str
    field: str | None = None
    instance: str
    request_id: str


RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
    for code, text in (("4XX", "The request cannot be done"), ("5XX", "It failed on our side"))
}
"""For every operation in the OpenAPI document."""


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    title: str
    status: HTTPStatus


_KINDS: Mapping[type[Exception], _Kind] = {
    BadKey: _Kind("malformed", "A header breaks a rule", HTTPStatus.BAD_REQUEST),
    Malformed: _Kind("malformed", "The input breaks a rule", HTTPStatus.UNPROCESSABLE_ENTITY),
    Unauthentic: _Kind("unauthentic", "Who asks is not known", HTTPStatus.UNAUTHORIZED),
    Forbidden: _Kind("forbidden", "A permission is missing", HTTPStatus.FORBIDDEN),
    NotFound: _Kind("not-found", "Nothing of that name is here", HTTPStatus.NOT_FOUND),
    Conflict: _Kind("conflict", "It collides with what is there", HTTPStatus.CONFLICT),
    TransientFailure: _Kind("later", "Try again later", HTTPStatus.SERVICE_UNAVAILABLE),
    Misconfigured: _Kind("misconfigured", "A setting is wrong", HTTPStatus.SERVICE_UNAVAILABLE),
}
_FAILED = _Kind("failed", "It could not be done", HTTPStatus.BAD_GATEWAY)
_INTERNAL = _Kind("internal", "A mistake of ours", HTTPStatus.INTERNAL_SERVER_ERROR)
_BUSY = _Kind("later", "Try again later", HTTPStatus.SERVICE_UNAVAILABLE)


def install(app: FastAPI) -> None:
    """Answer the errors that the app raises by the table."""
    app.add_exception_handler(MailagentError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database)


def _answer(
    request: Request,
    kind: _Kind,
    detail: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = Problem(
        type=f"urn:mailagent:problem:{kind.name}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        field=field,
        instance=request.url.path,
        request_id=request.scope.get("request_id", ""),
    )
    content = body.model_dump(exclude_none=True)
    return JSONResponse(content, kind.status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    kind = next((_KINDS[one] for one in type(error).__mro__ if one in _KINDS), _FAILED)
    field = error.field if isinstance(error, Malformed) else None
    # RFC 9110 §11.6.1: a 401 says how to identify oneself.
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthentic) else {}
    return _answer(request, kind, str(error), field=field, headers=headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        kind = _Kind("malformed", "The body is no JSON", HTTPStatus.BAD_REQUEST)
        return _answer(request, kind, "body: is no JSON", field="body")
    place = [str(part) for part in first["loc"]]
    # The first part says where it stood (body, query, path): a name only for a whole body.
    field = ".".join(place[1:]) or place[0]
    return _answer(request, _KINDS[Malformed], f"{field}: {first['msg']}", field=field)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = _Kind(status.phrase.lower().replace(" ", "-"), status.phrase, status)
    missing = status == HTTPStatus.NOT_FOUND
    detail = f"there is no {request.url.path} here" if missing else error.detail
    return _answer(request, kind, detail, headers=error.headers)


async def _database(request: Request, error: Exception) -> JSONResponse:
    log.error("api.database_away", path=request.url.path, error=type(error).__name__)
    detail = "the database does not answer: nothing was changed, try again in a moment"
    return _answer(request, _BUSY, detail, headers={"Retry-After": "5"})


def unexpected(request: Request) -> JSONResponse:
    """The answer to a request that met a bug of ours."""
    return _answer(request, _INTERNAL, "this is in the log under the request's id")

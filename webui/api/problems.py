"""Every error of the API in one shape: problem details (RFC 9457), ``application/problem+json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError
from ninja.errors import ValidationError as RequestError
from pydantic import Field

from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.revisions import UnknownRevisionError

CONTENT_TYPE: Final = "application/problem+json"
PREFIX: Final = "/api/"
TITLES: Final = {
    400: "The request cannot be read",
    401: "Not authenticated",
    403: "Not permitted",
    404: "No such resource",
    405: "No such method here",
    409: "It conflicts with what is there",
    412: "It was changed meanwhile",
    422: "The request is wrong by itself",
    429: "Too many requests",
    500: "The server failed",
    503: "The database is away",
}
# Codes of errors that say nothing against the value itself: none is our own rules', the others are the database's.
_CONFLICTS: Final = frozenset({None, "unique", "unique_together"})


class FieldProblem(Schema):
    """What is wrong with one field."""

    field: str = Field(description="Name of the field or parameter; empty for the request as a whole.")
    message: str = Field(description="The value and the rule that it breaks, in words.")


class Problem(Schema):
    """Problem details (RFC 9457)."""

    type: str = Field(default="about:blank", description="The status says all there is to the kind of problem.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What went wrong here.")
    instance: str = Field(description="The path that was asked for.")
    errors: list[FieldProblem] = Field(default_factory=list, description="Field by field, where there are fields.")
    changes: list[str] = Field(default_factory=list, description="412: what was changed meanwhile, by whom.")


class PreconditionError(Exception):
    """If-Match names a version that is not the current one."""


def problem(
    request: HttpRequest,
    status: int,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    changes: Sequence[str] = (),
) -> HttpResponse:
    """The answer to a request that failed."""
    title = TITLES.get(status, "It failed")
    told = Problem(
        title=title, status=status, detail=detail, instance=request.path, errors=list(errors), changes=list(changes)
    )
    response = HttpResponse(told.model_dump_json(), status=status, content_type=CONTENT_TYPE)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="halfpipe"'  # RFC 9110, section 11.6.1
    if status == 503:
        response.headers["Retry-After"] = "10"
    return response


def register(api: NinjaAPI) -> None:
    """Answer each kind of exception that actions and requests raise."""
    for kind, handler in _HANDLERS.items():
        api.add_exception_handler(kind, handler)


def _of_rules(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """422 for values that are wrong by themselves; 409 where only other objects, or fields together, forbid them."""
    alone = any(one.code not in _CONFLICTS for one in _single(error))
    by_field = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    found = [
        FieldProblem(field="" if name == NON_FIELD_ERRORS else name, message=text)
        for name, texts in by_field.items()
        for text in texts
    ]
    return problem(request, 422 if alone else 409, " ".join(one.message for one in found), found)


def _single(error: ValidationError) -> Iterator[ValidationError]:
    parts = chain(*error.error_dict.values()) if hasattr(error, "error_dict") else error.error_list
    return iter(parts)


def _of_request(request: HttpRequest, error: RequestError) -> HttpResponse:
    found = []
    for one in error.errors:
        where = [str(part) for part in one.get("loc", ())]
        given = _given(request, one.get("loc", ()))
        shown = f" (“{str(given)[:60]}”)" if isinstance(given, str | int | float | bool) else ""
        found.append(FieldProblem(field=".".join(where[2:] or where[1:]), message=f"{one.get('msg', '')}{shown}."))
    return problem(request, 422, " ".join(f"{one.field}: {one.message}" for one in found), found)


def _given(request: HttpRequest, where: Sequence[Any]) -> Any:
    """The value that was sent at a place such as ``("body", "body", "weight")``; None where there is none.

    Secrets are not repeated.
    """
    source, *steps = where
    if "secrets" in steps:
        return None
    found: Any = None
    if source == "query":
        return request.GET.get(str(steps[-1]))
    if source == "path" and request.resolver_match is not None:
        return request.resolver_match.kwargs.get(str(steps[-1]))
    if source == "body":
        try:
            found = json.loads(request.body)
        except ValueError:
            return None
        for step in steps[1:]:
            found = found.get(step) if isinstance(found, dict) else None
    return found


def _of_conflict(request: HttpRequest, error: ConflictError) -> HttpResponse:
    return problem(request, 412, str(error), changes=error.changes)


def _of_http(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem(request, error.status_code, str(error))


def _of_missing(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(request, 404, str(error.args[0]) if error.args else "There is nothing here.")


def _of_database(request: HttpRequest, _error: Exception) -> HttpResponse:
    return problem(request, 503, "The database does not answer; try again in a while.")


_HANDLERS: Final[dict[type[Exception], Callable[..., HttpResponse]]] = {
    ValidationError: _of_rules,
    RequestError: _of_request,
    ConflictError: _of_conflict,
    PreconditionError: lambda request, error: problem(request, 412, str(error)),
    PermissionRefused: lambda request, error: problem(request, 403, str(error)),
    PermissionDenied: lambda request, error: problem(request, 403, str(error) or "You may not do that."),
    NotFoundError: _of_missing,
    UnknownRevisionError: _of_missing,
    Http404: _of_missing,
    AuthenticationError: lambda request, _error: problem(
        request, 401, "Send “Authorization: Bearer …” with a token, or the cookie of a session (with its CSRF token)."
    ),
    HttpError: _of_http,
    OperationalError: _of_database,
    InterfaceError: _of_database,
}


def problem_details(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: what Django itself answers below the API's path (404, 405, 400, 500) gets the one shape too."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not request.path.startswith(PREFIX) or response.status_code < 400:
            return response
        if response.headers.get("Content-Type", "") == CONTENT_TYPE:
            return response
        status = response.status_code
        made = problem(request, status, _detail(response) or TITLES.get(status, "It failed") + ".")
        for name in ("Allow", "Retry-After"):
            if name in response.headers:
                made.headers[name] = response.headers[name]
        return made

    return middleware


def _detail(response: HttpResponse) -> str:
    if "json" not in response.headers.get("Content-Type", "") or response.streaming:
        return ""
    try:
        found: Any = json.loads(response.content)
    except ValueError:
        return ""
    return str(found.get("detail", "")) if isinstance(found, dict) else ""

"""The description of the REST API as a page: made from its OpenAPI document, so it cannot tell anything else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from webui.api.app import API

PREFIX = "/api/v1/"


@dataclass(frozen=True, slots=True)
class Member:
    """A parameter, or a member of a body or an answer."""

    name: str
    kind: str
    required: bool
    words: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request: how it is asked, and what comes back. ``link``: where a browser gets the answer."""

    key: str
    method: str
    path: str
    summary: str
    words: str
    parameters: list[Member]
    body: list[Member]
    answer: list[Member]
    statuses: list[str]
    link: str


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Every request, by what it is about."""
    return render(request, "api_docs.html", {"groups": groups(), "description": API.description.split("\n\n")})


@cache
def groups() -> list[tuple[str, list[Request]]]:
    """Requests by their tags, in the order of the document."""
    found: dict[str, list[Request]] = {}
    document: dict[str, Any] = API.get_openapi_schema(path_prefix=PREFIX)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["Other"])[0]
            found.setdefault(tag, []).append(_request(document, path, method, operation))
    return list(found.items())


def _request(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Request:
    parameters = [
        Member(
            one["name"],
            f"{_kind(document, one['schema'])} ({one['in']})",
            bool(one.get("required")),
            one.get("description") or one["schema"].get("description", ""),
        )
        for one in operation.get("parameters", [])
    ]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    good = [code for code in operation["responses"] if int(code) < 300]
    answer = operation["responses"][good[0]].get("content", {}).get("application/json", {}) if good else {}
    needs_more = any(one.required for one in parameters) or "{" in path
    return Request(
        key=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        words=operation.get("description", ""),
        parameters=parameters,
        body=_members(document, content.get("schema", {})),
        answer=_members(document, answer.get("schema", {})),
        statuses=list(map(str, operation["responses"])),
        link=path if method == "get" and not needs_more else "",
    )


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "array":
        return _resolved(document, schema["items"])
    items = schema.get("properties", {}).get("items")
    return _resolved(document, items) if items else schema


def _members(document: dict[str, Any], schema: dict[str, Any]) -> list[Member]:
    found = _resolved(document, schema)
    required = found.get("required", [])
    return [
        Member(name, _kind(document, one), name in required, one.get("description", ""))
        for name, one in found.get("properties", {}).items()
    ]


def _kind(document: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(document, one) for one in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(document, schema.get('items', {}))}"
    limits = [str(schema[name]) for name in ("minimum", "maximum") if name in schema]
    return f"{kind} {' to '.join(limits)}".strip()

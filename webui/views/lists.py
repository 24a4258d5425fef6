"""The list of a kind of object, and the same as CSV: one page for all kinds; the query string says what is shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.views.decorators.http import require_safe

from webui.asked import PAGE_SIZES, Asked, parse
from webui.cells import guarded
from webui.listing import LISTS, Filter, choices_of, columns_of, everything, listing
from webui.tables import COLUMNS, Column, Table
from webui.views.kinds import Kind


def asked_for(kind: Kind, request: HttpRequest) -> Asked:
    """What the query string asks for."""
    return parse(request.GET, choices_of(kind.slug), columns_of(kind.slug))


@require_safe
def object_list(request: HttpRequest, kind: Kind) -> HttpResponse:
    """Objects of a kind; ``?q=`` searches, ``?state=``, ``?type=`` filter, ``?sort=`` sorts, ``?page=``, ``?per=``."""
    asked = asked_for(kind, request)
    found = listing(kind.slug, asked)
    asked = replace(asked, page=found.page)
    empty = f"No {kind.singular} matches." if found.total else f"No {kind.singular} yet. {kind.first}"
    may = {verb: kind.allows(request.user, verb) for verb in ("add", "change", "delete")}
    table = Table(kind.slug, kind.plural, COLUMNS[kind.slug], found.rows, empty, kind.slug, "patch")
    context = {
        "kind": kind,
        "table": replace(table, selectable=may["change"] or may["delete"]),
        "headings": [_heading(column, asked) for column in table.columns],
        "asked": asked,
        "filters": [_Choice(one, asked.filters.get(one.name, "")) for one in LISTS[kind.slug].filters],
        "sizes": PAGE_SIZES,
        "found": found,
        "first": (found.page - 1) * asked.per + 1 if found.rows else 0,
        "last": (found.page - 1) * asked.per + len(found.rows),
        "links": _links(asked, found.pages),
        "export": reverse("export", args=[kind]) + replace(asked, page=1).query(),
        "query": asked.query(),
        "may": may,
    }
    return render(request, "generic/list.html", context)


@dataclass(frozen=True)
class _Choice:
    """A filter as the page shows it."""

    filter: Filter
    value: str


def _heading(column: Column, asked: Asked) -> dict[str, Any]:
    href, now = asked.sorted_by(column.name)
    return {"column": column, "href": href, "sorted": now}


def _links(asked: Asked, pages: int) -> list[tuple[str, str, str]]:
    """(label, rel, query string) of the other pages; an empty one where there is none."""
    last = asked.page >= pages
    return [
        ("First", "", asked.at(1) or "?" if asked.page > 1 else ""),
        ("Previous", "prev", asked.at(asked.page - 1) or "?" if asked.page > 1 else ""),
        ("Next", "next", "" if last else asked.at(asked.page + 1)),
        ("Last", "", "" if last else asked.at(pages)),
    ]


@require_safe
def export(request: HttpRequest, kind: Kind) -> StreamingHttpResponse:
    """Every row that the list would show on all of its pages, as CSV (RFC 4180), UTF-8."""
    rows = everything(kind.slug, asked_for(kind, request))
    answer = StreamingHttpResponse(_lines(COLUMNS[kind.slug], rows), content_type="text/csv; charset=utf-8")
    name = f"halfpipe-{kind.slug}-{timezone.now():%Y%m%dT%H%M%SZ}.csv"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _lines(columns: tuple[Column, ...], rows: list[dict[str, Any]]) -> Iterator[str]:
    names = [name for column in columns for name in (column.name, column.note) if name]
    labels = [text for one in columns for text in (one.label, f"{one.label}: {_words(one.note)}" if one.note else "")]
    yield _line([text for text in labels if text])
    for row in rows:
        yield _line([row.get(name) for name in names])


def _words(name: str) -> str:
    return capfirst(name.rpartition("_")[2])


def _line(values: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([guarded(value) for value in values])
    return buffer.getvalue()

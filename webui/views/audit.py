"""The review of the audit: a page of entries, one entry, the export, and the chain."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from webui import auditing
from webui.audit import asked, chain, commands, export, verify
from webui.audit.links import Broken, Head, follow
from webui.audit.search import PAGE, search
from webui.audit.shown import shown
from webui.audit.stored import rows as stored_rows
from webui.choices import AuditVerb
from webui.models import AuditArchive, AuditEntry
from webui.views.change import actor_of

PERMISSION: Final = "webui.view_auditentry"
STEP: Final = 20_000  # entries that one request verifies
MOST_RELATED: Final = 100
LINES_AT_ONCE: Final = 500


def _require(request: HttpRequest) -> None:
    """Raise PermissionDenied, and write it to the audit, for whoever may not read the audit."""
    if actor_of(request).may(PERMISSION):
        return
    actor = actor_of(request)
    reason = f"{actor.name} may not read the audit: the permission {PERMISSION} is missing."
    auditing.refused(actor, kind="audit", name=request.path, reason=reason)
    raise PermissionDenied(reason)


@require_safe
def review(request: HttpRequest) -> HttpResponse:
    """Entries and changes of state, newest first; the query string filters, see :mod:`webui.audit.asked`."""
    _require(request)
    wanted = asked.parse(request.GET)
    found = search(wanted)
    context = {
        "asked": wanted,
        "rows": shown(found.rows),
        "found": found,
        "older": wanted.query(found.older) if found.older else "",
        "newest": wanted.query() if wanted.older else "",
        "choices": [
            ("kind", "Kind", asked.KINDS, wanted.given.get("kind", "")),
            ("verb", "What", asked.VERBS, wanted.given.get("verb", "")),
            ("interface", "Interface", asked.INTERFACES, wanted.given.get("interface", "")),
            ("outcome", "Outcome", asked.OUTCOMES, wanted.given.get("outcome", "")),
        ],
        "hidden": [(name, wanted.given[name]) for name in ("id", "correlation", "revision") if name in wanted.given],
        "formats": [(name, one.label) for name, one in export.FORMATS.items()],
        "query": wanted.query(),
        "head": verify.head(),
        "size": PAGE,
    }
    return render(request, "audit.html", context)


@require_safe
def download(request: HttpRequest, name: str) -> StreamingHttpResponse:
    """All that the review would show on all of its pages, streamed."""
    _require(request)
    if name not in export.FORMATS:
        raise Http404(f"There is no export as {name}: {', '.join(export.FORMATS)}.")
    wanted = export.FORMATS[name]
    found = export.lines(name, asked.parse(request.GET))
    parts = _parts(found) if isinstance(request, ASGIRequest) else found
    answer = StreamingHttpResponse(parts, content_type=wanted.content_type)
    file = f"halfpipe-audit-{timezone.now():%Y%m%dT%H%M%SZ}.{wanted.suffix}"
    answer.headers["Content-Disposition"] = f'attachment; filename="{file}"'
    return answer


async def _parts(lines: Iterator[str]) -> AsyncIterator[str]:
    """The lines, some at a time: an ASGI server would collect all of a plain iterator before it sends the first."""
    while part := await sync_to_async(lambda: "".join(islice(lines, LINES_AT_ONCE)))():
        yield part


@require_safe
def entry(request: HttpRequest, number: int) -> HttpResponse:
    """One entry: before and after, what else the same request caused, and what became of its revision."""
    _require(request)
    row = get_object_or_404(AuditEntry, pk=number)
    (one,) = shown([row])
    context = {
        "entry": row,
        "one": one,
        "command": commands.command(row) if row.verb not in {AuditVerb.APPLY, AuditVerb.ARCHIVE} else "",
        "typed": bool(row.command),
        "facts": _facts(row),
        "related": shown(_related(row)),
        "intact": chain.digest(chain.content(row)) == row.hash,
    }
    return render(request, "audit_entry.html", context)


def _facts(row: AuditEntry) -> list[tuple[str, Any]]:
    found = [
        ("Time (UTC)", f"{row.at:%Y-%m-%d %H:%M:%S.%f}"),
        ("Actor", row.actor_name or "system"),
        ("Address", row.source_address or ""),
        ("Interface", row.get_interface_display()),
        ("Outcome", row.get_outcome_display()),
        ("Reason", row.reason),
        ("Revision", row.revision),
        ("Correlation", row.correlation),
        ("Hash", row.hash),
        ("Hash of the entry before", row.previous),
    ]
    return [(label, value) for label, value in found if value not in (None, "")]


def _related(row: AuditEntry) -> list[AuditEntry]:
    """Entries of the same request, and those of directors that applied the revision; oldest first."""
    entries = AuditEntry.objects.exclude(pk=row.pk)
    found: dict[int, AuditEntry] = {}
    if row.correlation:
        found |= {one.pk: one for one in entries.filter(correlation=row.correlation)[:MOST_RELATED]}
    if row.revision is not None:
        found |= {one.pk: one for one in entries.filter(revision=row.revision)[:MOST_RELATED]}
        if row.verb != AuditVerb.APPLY:
            found |= {one.pk: one for one in _applied_later(row)}
    return sorted(found.values(), key=lambda one: one.pk)


def _applied_later(row: AuditEntry) -> list[AuditEntry]:
    """Of each director the first round that had the revision, which may be the round of a later one."""
    later = AuditEntry.objects.filter(verb=AuditVerb.APPLY, pk__gt=row.pk, revision__gte=row.revision)
    first: dict[str, AuditEntry] = {}
    for one in later.order_by("pk")[:MOST_RELATED]:
        first.setdefault(one.object_name, one)
    return list(first.values())


@require_safe
def chained(request: HttpRequest) -> HttpResponse:
    """Verify the chain step by step: a request verifies STEP entries and says where the next one goes on.

    Where it goes on is in the address; whoever changes that only misleads himself.
    """
    _require(request)
    anchors = list(AuditArchive.objects.order_by("first"))
    start = Head(anchors[-1].last, anchors[-1].hash) if anchors else Head()
    step = "after" in request.GET
    number, given = request.GET.get("after", ""), request.GET.get("hash", "")
    last = start
    if step:
        if not re.fullmatch(r"[0-9]{1,18}", number) or not re.fullmatch(r"[0-9a-f]{64}", given):
            raise Http404("This is no place in the chain.")
        last = Head(int(number), given)
    broken: Broken | None = None
    count = 0
    if step:
        for found in follow(stored_rows(last.sequence, STEP), last):
            if isinstance(found, Broken):
                broken = found
                break
            last, count = found, count + 1
    end = verify.head()
    done = step and (broken is not None or count < STEP)
    if done and broken is None:
        broken = verify.end_of(last)
    context = {
        "start": start,
        "anchors": anchors,
        "step": step,
        "last": last,
        "head": end,
        "broken": broken,
        "done": done,
        "next": f"{reverse('audit-chain')}?after={last.sequence}&hash={last.hash}",
        "warnings": verify.warnings(),
    }
    return render(request, "audit_chain.html", context)

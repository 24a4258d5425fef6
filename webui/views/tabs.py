"""The tabs of an object's page: links to addresses of their own; each reads only what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from webui import histories, roles
from webui.models import Monitor
from webui.tables import COLUMNS, Table
from webui.views.change import actor_of
from webui.views.flows import MAY_WATCH
from webui.views.kinds import Kind

TABS: Final = {
    "detail": "Overview",
    "bindings": "Bindings",
    "statistics": "Statistics",
    "history": "Health history",
    "object-audit": "Audit",
}
WITHOUT_SERVICES: Final = frozenset({"bindings", "statistics", "history"})  # what targets of events have none of


@dataclass(frozen=True)
class Tab:
    """A link to a part of an object's page; ``name`` is that of its address."""

    name: str
    label: str
    url: str
    current: bool


def tabs_of(kind: Kind, pk: int, current: str) -> list[Tab]:
    """The tabs that a kind of object has."""
    without = WITHOUT_SERVICES if kind.slug == "eventtargets" else frozenset()
    return [
        Tab(name, label, reverse(name, args=[kind, pk]), name == current)
        for name, label in TABS.items()
        if name not in without
    ]


def head(request: HttpRequest, kind: Kind, pk: int, name: str, current: str) -> dict[str, Any]:
    """What the head of every tab shows."""
    may = {verb: kind.allows(request.user, verb) for verb in ("add", "change", "delete", "enable")}
    actor = actor_of(request)
    may["watch"] = actor.may(MAY_WATCH)
    found = tabs_of(kind, pk, current)
    if not actor.may(roles.VIEW_AUDIT):
        found = [tab for tab in found if tab.name != "object-audit"]
    return {"kind": kind, "pk": pk, "name": name, "tabs": found, "may": may}


def obj_of(kind: Kind, pk: int, tab: str) -> Any:
    """The object. Raises Http404, also for a tab that its kind has not."""
    if kind.slug == "eventtargets" and tab in WITHOUT_SERVICES:
        raise Http404(f"A page of an {kind.singular} has no “{TABS[tab]}”.")
    found = kind.model._default_manager.filter(pk=pk).first()
    if found is None:
        raise Http404(f"There is no {kind.singular} with number {pk}; it may have been deleted.")
    return found


@require_safe
def history(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Changes of state, newest first; ``?before=`` goes on from a row."""
    obj = obj_of(kind, pk, "history")
    page = histories.transitions(kind.slug, obj, histories.before_of(request.GET.get("before", "")))
    table = Table("transitions", "Changes of state", COLUMNS["transitions"], page.rows, "No state has changed yet.")
    context = head(request, kind, pk, obj.name, "history") | {"table": table, "page": page}
    return render(request, "generic/history.html", context)


@require_safe
def audit(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Who changed what, newest first; ``?before=`` goes on from an entry."""
    obj = obj_of(kind, pk, "object-audit")
    page = histories.entries(kind.model, pk, histories.before_of(request.GET.get("before", "")))
    context = head(request, kind, pk, obj.name, "object-audit") | {"page": page}
    return render(request, "generic/audit.html", context)


def checks(request: HttpRequest, kind: Kind, monitor: Monitor) -> HttpResponse:
    """The statistics of a monitor: how its checks answer."""
    rows = histories.checks_of(monitor)
    table = Table("checks", "Checks", histories.CHECKS, rows, "It checks nothing: bind it to a service.")
    context = head(request, kind, monitor.pk, monitor.name, "statistics") | {"table": table}
    return render(request, "generic/history.html", context)

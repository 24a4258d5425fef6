"""Show what a monitor would say before it is bound."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webui import preview
from webui.actions import probing
from webui.forms import BindMonitorForm, PreviewForm
from webui.models import Monitor, Service, VServer
from webui.rows import url_of
from webui.tables import COLUMNS, Table
from webui.views.change import actor_of
from webui.views.kinds import KINDS
from webui.views.objects import render_bindings
from webui.world import World, load_world


@require_POST
def of_service(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask what a monitor would say of a service; the form is that by which it is bound."""
    service = get_object_or_404(Service, pk=pk)
    _allowed(request, "services")
    form = BindMonitorForm(request.POST, service=service)
    if not form.is_valid():
        return render_bindings(request, KINDS["services"], pk, form, 422)
    return _ask(request, service, form.cleaned_data["monitor"], form.cleaned_data["weight"])


@require_http_methods(["GET", "HEAD", "POST"])
def of_vserver(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask what a monitor would say of every service of a virtual server."""
    vserver = get_object_or_404(VServer, pk=pk)
    _allowed(request, "vservers")
    form = PreviewForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        return _ask(request, vserver, form.cleaned_data["monitor"], 1)
    context = {"kind": KINDS["vservers"], "obj": vserver, "form": form}
    return render(request, "preview_ask.html", context, status=422 if request.method == "POST" else 200)


def _allowed(request: HttpRequest, slug: str) -> None:
    """A preview changes nothing, but it sends checks, with their passwords: for who may bind."""
    kind = KINDS[slug]
    if not kind.allows(request.user, "change"):
        raise PermissionDenied(f"Your account may not change a {kind.singular}, so it previews no monitor of one.")


def _ask(request: HttpRequest, row: Service | VServer, monitor: Monitor, weight: int) -> HttpResponse:
    try:
        token = probing.preview_of(actor_of(request), load_world(), row, monitor, weight)
    except preview.NoPreviewError as error:
        messages.error(request, str(error))
        return redirect("detail", "services" if isinstance(row, Service) else "vservers", row.pk)
    return redirect("preview", token)


@require_safe
def show(request: HttpRequest, token: str) -> HttpResponse:
    """The answer, or that it is waited for."""
    try:
        asked = preview.read(token)
    except preview.NoPreviewError as error:
        messages.error(request, str(error))
        return redirect("dashboard")
    if asked is None:
        raise Http404("This preview is over; ask for another.")
    _allowed(request, asked.scope)
    world = load_world()
    rows: Any = world.services if asked.scope == "services" else world.vservers
    if asked.pk not in rows or asked.monitor not in world.monitors:
        raise Http404("What was to be previewed was deleted meanwhile.")
    monitor = world.monitors[asked.monitor]
    context = {
        "kind": KINDS[asked.scope],
        "obj": rows[asked.pk],
        "monitor": monitor,
        "weight": asked.weight,
        "error": asked.error,
        "waiting": asked.results is None and not asked.error,
        "table": _table(world, asked),
        "consequences": preview.consequences(world, asked, monitor) if asked.results is not None else [],
    }
    return render(request, "preview.html", context)


def _table(world: World, asked: preview.Preview) -> Table:
    rows = [
        {
            "key": f"{row['service']}-{row['vip']}",
            "service": world.services[row["service"]].name,
            "url": url_of("services", row["service"]),
            "vip": row["vip"],
            "address": row["address"],
            "state": row["state"],
            "message": f"{row['message']} ({row['seconds'] * 1000:.1f} ms)",
        }
        for row in asked.results or []
        if row["service"] in world.services
    ]
    return Table("preview", "What it says now", COLUMNS["preview"], rows, "Nothing was checked.")

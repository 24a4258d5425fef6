"""Bind and unbind, from the detail pages."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from webui import dryrun
from webui.actions import services, vservers
from webui.actions.base import Actor
from webui.forms import BindMonitorForm, BindServiceForm, WeightForm
from webui.models import Monitor, Service, VServer
from webui.views.change import actor_of, attempt_button, look_ahead
from webui.views.kinds import KINDS
from webui.views.objects import submit_binding


@require_POST
def bind_monitor(request: HttpRequest, pk: int) -> HttpResponse:
    """Bind a monitor to a service."""
    service = get_object_or_404(Service, pk=pk)

    def bind(who: Actor, given: dict[str, Any]) -> str:
        services.bind_monitor(who, service, given["monitor"], weight=given["weight"], state=given["state"])
        return f"Monitor {given['monitor']} was bound."

    return submit_binding(request, KINDS["services"], pk, BindMonitorForm(request.POST, service=service), bind)


@require_http_methods(["GET", "HEAD", "POST"])
def unbind_monitor(request: HttpRequest, pk: int, monitor_pk: int) -> HttpResponse:
    """Ask first, telling whose clients move; then unbind a monitor from a service."""
    service, monitor = get_object_or_404(Service, pk=pk), get_object_or_404(Monitor, pk=monitor_pk)
    if request.method != "POST":
        return _ask(
            request, service, f"monitor {monitor.name}", lambda who: services.unbind_monitor(who, service, monitor)
        )
    attempt_button(
        request,
        lambda: services.unbind_monitor(actor_of(request), service, monitor),
        f"Monitor {monitor.name} was unbound from {service.name}.",
    )
    return redirect("bindings", "services", pk)


@require_POST
def bind_service(request: HttpRequest, pk: int) -> HttpResponse:
    """Bind a service to a virtual server."""
    vserver = get_object_or_404(VServer, pk=pk)

    def bind(who: Actor, given: dict[str, Any]) -> str:
        vservers.bind_service(who, vserver, given["service"], weight=given["weight"])
        return f"Service {given['service']} was bound."

    return submit_binding(request, KINDS["vservers"], pk, BindServiceForm(request.POST, vserver=vserver), bind)


@require_POST
def set_weight(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Change a service's share of a virtual server's clients."""
    vserver, service = get_object_or_404(VServer, pk=pk), get_object_or_404(Service, pk=service_pk)
    form = WeightForm(request.POST)
    if not form.is_valid():
        return _refused_weight(request, pk, service.name, " ".join(map(str, form.errors["weight"])))
    weight = form.cleaned_data["weight"]
    attempt_button(
        request,
        lambda: vservers.set_weight(actor_of(request), vserver, service, weight),
        f"{service.name} has weight {weight} now.",
    )
    return redirect("bindings", "vservers", pk)


def _refused_weight(request: HttpRequest, pk: int, name: str, why: str) -> HttpResponse:
    typed = request.POST.get("weight", "")
    messages.error(request, f"Weight “{typed}” of {name} was not set: {why}")
    return redirect("bindings", "vservers", pk)


def _ask(request: HttpRequest, of: Service | VServer, what: str, action: dryrun.Action) -> HttpResponse:
    kind = KINDS["services" if isinstance(of, Service) else "vservers"]
    if not kind.allows(request.user, "change"):
        raise PermissionDenied(f"Your account may not change a {kind.singular}.")
    context = {
        "kind": kind,
        "obj": of,
        "question": f"Unbind {what} from {of.name}?",
        "button": f"Unbind {what}",
        "ahead": look_ahead(request, action),
    }
    return render(request, "generic/confirm.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def unbind_service(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Ask first, telling whose clients move; then unbind a service from a virtual server."""
    vserver, service = get_object_or_404(VServer, pk=pk), get_object_or_404(Service, pk=service_pk)
    if request.method != "POST":
        return _ask(
            request, vserver, f"service {service.name}", lambda who: vservers.unbind_service(who, vserver, service)
        )
    attempt_button(
        request,
        lambda: vservers.unbind_service(actor_of(request), vserver, service),
        f"Service {service.name} was unbound from {vserver.name}.",
    )
    return redirect("bindings", "vservers", pk)

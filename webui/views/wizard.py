"""A new DSR service on one page, and whether it works: from the VIP to verified servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from webui import dryrun, server_setup
from webui.actions import wizard
from webui.actions.wizard import Made
from webui.models import VServer
from webui.models.fields import port_text
from webui.rows import endpoint
from webui.verification import verify as verification_of
from webui.views import probing
from webui.views.change import actor_of, attempt
from webui.wizard_form import Wizard

NEEDED = ("webui.add_vserver", "webui.add_service")
ONLY_SHOW = ("more", "show", "choose")  # buttons that make nothing


@dataclass(frozen=True)
class Setup:
    """Commands for one server."""

    server: str
    address: str
    lines: str


def may_make(request: HttpRequest) -> bool:
    """Whether to offer the page: what every service needs; servers and monitors may be there already."""
    return all(request.user.has_perm(one) for one in NEEDED)


@require_http_methods(["GET", "HEAD", "POST"])
def new_service(request: HttpRequest) -> HttpResponse:
    """The form; ``show`` tells what it would make, ``more`` and ``choose`` make it larger, else it is made."""
    if request.method != "POST":
        if not may_make(request):
            raise PermissionDenied("Your account may not add virtual servers and services.")
        return _page(request, Wizard())
    form = Wizard(request.POST)
    only = next((name for name in ONLY_SHOW if name in request.POST), "")
    if only in {"more", "choose"} or form.incomplete:
        return _page(request, form, fresh=True)
    actor = actor_of(request)
    if only == "show":
        if not may_make(request):
            raise PermissionDenied("Your account may not add virtual servers and services.")
        tried = attempt(form, lambda: dryrun.rehearse(lambda: wizard.make(actor, form.order)))
        return _page(request, form, status=tried.status, made=tried.result)
    outcome = attempt(form, lambda: wizard.make(actor, form.order))
    if not outcome.done:
        return _page(request, form, status=outcome.status)
    messages.success(request, f"{outcome.result.vserver.name} was made. Set up its servers, and watch them turn OK.")
    return redirect("verify", outcome.result.vserver.pk)


def _page(
    request: HttpRequest, form: Wizard, *, status: int = 200, made: Made | None = None, fresh: bool = False
) -> HttpResponse:
    """``fresh``: the form was only made larger, so nobody is told yet what is missing in it."""
    if fresh:
        for one in form.forms:
            one.errors.clear()
    context: dict[str, Any] = {"wizard": form, "made": made, "live_url": reverse("validate-new")}
    if made is not None:
        context |= {"plan": plan(made, form), "setups": setups(made.vserver, _servers(made, form))}
    return render(request, "wizard.html", context, status=status)


def _servers(made: Made, form: Wizard) -> list[tuple[str, str]]:
    chosen = [*form.order.servers, *made.servers]
    return [(server.name, server.address) for server in chosen]


def setups(vserver: VServer, servers: list[tuple[str, str]]) -> list[Setup]:
    """The commands of each server (name, address)."""
    lines = [*server_setup.commands(vserver.address), server_setup.look(vserver.address)]
    return [Setup(name, address, "\n".join(lines)) for name, address in servers]


def plan(made: Made, form: Wizard) -> list[str]:
    """What would be made, in sentences."""
    vserver = made.vserver
    at = endpoint(vserver.address, vserver.port, vserver.port_end)
    told = [
        f"Virtual server {vserver.name}: {vserver.service_type} at {at}, {vserver.get_lb_method_display()}, "
        f"sessionless {vserver.get_sessionless_display()}."
    ]
    told += [f"Server {one.name} with address {one.address}." for one in made.servers]
    if made.monitor is not None:
        told.append(
            f"Monitor {made.monitor.name}: {made.monitor.monitor_type}, every {made.monitor.time_text('interval')}."
        )
    checked = made.monitor or form.order.monitor
    by = f"checked by {checked.name}" if checked is not None else "checked by the default monitor"
    told += [
        f"Service {one.name}: {one.service_type} port {port_text(one.port)} of {one.server.name}, {by}."
        for one in made.services
    ]
    told += [
        f"Service {one.name} is there already: it is bound as it is, with the monitors it has." for one in made.kept
    ]
    return told


@require_safe
def verify(request: HttpRequest, pk: int) -> HttpResponse:
    """Whether each server of a virtual server does its part, now; the page follows by itself."""
    try:
        found = verification_of(pk)
    except ObjectDoesNotExist as error:
        raise Http404(f"There is no virtual server with number {pk}; it may have been deleted.") from error
    servers = [(one.name, one.address) for one in found.servers]
    context = {
        "found": found,
        "setups": setups(found.vserver, servers),
        "may_probe": request.user.has_perm(probing.PERMISSION),
    }
    return render(request, "verify.html", context)

"""Monitors and virtual servers of a service group, from its page and from that of a virtual server."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from webui import dryrun
from webui.actions import servicegroups
from webui.actions.base import Actor
from webui.group_forms import BindGroupForm, BindGroupMonitorForm, BindVServerForm, GroupMonitorForm
from webui.models import ServiceGroup, ServiceGroupMonitorBinding, VServer, VServerServiceGroupBinding
from webui.views.change import (
    actor_of,
    attempt_button,
    look_ahead,
    submit,
)
from webui.views.kinds import KINDS, Kind
from webui.views.objects import submit_binding

KIND = KINDS["servicegroups"]


@require_POST
def bind_group(request: HttpRequest, pk: int) -> HttpResponse:
    """Bind a service group, from the page of a virtual server."""
    vserver = get_object_or_404(VServer, pk=pk)

    def bind(who: Actor, given: dict[str, Any]) -> str:
        servicegroups.bind_to_vserver(who, vserver, given["group"])
        return f"Service group {given['group']} was bound."

    return submit_binding(request, KINDS["vservers"], pk, BindGroupForm(request.POST, vserver=vserver), bind)


@require_POST
def bind_vserver(request: HttpRequest, pk: int) -> HttpResponse:
    """The same, from the page of the group."""
    group = get_object_or_404(ServiceGroup, pk=pk)

    def bind(who: Actor, given: dict[str, Any]) -> str:
        servicegroups.bind_to_vserver(who, given["vserver"], group)
        return f"It was bound to virtual server {given['vserver']}."

    return submit_binding(request, KIND, pk, BindVServerForm(request.POST, group=group), bind)


@require_POST
def bind_monitor(request: HttpRequest, pk: int) -> HttpResponse:
    """Bind a monitor to all members."""
    group = get_object_or_404(ServiceGroup, pk=pk)

    def bind(who: Actor, given: dict[str, Any]) -> str:
        servicegroups.bind_monitor(who, group, given["monitor"], given["weight"], given["state"])
        return f"Monitor {given['monitor']} was bound to all members."

    return submit_binding(request, KIND, pk, BindGroupMonitorForm(request.POST, group=group), bind)


def _monitor_binding(pk: int, monitor_pk: int) -> ServiceGroupMonitorBinding:
    found = ServiceGroupMonitorBinding.objects.select_related("group", "monitor")
    binding = found.filter(group=pk, monitor=monitor_pk).first()
    if binding is None:
        raise Http404(f"Monitor {monitor_pk} is not bound to service group {pk}; it may have been unbound.")
    return binding


def _offered(request: HttpRequest, kind: Kind) -> None:
    if request.method != "POST" and not kind.allows(request.user, "change"):
        raise PermissionDenied(f"Your account may not change a {kind.singular}.")


@require_http_methods(["GET", "HEAD", "POST"])
def edit_monitor(request: HttpRequest, pk: int, monitor_pk: int) -> HttpResponse:
    """Change weight and state of a monitor's bindings to all members."""
    _offered(request, KIND)
    binding = _monitor_binding(pk, monitor_pk)
    group, monitor = binding.group, binding.monitor
    present = {"weight": binding.weight, "state": binding.state}
    form = GroupMonitorForm(request.POST if request.method == "POST" else None, initial=present)

    def save(who: Actor) -> object:
        return servicegroups.set_monitor_binding(who, group, monitor, **form.cleaned_data)

    told = f"The binding of monitor {monitor.name} was saved."
    sent = submit(request, form, save, lambda _binding: told, redirect("bindings", KIND, pk))
    if sent.answer is not None:
        return sent.answer
    context = {"kind": KIND, "obj": group, "form": form, "outcome": sent.preview, "about": "The same for all members."}
    return render(request, "generic/part.html", context | {"heading": f"Binding of {monitor.name}"}, status=sent.status)


@require_http_methods(["GET", "HEAD", "POST"])
def unbind_monitor(request: HttpRequest, pk: int, monitor_pk: int) -> HttpResponse:
    """Ask first, telling whose clients move; then unbind a monitor from all members."""
    _offered(request, KIND)
    binding = _monitor_binding(pk, monitor_pk)
    group, monitor = binding.group, binding.monitor

    def unbind(who: Actor) -> None:
        servicegroups.unbind_monitor(who, group, monitor)

    if request.method == "POST":
        attempt_button(request, lambda: unbind(actor_of(request)), f"Monitor {monitor.name} was unbound.")
        return redirect("bindings", KIND, pk)
    told = [f"All members of {group.name} lose it; without any monitor they have their default ones again."]
    return _ask(request, KIND, group, (f"monitor {monitor.name}", group.name), told, unbind)


@require_http_methods(["GET", "HEAD", "POST"])
def unbind_group(request: HttpRequest, pk: int, group_pk: int) -> HttpResponse:
    """Ask first, telling whose clients move; then unbind all members from a virtual server.

    ``?from=group``: the page of the group asked, and is where it leads back to.
    """
    bound = VServerServiceGroupBinding.objects.select_related("vserver", "group")
    binding = bound.filter(vserver=pk, group=group_pk).first()
    if binding is None:
        raise Http404(f"Service group {group_pk} is not bound to virtual server {pk}; it may have been unbound.")
    vserver, group = binding.vserver, binding.group
    by_group = request.GET.get("from") == "group"
    _offered(request, KINDS["vservers"])

    def unbind(who: Actor) -> None:
        servicegroups.unbind_from_vserver(who, vserver, group)

    kind, obj = (KIND, group) if by_group else (KINDS["vservers"], vserver)
    if request.method == "POST":
        text = f"Service group {group.name} was unbound from {vserver.name}."
        attempt_button(request, lambda: unbind(actor_of(request)), text)
        return redirect("bindings", kind, obj.pk)
    told = [f"Its {group.members.count()} members no longer serve clients of {vserver.name}; the group stays."]
    return _ask(request, kind, obj, (f"service group {group.name}", vserver.name), told, unbind)


def _ask(  # noqa: PLR0913, PLR0917 - what the page shows
    request: HttpRequest,
    kind: Kind,
    obj: ServiceGroup | VServer,
    names: tuple[str, str],
    told: list[str],
    action: dryrun.Action,
) -> HttpResponse:
    """``names``: what is unbound, from what."""
    what, whom = names
    context = {
        "kind": kind,
        "obj": obj,
        "question": f"Unbind {what} from {whom}?",
        "button": f"Unbind {what}",
        "cancel": reverse("bindings", args=[kind, obj.pk]),
        "consequences": told,
        "ahead": look_ahead(request, action),
    }
    return render(request, "generic/confirm.html", context)

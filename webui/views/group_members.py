"""Members of a service group, from its page: make, change, switch and remove them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from webui import consequences, departures
from webui.actions import servicegroups
from webui.actions.base import Actor
from webui.forms import DisableForm
from webui.group_forms import BindMembersForm, MemberForm
from webui.models import Service, ServiceGroup, ServiceGroupMember
from webui.models.fields import ANY_PORT
from webui.views.change import (
    actor_of,
    attempt_button,
    look_ahead,
    submit,
)
from webui.views.kinds import KINDS
from webui.views.objects import submit_binding
from webui.world import load_world

KIND = KINDS["servicegroups"]


def _member(pk: int, service_pk: int) -> ServiceGroupMember:
    found = ServiceGroupMember.objects.select_related("group", "service__server")
    member = found.filter(group=pk, service=service_pk).first()
    if member is None:
        raise Http404(f"Service group {pk} has no member {service_pk}; it may have been removed.")
    return member


def _place(member: ServiceGroupMember) -> dict[str, Any]:
    """Where a member is, as the actions take it."""
    port = member.service.port
    return {"server": member.service.server, "port": "*" if port == ANY_PORT else port}


def _offered(request: HttpRequest, verb: str) -> None:
    if request.method != "POST" and not KIND.allows(request.user, verb):
        raise PermissionDenied(f"Your account may not {verb} a service group.")


@require_POST
def bind(request: HttpRequest, pk: int) -> HttpResponse:
    """Make members on one or several servers, in one change."""
    group = get_object_or_404(ServiceGroup, pk=pk)

    def join(who: Actor, given: dict[str, Any]) -> str:
        port = "*" if given["port"] == ANY_PORT else given["port"]
        made = servicegroups.bind_members(who, group, list(given["server"]), port, weight=given["weight"])
        return f"{', '.join(one.name for one in made)} {'was' if len(made) == 1 else 'were'} added."

    return submit_binding(request, KIND, pk, BindMembersForm(request.POST, group=group), join)


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Change what a member has of its own."""
    _offered(request, "change")
    member = _member(pk, service_pk)
    form = MemberForm(request.POST if request.method == "POST" else None, member=member)

    def save(who: Actor) -> Service:
        return servicegroups.set_member(who, member.group, **_place(member), values=form.cleaned_data)

    told = f"Member {member.service.name} was saved."
    sent = submit(request, form, save, lambda _service: told, redirect("bindings", KIND, pk))
    if sent.answer is not None:
        return sent.answer
    about = "What it has of its own; all else it has from its group."
    context = {"kind": KIND, "obj": member.group, "form": form, "outcome": sent.preview, "about": about}
    heading = f"Member {member.service.name}"
    return render(request, "generic/part.html", context | {"heading": heading}, status=sent.status)


@require_POST
def enable(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Let a member take clients again."""
    member = _member(pk, service_pk)
    attempt_button(
        request,
        lambda: servicegroups.enable(actor_of(request), member.group, **_place(member)),
        f"{member.service.name} is enabled.",
    )
    return redirect("bindings", KIND, pk)


@require_http_methods(["GET", "HEAD", "POST"])
def disable(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Take a member out of service, at once or slowly."""
    _offered(request, "enable")
    member = _member(pk, service_pk)
    form = DisableForm(request.POST or None)

    def leave(who: Actor) -> ServiceGroup:
        given = form.cleaned_data
        return servicegroups.disable(who, member.group, given["delay"] or 0, given["graceful"], **_place(member))

    told = f"Member {member.service.name} leaves as asked for."
    sent = submit(request, form, leave, lambda _group: told, redirect("bindings", KIND, pk))
    if sent.answer is not None:
        return sent.answer
    context = {
        "kind": KIND,
        "obj": member.group,
        "subject": f"member {member.service.name}",
        "form": form,
        "outcome": sent.preview,
        "cancel": reverse("bindings", args=[KIND, pk]),
        "consequences": departures.consequences("services", service_pk),
    }
    return render(request, "generic/disable.html", context, status=sent.status)


@require_http_methods(["GET", "HEAD", "POST"])
def unbind(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Ask first, telling whose clients move; then remove a member, and with it its service."""
    _offered(request, "change")
    member = _member(pk, service_pk)
    name = member.service.name

    def remove(who: Actor) -> None:
        servicegroups.unbind_member(who, member.group, **_place(member))

    if request.method == "POST":
        attempt_button(request, lambda: remove(actor_of(request)), f"Member {name} was removed.")
        return redirect("bindings", KIND, pk)
    context = {
        "kind": KIND,
        "obj": member.group,
        "question": f"Remove member {name} from {member.group.name}?",
        "button": f"Remove {name}",
        "cancel": reverse("bindings", args=[KIND, pk]),
        "consequences": consequences.of_leaving(load_world(), service_pk),
        "ahead": look_ahead(request, remove),
    }
    return render(request, "generic/confirm.html", context)

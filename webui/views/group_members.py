"""Members of a service group, from its page: make, change, switch and remove them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
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
from webui.views.change import actor_of, asks_preview, attempt, attempt_button, attempt_preview, look_ahead, within_page
from webui.views.kinds import KINDS
from webui.views.objects import render_bindings
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
    form = BindMembersForm(request.POST, group=group)
    status = 422
    if form.is_valid():
        given = form.cleaned_data

        def join(who: Actor) -> list[Service]:
            port = "*" if given["port"] == ANY_PORT else given["port"]
            return servicegroups.bind_members(who, group, list(given["server"]), port, weight=given["weight"])

        if asks_preview(request):
            seen = attempt_preview(request, form, join)
            return render_bindings(request, KIND, pk, form, seen.status, seen.result)
        outcome = attempt(form, lambda: join(actor_of(request)))
        if outcome.done:
            names = ", ".join(one.name for one in outcome.result)
            messages.success(request, f"{names} {'was' if len(outcome.result) == 1 else 'were'} added.")
            return redirect("bindings", KIND, pk)
        status = outcome.status
    return render_bindings(request, KIND, pk, form, status)


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int, service_pk: int) -> HttpResponse:
    """Change what a member has of its own."""
    _offered(request, "change")
    member = _member(pk, service_pk)
    form = MemberForm(request.POST if request.method == "POST" else None, member=member)
    status, preview = 200, None
    if request.method == "POST":
        status = 422
        if form.is_valid():

            def save(who: Actor) -> Service:
                return servicegroups.set_member(who, member.group, **_place(member), values=form.cleaned_data)

            if asks_preview(request):
                outcome = attempt_preview(request, form, save)
                preview = outcome.result
            else:
                outcome = attempt(form, lambda: save(actor_of(request)))
                if outcome.done:
                    messages.success(request, f"Member {member.service.name} was saved.")
                    return redirect("bindings", KIND, pk)
            status = outcome.status
        if (fragment := within_page(request, form, preview)) is not None:
            return fragment
    about = "What it has of its own; all else it has from its group."
    context = {"kind": KIND, "obj": member.group, "form": form, "outcome": preview, "about": about}
    return render(request, "generic/part.html", context | {"heading": f"Member {member.service.name}"}, status=status)


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
    status, preview = 200, None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            given = form.cleaned_data

            def leave(who: Actor) -> ServiceGroup:
                return servicegroups.disable(
                    who, member.group, given["delay"] or 0, given["graceful"], **_place(member)
                )

            if asks_preview(request):
                outcome = attempt_preview(request, form, leave)
                preview = outcome.result
            else:
                outcome = attempt(form, lambda: leave(actor_of(request)))
                if outcome.done:
                    messages.success(request, f"Member {member.service.name} leaves as asked for.")
                    return redirect("bindings", KIND, pk)
            status = outcome.status
        if (fragment := within_page(request, form, preview)) is not None:
            return fragment
    context = {
        "kind": KIND,
        "obj": member.group,
        "subject": f"member {member.service.name}",
        "form": form,
        "outcome": preview,
        "cancel": reverse("bindings", args=[KIND, pk]),
        "consequences": departures.consequences("services", service_pk),
    }
    return render(request, "generic/disable.html", context, status=status)


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

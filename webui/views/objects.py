"""Details and changes of servers, services, virtual servers and monitors: one set of pages for all."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webui import consequences, departures, details
from webui.actions import eventtargets, renaming
from webui.actions.base import Actor
from webui.actions.errors import ConflictError
from webui.detail import Detail
from webui.dryrun import Preview
from webui.forms import DisableForm, ErrorsFromActions, ObjectForm, RenameForm
from webui.models import EventTarget, Monitor, Server, Service, ServiceGroup
from webui.tables import Table
from webui.templatetags.halfpipe import NOTHING
from webui.views import probing, tabs
from webui.views.bind_forms import bind_forms
from webui.views.change import (
    Outcome,
    actor_of,
    asks_preview,
    attempt,
    attempt_button,
    attempt_preview,
    look_ahead,
    submit,
    within_page,
)
from webui.views.kinds import Kind
from webui.world import load_world


@require_safe
def object_detail(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """The overview of one object."""
    found = _detail(request, kind, pk, "detail")
    context = {"probe": probing.panel(request, Monitor.objects.get(pk=pk)) if kind.model is Monitor else None}
    return render(request, "generic/detail.html", _head(request, kind, pk, found, "detail") | context)


@require_safe
def object_bindings(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """What one object is bound to, with the forms that change it."""
    return render_bindings(request, kind, pk)


def render_bindings(  # noqa: PLR0913, PLR0917 - what was sent, and what came of it
    request: HttpRequest,
    kind: Kind,
    pk: int,
    form: ErrorsFromActions | None = None,
    status: int = 200,
    preview: Preview | None = None,
) -> HttpResponse:
    """The bindings of an object; ``form`` is a binding form with errors, ``preview`` what it would do."""
    if form is not None and (fragment := within_page(request, form, preview)) is not None:
        return fragment
    found = _detail(request, kind, pk, "bindings")
    context = _head(request, kind, pk, found, "bindings")
    forms = bind_forms(kind, pk, form, preview) if context["may"]["change"] else {}
    tables = [replace(_offering(table, context["may"]), bind=forms.get(table.name)) for table in found.tables]
    return render(request, "generic/detail.html", context | {"detail": replace(found, tables=tables)}, status=status)


def _offering(table: Table, may: dict[str, bool]) -> Table:
    """The table with what may be done alone."""
    if not table.with_actions:
        return table
    rows = [row | {"actions": [one for one in row["actions"] if may[one.verb]]} for row in table.rows]
    return replace(table, rows=rows, with_actions=any(row["actions"] for row in rows))


def submit_binding(
    request: HttpRequest, kind: Kind, pk: int, form: Any, act: Callable[[Actor, dict[str, Any]], str]
) -> HttpResponse:
    """Do or preview what a form under a table was sent for; ``act`` makes the change and says what was done."""
    status = 422
    if form.is_valid():
        if asks_preview(request):
            seen = attempt_preview(request, form, lambda who: act(who, form.cleaned_data))
            return render_bindings(request, kind, pk, form, seen.status, seen.result)
        outcome = attempt(form, lambda: act(actor_of(request), form.cleaned_data))
        if outcome.done:
            messages.success(request, outcome.result)
            return redirect("bindings", kind, pk)
        status = outcome.status
    return render_bindings(request, kind, pk, form, status)


def _detail(request: HttpRequest, kind: Kind, pk: int, tab: str) -> Detail:
    """What a tab shows. Raises Http404."""
    read = details.bindings if tab == "bindings" else details.detail
    try:
        found = read(kind.slug, pk)
    except ObjectDoesNotExist as error:
        raise Http404(f"There is no {kind.singular} with number {pk}; it may have been deleted.") from error
    except KeyError as error:
        raise Http404(f"An {kind.singular} is bound to nothing.") from error
    if not actor_of(request).may(probing.PERMISSION):
        found = replace(found, tables=[_without_probes(table) for table in found.tables])
    return found


def _head(request: HttpRequest, kind: Kind, pk: int, found: Detail, tab: str) -> dict[str, Any]:
    context = tabs.head(request, kind, pk, found.row["name"], tab)
    if found.built_in:
        context["may"] |= {"change": False, "delete": False, "enable": False}
    if found.owner:  # in service or out of it is the member's own
        context["may"] |= {"change": False, "delete": False}
    return context | {"detail": found, "disabled_by_admin": found.disabled}


def _without_probes(table: Table) -> Table:
    return replace(table, columns=[column for column in table.columns if column.name != "probe"])


@require_http_methods(["GET", "HEAD", "POST"])
def object_add(request: HttpRequest, kind: Kind) -> HttpResponse:
    """Make an object."""
    _offered(request, kind, "add")
    # Links such as “add a service of this server” choose values beforehand.
    like = _model(kind, request.GET.get("like", ""))
    given = request.GET.dict() if like is None else copied(kind, like)
    form = kind.form(request.POST) if request.method == "POST" else kind.form(initial=given)
    outcome = Outcome(status=422)
    if request.method == "POST" and not form.choose_first:
        if asks_preview(request):
            outcome = attempt_preview(request, form, lambda who: kind.actions.create(who, form.values))
            return _render_edit(request, kind, form, outcome.status, like=like, outcome=outcome.result)
        outcome = attempt(form, lambda: kind.actions.create(actor_of(request), form.values))
        if outcome.done:
            messages.success(request, f"{capfirst(kind.singular)} {outcome.result.name} was added.")
            return redirect("detail", kind, outcome.result.pk)
    return _render_edit(request, kind, form, 200 if request.method != "POST" else outcome.status, like=like)


def _model(kind: Kind, given: str) -> Any:
    """The object to be copied, None when none is asked for. Raises Http404."""
    if not given:
        return None
    if not given.isascii() or not given.isdecimal() or len(given) > 18:
        raise Http404(f"“{given[:40]}” is no number of a {kind.singular}.")
    found = kind.model._default_manager.filter(pk=int(given)).first()
    if found is None:
        raise Http404(f"There is no {kind.singular} with number {given}; it may have been deleted.")
    return found


def copied(kind: Kind, like: Any) -> dict[str, Any]:
    """Values for the form of an object like another: a free name, and nothing that only one can have."""
    form = kind.form(instance=like)
    secrets = getattr(like, "kind", None)
    left_out = {*kind.own, *(secrets.secrets if secrets is not None else ())}
    values = {name: form.initial.get(name, field.initial) for name, field in form.fields.items()}
    values = {name: value for name, value in values.items() if name not in left_out}
    values["name"] = _free_name(kind, like.name)
    return values


def _free_name(kind: Kind, name: str) -> str:
    """``web`` makes ``web_copy``, then ``web_copy2`` and so on."""
    stem = f"{name[:110]}_copy"
    taken = kind.model._default_manager.filter(name__istartswith=stem).values_list("name", flat=True)
    known = {one.casefold() for one in taken}
    candidates = (f"{stem}{number if number > 1 else ''}" for number in itertools.count(1))
    return next(one for one in candidates if one.casefold() not in known)


@require_http_methods(["GET", "HEAD", "POST"])
def object_rename(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Give an object another name."""
    _offered(request, kind, "change")
    obj: Any = get_object_or_404(kind.model, pk=pk)
    form = RenameForm(request.POST if request.method == "POST" else None, initial={"name": obj.name})
    version, status, conflict = obj.version, 200, None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            version = seen_version(request)
            outcome = attempt(form, lambda: renaming.rename(actor_of(request), obj, form.cleaned_data["name"], version))
            if outcome.done:
                messages.success(request, f"{capfirst(kind.singular)} {obj.name} is {outcome.result.name} now.")
                return redirect("detail", kind, pk)
            status, conflict = outcome.status, outcome.conflict
            version = conflict.current_version if conflict else version
    context = {"kind": kind, "obj": obj, "form": form, "version": version, "conflict": conflict}
    return render(request, "generic/rename.html", context, status=status)


def seen_version(request: HttpRequest) -> int:
    """The version that a form was made from; 0, which no object has, without one."""
    seen = request.POST.get("version", "")
    return int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 10 else 0


@require_http_methods(["GET", "HEAD", "POST"])
def object_edit(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Change an object. The form carries the version it was made from."""
    _offered(request, kind, "change")
    obj: Any = get_object_or_404(kind.model, pk=pk)
    if request.method != "POST":
        return _render_edit(request, kind, kind.form(instance=obj), 200, obj=obj, version=obj.version)
    form = kind.form(request.POST, instance=obj)
    version = seen_version(request)
    outcome, preview = Outcome(status=422), None
    if asks_preview(request):
        outcome = attempt_preview(request, form, lambda who: kind.actions.update(who, obj, form.values, version))
        preview = outcome.result
    else:
        outcome = attempt(form, lambda: kind.actions.update(actor_of(request), obj, form.values, version))
        if outcome.done:
            messages.success(request, f"{capfirst(kind.singular)} {outcome.result.name} was saved.")
            return redirect("detail", kind, pk)
    if outcome.conflict:
        version = outcome.conflict.current_version
        obj = get_object_or_404(kind.model, pk=pk)
    seen = {"obj": obj, "version": version, "conflict": outcome.conflict, "outcome": preview}
    return _render_edit(request, kind, form, outcome.status, **seen)


def _offered(request: HttpRequest, kind: Kind, verb: str) -> None:
    """Tell someone who may not before they fill in a form; a POST is refused, and recorded, by the action."""
    if request.method != "POST" and not kind.allows(request.user, verb):
        raise PermissionDenied(f"Your account may not {verb} a {kind.singular}.")


def _render_edit(request: HttpRequest, kind: Kind, form: ObjectForm, status: int, **context: Any) -> HttpResponse:
    if (fragment := within_page(request, form, context.get("outcome"))) is not None:
        return fragment
    conflict = context.get("conflict")
    obj = context.get("obj")
    live_url = reverse("validate-object", args=[kind, obj.pk]) if obj else reverse("validate", args=[kind])
    context |= {"kind": kind, "form": form, "live_url": "" if form.choose_first else live_url}
    context["differences"] = _differences(form, context["obj"], conflict) if conflict else []
    return render(request, "generic/edit.html", context, status=status)


@dataclass(frozen=True)
class Difference:
    """A field whose value now is another than the form's; ``before``: what it was when the form was opened."""

    label: str
    before: str
    now: str
    typed: str
    by: str


def _differences(form: ObjectForm, obj: Any, conflict: ConflictError) -> list[Difference]:
    """Fields that differ, and who changed them."""
    found = []
    typed, old = form.shown_values, _as_it_was(obj, conflict.before)
    for name, field in form.fields.items():
        if name not in typed or field.disabled:
            continue
        now, mine = _in_words(form.shown(obj, name)), _in_words(typed[name])
        before = _in_words(form.shown(old, name))
        if isinstance(field, forms.ModelChoiceField) and name in conflict.before:  # the audit knows its name
            before = conflict.before[name].replace("None", NOTHING)
        if now != mine:
            by = "you" if now == before else "the other" if mine == before else "both"
            found.append(Difference(str(field.label), before, now, mine, by))
    return found


def _as_it_was(obj: Any, before: dict[str, Any]) -> Any:
    """A copy of an object, never saved, with these values of its plain fields and parameters."""
    old = copy.copy(obj)
    plain = {one.name for one in obj._meta.concrete_fields if not one.is_relation}
    for name, value in before.items():
        if name in plain:
            setattr(old, name, value)
        elif name in getattr(obj, "params", {}):
            old.params = old.params | {name: value}
    return old


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value in (None, "") else str(value)


@require_http_methods(["GET", "HEAD", "POST"])
def object_delete(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Ask first, telling the consequences; then delete."""
    _offered(request, kind, "delete")
    obj: Any = get_object_or_404(kind.model, pk=pk)
    if request.method == "POST":
        done = attempt_button(
            request,
            lambda: kind.actions.delete(actor_of(request), obj),
            f"{capfirst(kind.singular)} {obj.name} was deleted.",
        )
        return redirect("list", kind) if done else redirect("detail", kind, pk)
    context = {
        "kind": kind,
        "obj": obj,
        "question": f"Delete {kind.singular} {obj.name}?",
        "button": f"Delete {obj.name}",
        "consequences": consequences.of(load_world(), kind.slug, "delete", pk),
        "ahead": look_ahead(request, lambda who: kind.actions.delete(who, obj)),
    }
    return render(request, "generic/confirm.html", context)


@require_POST
def object_enable(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Let the object take part again."""
    obj: Any = get_object_or_404(kind.model, pk=pk)
    attempt_button(request, lambda: kind.actions.enable(actor_of(request), obj), f"{obj.name} is enabled.")
    return redirect("detail", kind, pk)


@require_http_methods(["GET", "HEAD", "POST"])
def object_disable_after(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Take a server, a service or a service group out of service slowly."""
    if not kind.can_wait:
        raise Http404(f"A {kind.singular} is disabled at once.")
    _offered(request, kind, "disable")
    obj: Any = get_object_or_404(kind.model, pk=pk)
    form = DisableForm(request.POST or None)

    def leave(who: Actor) -> Any:
        given = form.cleaned_data
        return kind.actions.disable(who, obj, given["delay"] or 0, graceful=given["graceful"])

    sent = submit(request, form, leave, _farewell, redirect("detail", kind, pk))
    if sent.answer is not None:
        return sent.answer
    context = {"kind": kind, "obj": obj, "form": form, "outcome": sent.preview}
    context["consequences"] = departures.consequences(kind.slug, pk)
    return render(request, "generic/disable.html", context, status=sent.status)


def _farewell(row: Server | Service | ServiceGroup) -> str:
    if isinstance(row, ServiceGroup):
        return f"The members of {row.name} leave as asked for; each one's page tells when."
    if row.out_of_service_at is not None:
        return f"{row.name} goes out of service at {row.out_of_service_at:%Y-%m-%d %H:%M:%S} UTC."
    return (
        f"{row.name} goes out of service when its last flow has ended." if row.graceful else f"{row.name} is disabled."
    )


@require_http_methods(["GET", "HEAD", "POST"])
def object_disable(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Ask first, telling the consequences; then take the object out of service."""
    _offered(request, kind, "disable")
    obj: Any = get_object_or_404(kind.model, pk=pk)
    if request.method != "POST":
        context = {
            "kind": kind,
            "obj": obj,
            "question": f"Disable {kind.singular} {obj.name}?",
            "button": f"Disable {obj.name}",
            "consequences": consequences.of(load_world(), kind.slug, "disable", pk),
            "ahead": look_ahead(request, lambda who: kind.actions.disable(who, obj)),
        }
        return render(request, "generic/confirm.html", context)
    attempt_button(request, lambda: kind.actions.disable(actor_of(request), obj), f"{obj.name} is disabled.")
    return redirect("detail", kind, pk)


@require_POST
def send_test(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a test event to a target."""
    target = get_object_or_404(EventTarget, pk=pk)
    attempt_button(
        request,
        lambda: eventtargets.send_test(actor_of(request), target),
        f"A test event for {target.name} is on its way; what comes of it is shown below.",
    )
    return redirect("detail", "eventtargets", pk)

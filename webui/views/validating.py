"""What is wrong with a form while it is filled in: the same rules as on saving, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.forms.boundfield import BoundField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from webui import dryrun
from webui.actions import wizard
from webui.forms import ErrorsFromActions
from webui.views.change import actor_of
from webui.views.kinds import Kind
from webui.views.wizard import may_make
from webui.wizard_form import Wizard


@require_POST
def validate(request: HttpRequest, kind: Kind, pk: int | None = None) -> HttpResponse:
    """Errors of a form for an object, new or there, at their fields; ``?field=`` is the one that was left.

    Other fields that are still empty are left alone: nobody was there yet.
    """
    verb = "add" if pk is None else "change"
    if not kind.allows(request.user, verb):
        raise PermissionDenied(f"Your account may not {verb} a {kind.singular}.")
    obj: Any = None if pk is None else get_object_or_404(kind.model, pk=pk)
    form = kind.form(request.POST, instance=obj)
    if form.choose_first:
        return _answer(request, [])
    form.full_clean()
    form.keep_typed()
    actor = actor_of(request)
    try:
        if obj is None:
            dryrun.rehearse(lambda: kind.actions.create(actor, form.values))
        else:
            dryrun.rehearse(lambda: kind.actions.update(actor, obj, form.values))
    except ValidationError as error:
        form.take(error)
    return _answer(request, [form])


@require_POST
def validate_new(request: HttpRequest) -> HttpResponse:
    """The same for a new DSR service."""
    if not may_make(request):
        raise PermissionDenied("Your account may not add virtual servers and services.")
    form = Wizard(request.POST)
    if not form.incomplete:
        form.is_valid()
        form.keep_typed()
        actor = actor_of(request)
        try:
            dryrun.rehearse(lambda: wizard.make(actor, form.order))
        except ValidationError as error:
            form.take(error)
    return _answer(request, form.forms)


def _answer(request: HttpRequest, forms: Iterable[ErrorsFromActions]) -> HttpResponse:
    left = request.GET.get("field", "")
    fields = [
        field for form in forms for field in form.visible_fields() if field.html_name == left or _is_filled(field)
    ]
    return render(request, "partials/live_errors.html", {"fields": fields})


def _is_filled(field: BoundField) -> bool:
    value = field.data
    return any(value) if isinstance(value, list) else value not in (None, "", False)

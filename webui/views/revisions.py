"""Revisions of the configuration: the list, what differs between two, roll-back, saving, and trials."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webui import revisions as reading
from webui.actions import revisions
from webui.forms import ErrorsFromActions
from webui.models import ConfigurationRevision
from webui.views.change import actor_of, attempt, attempt_button, look_ahead

PER_PAGE: Final = 50
MAY: Final = "webui.rollback_installation"


class CompareForm(ErrorsFromActions, forms.Form):
    """Two revisions; ``old`` may be the later one."""

    old = forms.IntegerField(label="From revision", min_value=0)
    new = forms.IntegerField(label="To revision", min_value=0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def clean(self) -> dict[str, Any]:
        """Tell of each whether it is known."""
        for name, number in list(self.cleaned_data.items()):
            try:
                reading.require_known(number)
            except reading.UnknownRevisionError as error:
                self.add_error(name, ValidationError(str(error)))
        return self.cleaned_data


class RollbackForm(ErrorsFromActions, forms.Form):
    """What the operator has looked at."""

    expected = forms.IntegerField(widget=forms.HiddenInput)


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """Newest first; ``before`` in the address is where the page before ended."""
    standing = reading.standing()
    before = request.GET.get("before", "")
    rows = ConfigurationRevision.objects.all()
    if before.isascii() and before.isdecimal() and len(before) < 19:
        rows = rows.filter(number__lt=int(before))
    found = list(rows[: PER_PAGE + 1])
    oldest, _newest = reading.known()
    context = {
        "standing": standing,
        "rows": found[:PER_PAGE],
        "older": found[PER_PAGE - 1].number if len(found) > PER_PAGE else None,
        "later": bool(before),
        "oldest": oldest,
        "may": request.user.has_perm(MAY),
        "may_save": request.user.has_perm("webui.save_installation"),
    }
    return render(request, "revisions.html", context)


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """What differs between two revisions; the newest where none is named."""
    _oldest, newest = reading.known()
    given = {"old": request.GET.get("old", str(newest)), "new": request.GET.get("new", str(newest))}
    form = CompareForm(given)
    changes: list[reading.RowChange] = []
    status = 200
    if form.is_valid():
        changes = reading.difference(form.cleaned_data["old"], form.cleaned_data["new"])
    else:
        status = 422
    context = {"form": form, "changes": changes, "newest": newest, "may": request.user.has_perm(MAY)}
    return render(request, "revisions_compare.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def roll_back(request: HttpRequest, number: int) -> HttpResponse:
    """Ask, with what would change; then do it."""
    form = RollbackForm(request.POST if request.method == "POST" else None)
    status, (_oldest, newest) = 200, reading.known()
    if request.method == "POST" and form.is_valid():
        expected = form.cleaned_data["expected"]
        outcome = attempt(form, lambda: revisions.rollback(actor_of(request), number, expected))
        if outcome.done:
            return redirect(f"{reverse('compare-revisions')}?old={newest}&new={outcome.result}")
        status = outcome.status
    changes: list[reading.RowChange] = []
    try:
        changes = reading.difference(newest, number)
    except reading.UnknownRevisionError as error:
        status = 404
        if not form.is_bound:
            form = RollbackForm({"expected": newest})
        form.add_error(None, str(error))
    context = {"form": form, "number": number, "newest": newest, "changes": changes, "unknown": status == 404}
    context["may"] = request.user.has_perm(MAY)
    if changes and context["may"]:
        context["ahead"] = look_ahead(request, lambda who: revisions.rollback(who, number, newest))
    return render(request, "revisions_rollback.html", context, status=status)


@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Mark what runs as saved."""
    attempt_button(request, lambda: revisions.save(actor_of(request)), "The running configuration is marked as saved.")
    return redirect("revisions")


@require_POST
def begin_trial(request: HttpRequest) -> HttpResponse:
    """From now on changes are rolled back unless they are confirmed."""
    minutes = request.POST.get("minutes", "")
    attempt_button(
        request,
        lambda: revisions.begin_trial(actor_of(request), minutes),
        f"Whatever is changed from now on is rolled back in {minutes} min unless you confirm it.",
    )
    return redirect("revisions")


@require_POST
def confirm_trial(request: HttpRequest) -> HttpResponse:
    """Keep what was changed."""
    attempt_button(request, lambda: revisions.confirm(actor_of(request)), "Confirmed: what was changed stays.")
    return redirect("revisions")


@require_POST
def end_trial(request: HttpRequest) -> HttpResponse:
    """Roll back now."""
    attempt_button(request, lambda: revisions.end_trial(actor_of(request)), "The trial has ended and was rolled back.")
    return redirect("revisions")

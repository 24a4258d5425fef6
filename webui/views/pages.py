"""Dashboard and health of the console itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from webui import queries
from webui.actions import installation
from webui.actions.base import INSTALLATION
from webui.forms import SettingsForm
from webui.models import Installation
from webui.tables import COLUMNS, SPARK, Link, Table, live_list
from webui.views.change import actor_of, attempt

MOST_PROBLEMS: Final = 100
MOST_ROWS: Final = 50  # of one kind, on the dashboard: those with problems come first, and its list has them all


def _part(source: str, caption: str, rows: Sequence[Any], empty: str) -> Table:
    return live_list(source, caption, rows, empty, most=MOST_ROWS, all_url=reverse("list", args=[source]))


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Problems first; then everything that an operator looks at, kept up to date over the websocket."""
    seen = queries.overview()
    tables = [
        replace(
            _part("vservers", "Virtual servers", seen["vservers"], "No virtual server yet."),
            columns=(*COLUMNS["vservers"], SPARK),
        ),
        _part("services", "Services", seen["services"], "No service yet."),
        _part("servers", "Servers", seen["servers"], "No server yet."),
        live_list("directors", "Directors", seen["directors"], "No director has reported yet."),
        live_list("transitions", "Latest changes of state", seen["transitions"], "No state has changed yet."),
        live_list("events", "Latest alarms and events of directors", seen["events"], "Nothing was noticed yet."),
        live_list("changes", "Latest changes of configuration", seen["changes"], "Nothing was changed yet."),
        replace(
            live_list("reasons", "Packets by outcome", seen["reasons"], "No director has counted packets yet."),
            more=Link("Packets by outcome over time", reverse("director-statistics")),
        ),
    ]
    problems = live_list("problems", "Problems", seen["problems"], "No problem.", most=MOST_PROBLEMS)
    context = {"problems": problems, "problem_count": len(seen["problems"]), "tables": tables}
    return render(request, "dashboard.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest) -> HttpResponse:
    """What every director follows."""
    row = Installation.objects.get(pk=INSTALLATION)
    may_change = request.user.has_perm("webui.change_installation")
    form, status = SettingsForm(request.POST if request.method == "POST" else None, instance=row), 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            given = dict(form.cleaned_data)
            outcome = attempt(form, lambda: installation.update(actor_of(request), given))
            if outcome.done:
                messages.success(request, "The settings were saved.")
                return redirect("settings")
            status = outcome.status
    changes = Table(
        "changes",
        "Latest changes",
        COLUMNS["changes"],
        queries.change_rows("installation", INSTALLATION),
        "No change is recorded.",
    )
    context = {"form": form, "may_change": may_change, "changes": changes}
    return render(request, "settings.html", context, status=status)


@login_not_required
@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """200 when the database answers; for supervisors, so it tells nothing else."""
    try:
        queries.database_answers()
    except Error:
        return HttpResponse("The database does not answer.\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")

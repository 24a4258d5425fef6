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

from webui import queries, roles
from webui.actions import installation
from webui.actions.base import INSTALLATION
from webui.forms import SettingsForm
from webui.models import Installation
from webui.recent import public
from webui.tables import COLUMNS, Link, Table, at_a_glance, live_list
from webui.views.change import actor_of, asks_preview, attempt, attempt_preview, within_page
from webui.views.wizard import may_make

MOST_PROBLEMS: Final = 100
MOST_ROWS: Final = 50  # of one kind, on the dashboard: those with problems come first, and its list has them all


def _part(source: str, caption: str, rows: Sequence[Any], empty: str, begin: Link | None = None) -> Table:
    return live_list(source, caption, rows, empty, begin, most=MOST_ROWS, all_url=reverse("list", args=[source]))


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Problems first; then everything that an operator looks at, kept up to date over the websocket."""
    seen = queries.overview()
    recent = seen["recent"] if actor_of(request).may(roles.VIEW_AUDIT) else public(seen["recent"])

    def add(kind: str, model: str, name: str = "") -> Link | None:
        may = request.user.has_perm(f"webui.add_{model}")
        return Link(f"Add {name or model}", reverse("add", args=[kind])) if may else None

    tables = [
        at_a_glance(
            _part(
                "vservers",
                "Virtual servers",
                seen["vservers"],
                "No virtual server yet.",
                add("vservers", "vserver", "virtual server"),
            )
        ),
        live_list("recent", "What changed in the last hour", recent, "Nothing changed in the last hour."),
        live_list(
            "directors",
            "Directors",
            seen["directors"],
            "No director has reported yet: nothing is forwarded until a dataplane worker runs.",
            Link("How the parts work together", reverse("docs-page", args=["concepts"])),
        ),
        live_list(
            "checks",
            "Health checks",
            seen["checks"],
            "Nothing is checked: that begins when a service with a monitor is bound to a virtual server.",
            Link("About monitors", reverse("docs-page", args=["monitors"])),
        ),
        _part("services", "Services", seen["services"], "No service yet.", add("services", "service")),
        _part("servers", "Servers", seen["servers"], "No server yet.", add("servers", "server")),
        replace(
            live_list("reasons", "Packets by outcome", seen["reasons"], "No director has counted packets yet."),
            more=Link("Packets by outcome over time", reverse("director-statistics")),
        ),
    ]
    problems = live_list("problems", "Problems", seen["problems"], "No problem.", most=MOST_PROBLEMS)
    context: dict[str, Any] = {"problems": problems, "problem_count": len(seen["problems"]), "tables": tables}
    if not seen["vservers"]:
        context["begin"] = may_make(request)
    return render(request, "dashboard.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest) -> HttpResponse:
    """What every director follows."""
    row = Installation.objects.get(pk=INSTALLATION)
    actor = actor_of(request)
    may_change = actor.may("webui.change_installation")
    form, status = SettingsForm(request.POST if request.method == "POST" else None, instance=row), 200
    preview = None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            given = dict(form.cleaned_data)
            if asks_preview(request):
                outcome = attempt_preview(request, form, lambda who: installation.update(who, given))
                preview = outcome.result
            else:
                outcome = attempt(form, lambda: installation.update(actor_of(request), given))
            if outcome.done and preview is None:
                messages.success(request, "The settings were saved.")
                return redirect("settings")
            status = outcome.status
        if (fragment := within_page(request, form, preview)) is not None:
            return fragment
    changes = Table(
        "changes",
        "Latest changes",
        COLUMNS["changes"],
        queries.change_rows("installation", INSTALLATION),
        "No change is recorded.",
    )
    shown = changes if actor.may(roles.VIEW_AUDIT) else None
    context = {"form": form, "may_change": may_change, "changes": shown, "outcome": preview}
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

"""What directors counted over time: charts, the same as tables, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from webui import statistics
from webui.metrics.read import DEFAULT, SPANS, Span
from webui.metrics.series import SERVICES, VSERVERS
from webui.statistics import Statistics
from webui.views.kinds import Kind

COUNTED = frozenset({VSERVERS, SERVICES})


def panel(request: HttpRequest, kind: Kind, pk: int) -> Statistics | None:
    """Charts of an object for its page; None for a kind that has no counters."""
    if kind.slug not in COUNTED:
        return None
    return statistics.statistics(kind.slug, str(pk), _span(request), request.GET.get("director", ""))


def _span(request: HttpRequest) -> Span:
    return statistics.span_of(request.GET.get("range", ""))


@require_safe
def of_object(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Charts and table of one virtual server or service."""
    found = panel(request, kind, pk)
    if found is None:
        raise Http404(f"Nothing is counted of a {kind.singular}.")
    obj: Any = get_object_or_404(kind.model, pk=pk)
    context = {
        "title": f"Statistics of {obj.name}",
        "crumbs": [(kind.plural, reverse("list", args=[kind])), (obj.name, reverse("detail", args=[kind, pk]))],
        "statistics": found,
        "json_url": reverse("statistics-json", args=[kind, pk]),
    }
    return render(request, "statistics.html", context)


@require_safe
def of_object_json(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Figures of one virtual server or service; ``?range=`` is 1h, 24h or 30d."""
    if kind.slug not in COUNTED:
        return JsonResponse({"error": f"Nothing is counted of a {kind.singular}."}, status=404)
    if not kind.model._default_manager.filter(pk=pk).exists():
        return JsonResponse({"error": f"There is no {kind.singular} with number {pk}."}, status=404)
    return _json(request, lambda span: statistics.as_json(kind.slug, str(pk), span))


@require_safe
def of_directors(request: HttpRequest) -> HttpResponse:
    """What became of packets, over time."""
    context = {
        "title": "Packets by outcome",
        "crumbs": [("Dashboard", reverse("dashboard"))],
        "statistics": statistics.outcomes(_span(request), request.GET.get("director", "")),
        "json_url": reverse("director-statistics-json"),
    }
    return render(request, "statistics.html", context)


@require_safe
def of_directors_json(request: HttpRequest) -> HttpResponse:
    """What became of packets, as figures."""
    return _json(request, statistics.outcomes_as_json)


def _json(request: HttpRequest, figures: Callable[[Span], dict[str, Any]]) -> JsonResponse:
    asked = request.GET.get("range", DEFAULT)
    if asked not in SPANS:
        known = ", ".join(SPANS)
        return JsonResponse({"error": f"range={asked}: it is one of {known}."}, status=400)
    return JsonResponse(figures(SPANS[asked]))

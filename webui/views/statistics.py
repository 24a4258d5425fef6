"""What directors counted over time: charts, the same as tables, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from webui import statistics
from webui.metrics.read import DEFAULT, SPANS, Span
from webui.metrics.series import SERVICES, VSERVERS
from webui.models import Monitor, Server, Service, ServiceGroup
from webui.views import tabs
from webui.views.kinds import Kind

COUNTED = frozenset({VSERVERS, SERVICES})


def _span(request: HttpRequest) -> Span:
    return statistics.span_of(request.GET.get("range", ""))


@require_safe
def of_object(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    """Charts and table of one virtual server, service, group or server; how the checks of a monitor answer."""
    obj = tabs.obj_of(kind, pk, "statistics")
    if isinstance(obj, Monitor):
        return tabs.checks(request, kind, obj)
    span, director = _span(request), request.GET.get("director", "")
    if isinstance(obj, Server | ServiceGroup):
        services = obj.services if isinstance(obj, Server) else Service.objects.filter(membership__group=obj)
        keys = [str(one) for one in services.order_by("pk").values_list("pk", flat=True)]
        found = statistics.together(SERVICES, keys, span, director)
    else:
        found = statistics.statistics(kind.slug, str(pk), span, director)
    context = tabs.head(request, kind, pk, obj.name, "statistics") | {
        "title": f"Statistics of {obj.name}",
        "statistics": found,
        "json_url": reverse("statistics-json", args=[kind, pk]) if kind.slug in COUNTED else "",
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

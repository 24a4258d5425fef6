"""“Probe now”: try a monitor on a service at once, and show the exchange step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from webui import tries
from webui.actions import probing
from webui.candidates import Candidate, candidates
from webui.models import Monitor, ProbeTarget, Service
from webui.views.change import actor_of

PERMISSION: Final = "webui.change_monitor"
_NOT_BOUND_LIMIT: Final = 200  # services offered before the monitor is bound to them
_BAR: Final = 1000  # width of the bars' own measure
_SLIVER: Final = 6  # of it, so that a step that took no time is seen


@dataclass(frozen=True)
class Bar:
    """Where a step lies within the whole exchange, in thousandths."""

    x: int
    width: int


@dataclass
class Panel:
    """The form, and what came of it; ``problem`` says why nothing was asked."""

    monitor: Monitor
    bound: list[Candidate]
    others: list[Candidate]
    others_left_off: int
    chosen: str = ""
    ticket: str = ""
    found: tries.Try | None = None
    problem: str = ""
    rows: list[tuple[tries.StepRow, Bar]] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Whether the page should look again."""
        return self.found is not None and self.found["state"] in {"waiting", "running"}

    def show(self, found: tries.Try) -> None:
        """Put a result on the panel."""
        self.found = found
        self.problem = found["problem"]
        self.chosen = f"{found['service']}-{found['target']}"
        if found["outcome"] is not None:
            self.rows = bars(found["outcome"]["steps"])


def bars(steps: list[tries.StepRow]) -> list[tuple[tries.StepRow, Bar]]:
    """Each step with its bar: from when the one before was complete until it was."""
    whole = max([step["at"] for step in steps], default=0.0) or 1.0
    found = []
    for step in steps:
        width = max(_SLIVER, round(step["took"] / whole * _BAR))
        x = min(_BAR - width, round((step["at"] - step["took"]) / whole * _BAR))
        found.append((step, Bar(max(0, x), width)))
    return found


def panel(request: HttpRequest, monitor: Monitor) -> Panel | None:
    """The panel of a monitor's page; None for who may not probe. ``?choice=`` chooses beforehand."""
    if not actor_of(request).may(PERMISSION):
        return None
    chosen = request.GET.get("choice", "")
    offered = candidates(monitor)
    others = [one for one in offered if not one.is_bound]
    shown = [one for number, one in enumerate(others) if number < _NOT_BOUND_LIMIT or one.key == chosen]
    return Panel(monitor, [one for one in offered if one.is_bound], shown, len(others) - len(shown), chosen)


@require_http_methods(["GET", "HEAD", "POST"])
def probe(request: HttpRequest, pk: int) -> HttpResponse:
    """The panel as a page of its own; a POST has a worker probe."""
    monitor = get_object_or_404(Monitor, pk=pk)
    if request.method != "POST":
        return _page(request, _panel(request, monitor))
    ticket, problem, status = _ask(request, monitor)
    if problem:
        found = _panel(request, monitor)
        found.problem, found.chosen = problem, request.POST.get("choice", "")
        return _page(request, found, status)
    return _look(request, monitor, ticket) if _is_part(request) else redirect("probe-result", pk, ticket)


def _ask(request: HttpRequest, monitor: Monitor) -> tuple[str, str, int]:
    """The ticket, or why there is none, and the status of the answer. Raises PermissionRefused."""
    try:
        service, vip = _chosen(request.POST.get("choice", ""))
        return probing.start(actor_of(request), monitor, service, vip), "", 200
    except ValidationError as error:
        return "", " ".join(error.messages), 422
    except tries.BusyError as error:
        return "", str(error), 409
    except tries.UnavailableError as error:
        return "", str(error), 503


@require_safe
def probe_result(request: HttpRequest, pk: int, ticket: str) -> HttpResponse:
    """What came of a probe; a part of the page for htmx, which looks again until there is an answer."""
    return _look(request, get_object_or_404(Monitor, pk=pk), ticket)


def _look(request: HttpRequest, monitor: Monitor, ticket: str) -> HttpResponse:
    shown = _panel(request, monitor)
    try:
        found = tries.look(ticket)
    except tries.UnavailableError as error:
        shown.problem = str(error)
        return _page(request, shown, 503)
    mine = found is not None and found["requester"] == probing.requester_of(actor_of(request))
    if found is None or not mine or found["monitor"] != monitor.pk:
        raise Http404("There is no such probe; results are kept for a quarter of an hour.")
    shown.ticket = ticket
    shown.show(found)
    return _page(request, shown)


def _chosen(key: str) -> tuple[Service, str]:
    """Service and VIP of a choice. Raises ValidationError when it is not there (any more)."""
    service, _dash, target = key.partition("-")
    if service.isdecimal() and target.isdecimal():
        found = Service.objects.filter(pk=service).first()
        vip = ProbeTarget.objects.filter(pk=target).values_list("vip", flat=True).first()
        if found is not None and vip is not None:
            return found, vip
    raise ValidationError("Choose a service and a VIP; what was chosen is not there (any more).")


def _panel(request: HttpRequest, monitor: Monitor) -> Panel:
    may = actor_of(request).may(PERMISSION)
    # The part that htmx asks for, a few times a second, has no form.
    found = Panel(monitor, [], [], 0) if may and _is_part(request) else panel(request, monitor)
    if found is None:
        raise PermissionDenied(f"You may not probe: the permission {PERMISSION} is missing.")
    return found


def _page(request: HttpRequest, found: Panel, status: int = 200) -> HttpResponse:
    context: dict[str, Any] = {"probe": found, "pk": found.monitor.pk}
    if _is_part(request):
        # htmx shows answers of success alone, and why there is none is to be shown too.
        return render(request, "partials/probe_result.html", context | {"part": True})
    return render(request, "probe.html", context, status=status)


def _is_part(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"

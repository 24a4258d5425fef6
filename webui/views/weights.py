"""The weights of all services of a virtual server on one page: one change, seen before it is made."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.forms import BoundField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from webui.actions import vservers
from webui.actions.base import Actor
from webui.effective import Verdict, sessionless, takes_clients
from webui.forms import WeightsForm
from webui.groups import groups_of
from webui.models import VServer
from webui.scope import scope_of_vservers
from webui.views.change import Outcome, actor_of, asks_preview, attempt, attempt_preview, within_page
from webui.views.kinds import KINDS
from webui.views.objects import seen_version
from webui.world import World, load_world


@dataclass(frozen=True)
class Row:
    """One service. ``takes``: whether it has a share of the clients now; ``share``: which, by weight, in percent."""

    field: BoundField
    state: str
    reason: str
    takes: bool
    share: float


@require_http_methods(["GET", "HEAD", "POST"])
def weights(request: HttpRequest, pk: int) -> HttpResponse:
    """Change the weights of all bound services at once."""
    kind = KINDS["vservers"]
    if request.method != "POST" and not kind.allows(request.user, "change"):
        raise PermissionDenied(f"Your account may not change a {kind.singular}.")
    vserver = get_object_or_404(VServer, pk=pk)
    world = load_world(scope_of_vservers([pk]))
    bound = world.bindings_of_vserver[pk]
    members = groups_of(world).of_service
    given = [
        (one.service_id, one.service.name, one.weight, members[one.service_id].group.name)
        if one.service_id in members
        else (one.service_id, one.service.name, one.weight, "")
        for one in bound
    ]
    form = WeightsForm(request.POST if request.method == "POST" else None, services=given)
    version, outcome, preview = vserver.version, Outcome(), None
    if request.method == "POST":
        outcome, version = Outcome(status=422), seen_version(request)
        if form.is_valid():

            def weigh(who: Actor) -> VServer:
                return vservers.set_weights(who, vserver, form.weights, version)

            if asks_preview(request):
                outcome = attempt_preview(request, form, weigh)
                preview = outcome.result
            else:
                outcome = attempt(form, lambda: weigh(actor_of(request)))
                if outcome.done:
                    messages.success(request, f"The weights of {vserver.name} were saved.")
                    return redirect("detail", kind, pk)
        if (fragment := within_page(request, form, preview)) is not None:
            return fragment
        version = outcome.conflict.current_version if outcome.conflict else version
    context = {
        "kind": kind,
        "obj": vserver,
        "form": form,
        "rows": _rows(world, world.vservers.get(pk, vserver), form),
        "version": version,
        "conflict": outcome.conflict,
        "outcome": preview,
    }
    return render(request, "weights.html", context, status=outcome.status)


def _rows(world: World, vserver: VServer, form: WeightsForm) -> list[Row]:
    verdicts = world.verdicts(vserver)
    found = []
    for one in world.bindings_of_vserver[vserver.pk]:
        field, verdict = form[f"weight-{one.service_id}"], verdicts[one.service_id]
        found.append((field, verdict, _weight(field, one.weight)))
    total = sum(weight for _field, verdict, weight in found if _takes(verdict, vserver))
    return [
        Row(
            field,
            verdict.state,
            verdict.reason,
            takes := _takes(verdict, vserver),
            100 * weight / total if takes else 0.0,
        )
        for field, verdict, weight in found
    ]


def _takes(verdict: Verdict, vserver: VServer) -> bool:
    return takes_clients(verdict, keeps_no_flows=sessionless(vserver))


def _weight(field: BoundField, present: int) -> int:
    """What was typed, if it is a weight."""
    typed = str(field.value() or "")
    return int(typed) if typed.isascii() and typed.isdecimal() and 1 <= int(typed[:4]) <= 100 else present

"""The live view of a virtual server's flows."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from webui.actions import flow_watch
from webui.actions.errors import NotFoundError, PermissionRefused
from webui.models import VServer
from webui.rows import endpoint
from webui.views.change import actor_of

MAY_WATCH = "webui.watch_vserver"


@require_safe
def flows(request: HttpRequest, pk: int) -> HttpResponse:
    """New flows and drops as they happen; the page itself says that somebody looks."""
    vserver = get_object_or_404(VServer, pk=pk)
    context = {
        "vserver": vserver,
        "endpoint": endpoint(vserver.address, vserver.port),
        "may_watch": actor_of(request).may(MAY_WATCH),
    }
    return render(request, "flows.html", context)


@require_POST
def watch(request: HttpRequest, pk: int) -> HttpResponse:
    """Somebody still looks. 204, or an error in words."""
    vserver = get_object_or_404(VServer, pk=pk)
    try:
        flow_watch.renew(actor_of(request), vserver, frames="frames" in request.POST)
    except PermissionRefused as error:
        return JsonResponse({"error": str(error)}, status=403)
    except NotFoundError as error:
        return JsonResponse({"error": str(error.args[0])}, status=404)
    return HttpResponse(status=204)

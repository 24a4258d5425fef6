"""A virtual server drawn: the DSR triangle, and the path of a packet."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from dataplane.explain_query import QueryError, parse_query
from webui import diagram, explained, packet_path
from webui.choices import AdminState
from webui.diagram import Node
from webui.explained import Director, UnknownError
from webui.models import Service, VServer
from webui.rows import endpoint, url_of, vserver_row
from webui.views.change import actor_of
from webui.views.explaining import question
from webui.views.flows import MAY_WATCH
from webui.world import World, load_world


def _load(pk: int) -> tuple[World, VServer]:
    world = load_world()
    if pk not in world.vservers:
        raise Http404(f"There is no virtual server with number {pk}; it may have been deleted.")
    return world, world.vservers[pk]


@require_safe
def triangle(request: HttpRequest, pk: int) -> HttpResponse:
    """Requests through the director, replies past it."""
    world, vserver = _load(pk)
    shown = request.GET.getlist("show")
    nodes = nodes_of(world, vserver)
    drawn = diagram.grouped(nodes, shown)
    context = {
        "vserver": vserver,
        "row": vserver_row(world, vserver),
        "layouts": [diagram.wide(drawn), diagram.stacked(drawn)],
        "directors": [one.director for one in world.directors],
        "number": len(nodes),
        "is_grouped": len(drawn) < len(nodes),
        "is_opened": bool(shown) and len(nodes) > diagram.MOST_SINGLE,
        "backup": world.backup_taking(vserver),
        "shared": any(len(world.bindings_of_service[int(key)]) > 1 for node in nodes for key in node.keys),
    }
    return render(request, "triangle.html", context)


def nodes_of(world: World, vserver: VServer) -> list[Node]:
    """The services of a virtual server, with their states at its VIP."""
    return [_node(world, vserver, binding.service, binding.weight) for binding in world.bindings_of_vserver[vserver.pk]]


def _node(world: World, vserver: VServer, service: Service, weight: int) -> Node:
    rates = world.rates("services", service.pk)
    server = service.server
    path = next((path for path in world.paths[server.pk] if path.eligible), None)
    return Node(
        keys=(str(service.pk),),
        name=service.name,
        url=url_of("services", service.pk),
        state=world.verdict(service, vserver).state,
        lines=(f"{server.name} {server.address}", path.mac if path else "MAC not known"),
        weight=weight,
        packets_per_second=rates["packets_per_second"],
        bits_per_second=rates["bits_per_second"],
    )


@require_safe
def packet(request: HttpRequest, pk: int) -> HttpResponse:
    """The article's table for this virtual server, and a sampled frame before and after rewriting."""
    world, vserver = _load(pk)
    known = explained.directors(world.now)
    director = next((one for one in known if one.name == request.GET.get("director")), known[0] if known else None)
    candidates = packet_path.candidates(world, vserver)
    wanted = request.GET.get("service", "")
    service = next((one for one in candidates if str(one.pk) == wanted), candidates[0] if candidates else None)
    client = request.GET.get("client", "").strip()
    error = ""
    if client:
        try:
            service = _of_client(vserver, director, client) or service
        except (QueryError, UnknownError) as problem:
            error, client = str(problem).removeprefix("from: "), ""
    context: dict[str, Any] = {
        "vserver": vserver,
        "endpoint": endpoint(vserver.address, vserver.port, vserver.port_end),
        "hops": packet_path.hops(world, vserver, service, director, client),
        "service": service,
        "candidates": candidates,
        "director": director,
        "directors": known,
        "client": request.GET.get("client", "").strip(),
        "asked_client": client,
        "error": error,
        "explain": f"{reverse('explain')}?{urlencode(question(vserver) | {'client': client})}",
        "may_watch": actor_of(request).may(MAY_WATCH),
    }
    return render(request, "packet_path.html", context, status=422 if error else 200)


def _of_client(vserver: VServer, director: Director | None, client: str) -> Service | None:
    """The service that a client gets, as far as that can be computed. Raises QueryError, UnknownError."""
    asked = question(vserver)
    query = parse_query(client, str(asked["vip"]), str(asked["protocol"]), "", str(asked["dport"]))
    if director is None or vserver.state != AdminState.ENABLED:
        return None
    found = explained.explain(query, director).service
    return Service.objects.select_related("server").get(pk=found.config_id) if found else None

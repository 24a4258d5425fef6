"""The article's table of a packet's three frames, filled from the running configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from webui.choices import State
from webui.explained import Director
from webui.models import ServerPath, Service, VServer
from webui.world import World

CLIENT = "the client's"
ROUTER = "the client's, or its router's"
UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Hop:
    """One frame: from whom to whom, and its four addresses. ``changed`` names those that the director rewrote."""

    step: str
    source_ip: str
    source_mac: str
    destination_ip: str
    destination_mac: str
    changed: frozenset[str] = frozenset()


def hops(world: World, vserver: VServer, service: Service | None, director: Director | None, client: str) -> list[Hop]:
    """Request, the same request rewritten, and the reply. ``client`` is an address, or empty for any client's."""
    source = client or CLIENT
    client_mac = _client_mac(director, client)
    arrival = egress = server_mac = UNKNOWN
    if director is not None and director.attached:
        arrival = director.arrival(ip_address(client) if client else None).mac.hex(":")
    path = _path(world, service, director)
    if path is not None and director is not None:
        server_mac = path.mac
        egress = next((item.mac.hex(":") for item in director.interfaces if item.name == path.interface), UNKNOWN)
    server = service.server.name if service else "server"
    return [
        Hop(f"1. client → {_name(director)}", source, client_mac, vserver.address, arrival),
        Hop(
            f"2. {_name(director)} → {server}",
            source,
            egress,
            vserver.address,
            server_mac,
            frozenset({"source_mac", "destination_mac"}),
        ),
        Hop(f"3. {server} → client", vserver.address, server_mac, source, client_mac),
    ]


def _name(director: Director | None) -> str:
    return director.name if director else "director"


def _client_mac(director: Director | None, client: str) -> str:
    if not client or director is None:
        return ROUTER
    return CLIENT if director.is_neighbour(ip_address(client)) else "the router's"


def _path(world: World, service: Service | None, director: Director | None) -> ServerPath | None:
    if service is None or director is None:
        return None
    usable = (path for path in world.paths[service.server_id] if path.director == director.name and path.eligible)
    return next(usable, None)


def candidates(world: World, vserver: VServer) -> Sequence[Service]:
    """Services of the vserver, those that are UP first."""
    bound = [binding.service for binding in world.bindings_of_vserver[vserver.pk]]
    return sorted(bound, key=lambda one: (world.verdict(one, vserver).state != State.UP, one.name))

"""What taking a server, a service or a service group out of service does, in sentences."""

from __future__ import annotations

from collections.abc import Collection

from webui.effective import sessionless, takes_clients
from webui.groups import load_groups
from webui.models import Service, VServerServiceBinding
from webui.world import World, load_world, row_of


def consequences(kind: str, pk: int) -> list[str]:
    """Of disabling ``kind`` (servers, services or servicegroups) ``pk`` slowly; fourteen queries at most.

    Raises ObjectDoesNotExist.
    """
    world = load_world()
    services = _services(world, kind, pk)
    leaving = {service.pk for service in services}
    told = [
        _of_binding(world, service, binding, leaving)
        for service in services
        for binding in world.bindings_of_service[service.pk]
    ]
    return told or ["It is bound to no virtual server, so no traffic changes."]


def _services(world: World, kind: str, pk: int) -> list[Service]:
    if kind == "servicegroups":
        groups = load_groups([pk])
        row_of(groups.groups, pk)
        return groups.services(world, pk)
    row_of(world.servers if kind == "servers" else world.services, pk)
    return world.services_of[pk] if kind == "servers" else [world.services[pk]]


def _of_binding(world: World, service: Service, binding: VServerServiceBinding, leaving: Collection[int]) -> str:
    vserver = binding.vserver
    keeps_no_flows = sessionless(vserver)
    others = [
        other.service.name
        for other in world.bindings_of_vserver[vserver.pk]
        if other.service.server_id != service.server_id
        and other.service_id not in leaving
        and takes_clients(world.verdict(other.service, vserver), keeps_no_flows=keeps_no_flows)
    ]
    if keeps_no_flows:
        told = f"{vserver.name} is sessionless: {service.name} keeps its clients until the delay is over; then they"
    else:
        told = f"{vserver.name}: flows of {service.name} go on until the delay is over; new clients at once"
    if not others:
        return f"{told} get no answer: no other service of it is UP."
    return f"{told} go to {', '.join(others)}."

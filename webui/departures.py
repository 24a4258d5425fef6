"""What taking a server or a service out of service does, in sentences."""

from __future__ import annotations

from django.core.exceptions import ObjectDoesNotExist

from webui.effective import sessionless, takes_clients
from webui.models import Service, VServerServiceBinding
from webui.world import World, load_world


def consequences(kind: str, pk: int) -> list[str]:
    """Of disabling ``kind`` (servers or services) ``pk`` slowly; eleven queries. Raises ObjectDoesNotExist."""
    world = load_world()
    if pk not in (world.servers if kind == "servers" else world.services):
        raise ObjectDoesNotExist(f"No object {pk}.")
    services = world.services_of[pk] if kind == "servers" else [world.services[pk]]
    told = [
        _of_binding(world, service, binding)
        for service in services
        for binding in world.bindings_of_service[service.pk]
    ]
    return told or ["It is bound to no virtual server, so no traffic changes."]


def _of_binding(world: World, service: Service, binding: VServerServiceBinding) -> str:
    vserver = binding.vserver
    keeps_no_flows = sessionless(vserver)
    others = [
        other.service.name
        for other in world.bindings_of_vserver[vserver.pk]
        if other.service.server_id != service.server_id
        and takes_clients(world.verdict(other.service, vserver), keeps_no_flows=keeps_no_flows)
    ]
    if keeps_no_flows:
        told = f"{vserver.name} is sessionless: {service.name} keeps its clients until the delay is over; then they"
    else:
        told = f"{vserver.name}: flows of {service.name} go on until the delay is over; new clients at once"
    if not others:
        return f"{told} get no answer: no other service of it is UP."
    return f"{told} go to {', '.join(others)}."

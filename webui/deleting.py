"""What deleting an object will do, in sentences."""

from __future__ import annotations

from webui.choices import State
from webui.models import Service, VServer
from webui.rows import endpoint
from webui.world import World, load_world, row_of


def consequences(kind: str, pk: int) -> list[str]:
    """What deleting the object will do, in sentences. Raises ObjectDoesNotExist."""
    world = load_world()
    if kind == "servers":
        services = [row.name for row in world.services_of[row_of(world.servers, pk).pk]]
        return (
            [f"It still has services: {', '.join(services)}. Delete them first."]
            if services
            else ["It has no services, so no traffic changes."]
        )
    if kind == "monitors":
        bound = [row.service.name for rows in world.monitors_of.values() for row in rows if row.monitor_id == pk]
        return (
            [f"It is bound to {', '.join(bound)}. Unbind it first."]
            if bound
            else ["It is bound to no service, so no state changes."]
        )
    if kind == "eventtargets":
        return ["It gets no further events. Those that wait to be sent are not sent."]
    if kind == "vservers":
        return _without_vserver(world, row_of(world.vservers, pk))
    return _without_service(world, row_of(world.services, pk))


def _without_vserver(world: World, vserver: VServer) -> list[str]:
    names = [binding.service.name for binding in world.bindings_of_vserver[vserver.pk]]
    told = [f"Clients of {endpoint(vserver.address, vserver.port, vserver.port_end)} get no answer any more, at once."]
    if names:
        told.append(f"Its services are unbound and stay: {', '.join(names)}.")
    primaries = [one.name for one in world.vservers.values() if one.backup_vserver_id == vserver.pk]
    if primaries:
        return [f"It is the backup of {', '.join(primaries)}. Give them another or none first."]
    return told


def _without_service(world: World, service: Service) -> list[str]:
    told = []
    for binding in world.bindings_of_service[service.pk]:
        others = [
            other.service.name
            for other in world.bindings_of_vserver[binding.vserver_id]
            if other.service_id != service.pk and world.verdict(other.service, binding.vserver).state == State.UP
        ]
        left = (
            f"its clients move to {', '.join(others)}"
            if others
            else "no service of it is UP then: clients get no answer"
        )
        told.append(f"It is unbound from {binding.vserver.name}; {left}.")
    return told or ["It is bound to no virtual server, so no traffic changes."]

"""What a change of a service group would do, in sentences."""

from __future__ import annotations

from collections.abc import Collection

from webui.choices import AdminState
from webui.effective import is_leaving
from webui.groups import Groups, groups_of
from webui.models import ServiceGroup, VServer
from webui.remaining import left
from webui.world import World, row_of

NO_TRAFFIC = "It is bound to no virtual server, so no traffic changes."


def of_group(world: World, deed: str, pk: int, gone: Collection[int] = ()) -> list[str]:
    """What ``deed`` does to a group; ``gone`` are groups that go by the same change. Raises ObjectDoesNotExist."""
    groups = groups_of(world)
    group: ServiceGroup = row_of(groups.groups, pk)
    services = groups.services(world, pk)
    leaving = {one.service_id for key in {*gone, pk} for one in groups.members[key]}
    if deed == "delete":
        names = ", ".join(one.name for one in services)
        told = [f"Its members are deleted with it: {names}."] if services else ["It has no members."]
        return told + _afterwards(world, groups, pk, leaving, "It is unbound from")
    wanted = AdminState.ENABLED if deed == "enable" else AdminState.DISABLED
    as_wanted = {group.state, *(one.state for one in services)} == {wanted}
    if as_wanted and not (deed == "disable" and any(is_leaving(one, world.now) for one in services)):
        return [f"It is {wanted.label} already, and so are all of its members: nothing changes."]
    if deed == "disable":
        return _afterwards(world, groups, pk, leaving, "At once none of its members serves")
    names = ", ".join(one.name for one in groups.bound_to(world, pk))
    return [f"Its members take clients of {names} again while their checks succeed."] if names else [NO_TRAFFIC]


def _afterwards(world: World, groups: Groups, pk: int, gone: Collection[int], begin: str) -> list[str]:
    """What becomes of the clients of each virtual server when the members are no more."""
    return [_of_vserver(world, one, gone, begin) for one in groups.bound_to(world, pk)] or [NO_TRAFFIC]


def _of_vserver(world: World, vserver: VServer, gone: Collection[int], begin: str) -> str:
    bound = [one for one in world.bindings_of_vserver[vserver.pk] if one.service_id in gone]
    if not bound:
        return f"{begin} {vserver.name}; no client moves."
    others, whose = left(world, bound[0], gone)
    if not others:
        return f"{begin} {vserver.name}; no service of it is UP then: clients get no answer."
    return f"{begin} {vserver.name}; its clients go to {', '.join(others)}{whose}."

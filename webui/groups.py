"""Service groups as pages and messages show them: their members' states together. Constant query counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from webui.choices import PARTIAL_UP, SERVING, STATE_ORDER, State
from webui.models import Service, ServiceGroup, ServiceGroupMember, VServer, VServerServiceGroupBinding
from webui.payloads import ServiceGroupRow
from webui.quick import objects
from webui.rows import url_of
from webui.world import World


@dataclass
class Groups:
    """Groups by key, and by what refers to them; members by the key of their service too. See :func:`load_groups`."""

    groups: dict[int, ServiceGroup] = field(default_factory=dict)
    members: dict[int, list[ServiceGroupMember]] = field(default_factory=lambda: defaultdict(list))
    of_service: dict[int, ServiceGroupMember] = field(default_factory=dict)
    vservers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def services(self, world: World, pk: int) -> list[Service]:
        """The services of a group's members, by name; one that was made after the world was read is left out."""
        found = [world.services[one.service_id] for one in self.members[pk] if one.service_id in world.services]
        return sorted(found, key=lambda one: one.name.casefold())

    def bound_to(self, world: World, pk: int) -> list[VServer]:
        """The virtual servers of a group, by name."""
        found = [world.vservers[one] for one in self.vservers[pk] if one in world.vservers]
        return sorted(found, key=lambda one: one.name.casefold())


def load_groups(pks: Collection[int] | QuerySet[Any, Any] | None = None) -> Groups:
    """All groups, or these, be they those that a query finds: three queries."""
    groups, members = ServiceGroup.objects.all(), ServiceGroupMember.objects.order_by("pk")
    bound = VServerServiceGroupBinding.objects.order_by("pk").values_list("group", "vserver")
    if pks is not None:
        groups, members, bound = groups.filter(pk__in=pks), members.filter(group__in=pks), bound.filter(group__in=pks)
    found = Groups({group.pk: group for group in objects(groups)})
    for member in objects(members, {"group": found.groups}):
        found.members[member.group_id].append(member)
        found.of_service[member.service_id] = member
    for group, vserver in bound:
        found.vservers[group].append(vserver)
    return found


def groups_of(world: World) -> Groups:
    """All groups, read once for a world: three queries the first time."""
    if "groups" not in world.memory:
        world.memory["groups"] = load_groups()
    found: Groups = world.memory["groups"]
    return found


def effective_state(states: Iterable[str]) -> str:
    """What the members' states come to, as on the command line.

    UP when all serve clients, PARTIAL-UP when some do, OUT OF SERVICE or UNKNOWN when all are; otherwise DOWN, as also
    without members.
    """
    found = list(states)
    up = sum(state in SERVING for state in found)
    if up:
        return str(State.UP) if up == len(found) else PARTIAL_UP
    alike = found[0] if len(set(found)) == 1 else State.DOWN
    return str(alike if alike in {State.OUT_OF_SERVICE, State.UNKNOWN} else State.DOWN)


def group_row(world: World, groups: Groups, group: ServiceGroup) -> ServiceGroupRow:
    """A group with what its members come to."""
    services = groups.services(world, group.pk)
    states = [str(world.service_state(one).state) for one in services]
    up = sum(state in SERVING for state in states)
    return ServiceGroupRow(
        key=str(group.pk),
        url=url_of("servicegroups", group.pk),
        name=group.name,
        state=effective_state(states),
        state_reason=_reason(groups, group, states),
        admin=group.state,
        service_type=group.service_type,
        members=f"{up}/{len(states)}",
        vservers=len(groups.vservers[group.pk]),
    )


def _reason(groups: Groups, group: ServiceGroup, states: list[str]) -> str:
    if not states:
        return "it has no members"
    counted = {state: states.count(state) for state in sorted(set(states), key=lambda one: -STATE_ORDER[one])}
    told = ", ".join(f"{number} {state}" for state, number in counted.items())
    told += f" of {len(states)} members" if len(counted) == 1 else ""
    return told if groups.vservers[group.pk] else f"{told}; bound to no virtual server"

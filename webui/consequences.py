"""What a change of an object would do, in sentences; ``gone`` are objects of its kind that go by the same change."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist
from django.utils import timezone

from webui import sessions
from webui.choices import AdminState
from webui.group_consequences import of_group
from webui.groups import groups_of
from webui.models import ApiToken, EventTarget, SecondFactor, Service, VServer
from webui.remaining import left
from webui.rows import endpoint
from webui.world import World, row_of

NO_TRAFFIC = "It is bound to no virtual server, so no traffic changes."


def of(world: World, kind: str, deed: str, pk: int, gone: Collection[int] = ()) -> list[str]:
    """What ``deed`` (enable, disable or delete) does to an object. Raises ObjectDoesNotExist."""
    gone = frozenset(gone) | {pk}
    if kind == "servicegroups":
        return of_group(world, deed, pk, gone)
    if deed == "delete":
        return of_deleting(world, kind, pk, gone)
    row = rows_of(world, kind).get(pk)
    if row is None:
        raise ObjectDoesNotExist(f"No object {pk}.")
    wanted = AdminState.ENABLED if deed == "enable" else AdminState.DISABLED
    # Disabling at once ends a delay that runs.
    if row.state == wanted and not (deed == "disable" and _leaves_later(row, world)):
        return [f"It is {wanted.label} already: nothing changes."]
    if getattr(row, "built_in", False):
        return ["It is built in and cannot be changed or disabled: this is refused."]
    return _of_enabling(world, kind, row) if deed == "enable" else _of_disabling(world, kind, row, gone)


def rows_of(world: World, kind: str) -> dict[int, Any]:
    """Objects of a kind by key; service groups and targets of events are read, as no world has them."""
    if kind == "servicegroups":
        return dict(groups_of(world).groups)
    if kind == "eventtargets":
        return {row.pk: row for row in EventTarget.objects.all()}
    found: dict[int, Any] = getattr(world, kind)
    return found


def of_deleting(world: World, kind: str, pk: int, gone: Collection[int] = ()) -> list[str]:
    """What deleting an object does. Raises ObjectDoesNotExist."""
    if kind == "eventtargets":
        return ["It gets no further events. Those that wait to be sent are not sent."]
    row = rows_of(world, kind).get(pk)
    if row is None:
        raise ObjectDoesNotExist(f"No object {pk}.")
    if kind == "servers":
        services = [one.name for one in world.services_of[pk]]
        refused = f"It still has services: {', '.join(services)}. Delete them first."
        return [refused] if services else ["It has no services, so no traffic changes."]
    if kind == "monitors":
        if row.built_in:
            return ["It is built in and cannot be deleted: this is refused."]
        bound = [one.service.name for rows in world.monitors_of.values() for one in rows if one.monitor_id == pk]
        refused = f"It is bound to {', '.join(bound)}. Unbind it first."
        return [refused] if bound else ["It is bound to no service, so no state changes."]
    if kind == "services" and (member := groups_of(world).of_service.get(pk)) is not None:
        return [f"It is a member of service group {member.group.name}: remove it there. Here this is refused."]
    return _without_vserver(world, row, gone) if kind == "vservers" else _without_service(world, row, gone)


def of_leaving(world: World, pk: int) -> list[str]:
    """What removing a member from its group does, by the key of its service. Raises ObjectDoesNotExist."""
    return _without_service(world, row_of(world.services, pk), {pk})


def of_deleting_user(row: User) -> list[str]:
    """What deleting a user does."""
    working = ApiToken.objects.filter(user=row, revoked_at=None, expires_at__gt=timezone.now()).order_by("name")
    names = list(working.values_list("name", flat=True))
    ended = len(sessions.of(row))
    told = [f"{row.username} can log in no more. What {row.username} did stays in the audit, under this name."]
    if ended:
        told.append(f"{_counted(ended, 'session')} of {row.username} {'ends' if ended == 1 else 'end'} at once.")
    else:
        told.append("No session ends: this user is logged in nowhere.")
    if names:
        told.append(f"{_counted(len(names), 'API token')} no longer work{'s' * (len(names) == 1)}: {', '.join(names)}.")
    else:
        told.append("No API token of this user works, so no program is cut off.")
    if SecondFactor.objects.filter(user=row, confirmed=True).exists():
        told.append("The second factor and its recovery codes are forgotten.")
    return told


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _without_vserver(world: World, vserver: VServer, gone: Collection[int]) -> list[str]:
    names = [binding.service.name for binding in world.bindings_of_vserver[vserver.pk]]
    told = [f"Clients of {endpoint(vserver.address, vserver.port, vserver.port_end)} get no answer any more, at once."]
    if names:
        told.append(f"Its services are unbound and stay: {', '.join(names)}.")
    primaries = [
        one.name for one in world.vservers.values() if one.backup_vserver_id == vserver.pk and one.pk not in gone
    ]
    if primaries:
        return [f"It is the backup of {', '.join(primaries)}. Give them another or none first."]
    return told


def _without_service(world: World, service: Service, gone: Collection[int]) -> list[str]:
    told = []
    for binding in world.bindings_of_service[service.pk]:
        others, whose = left(world, binding, {*gone, service.pk})
        move = f"its clients move to {', '.join(others)}{whose}"
        after = move if others else "no service of it is UP then: clients get no answer"
        told.append(f"It is unbound from {binding.vserver.name}; {after}.")
    return told or [NO_TRAFFIC]


def _leaves_later(row: Any, world: World) -> bool:
    at = getattr(row, "out_of_service_at", None)
    return (at is not None and at > world.now) or (at is None and getattr(row, "graceful", False))


def _of_disabling(world: World, kind: str, row: Any, gone: Collection[int]) -> list[str]:
    """At once."""
    if kind == "vservers":
        whose = f"Clients of {endpoint(row.address, row.port, row.port_end)}"
        return [f"{whose} get no answer any more, at once; its backup gets none of them."]
    if kind == "monitors":
        return [f"It checks nothing any more, and no longer counts for the {_bound(world, row)} it is bound to."]
    if kind == "eventtargets":
        return ["It gets no further events; what happens meanwhile is not kept for it."]
    leaving = {one.pk for pk in gone for one in world.services_of[pk]} if kind == "servers" else set(gone)
    told = []
    for service in world.services_of[row.pk] if kind == "servers" else [row]:
        for binding in world.bindings_of_service[service.pk]:
            others, whose = left(world, binding, leaving)
            after = f"go to {', '.join(others)}{whose}" if others else "get no answer: no other service is UP"
            told.append(f"{binding.vserver.name}: clients of {service.name} {after}, at once.")
    return told or [NO_TRAFFIC]


def _of_enabling(world: World, kind: str, row: Any) -> list[str]:
    if kind == "vservers":
        count = len(world.bindings_of_vserver[row.pk])
        whom = f"those of its {count} services that are UP" if count else "nobody yet: no service is bound"
        return [f"Directors take packets to {endpoint(row.address, row.port, row.port_end)} again, for {whom}."]
    if kind == "monitors":
        return [f"It checks the {_bound(world, row)} it is bound to again, and counts for their state."]
    if kind == "eventtargets":
        return ["It gets what happens from now on."]
    if kind == "services" and row.server.state != AdminState.ENABLED:
        return [f"Its server {row.server.name} is disabled, so it stays out of service."]
    services = world.services_of[row.pk] if kind == "servers" else [row]
    names = sorted({one.vserver.name for service in services for one in world.bindings_of_service[service.pk]})
    return [f"It takes clients of {', '.join(names)} again while its checks succeed."] if names else [NO_TRAFFIC]


def _bound(world: World, monitor: Any) -> str:
    count = sum(one.monitor_id == monitor.pk for rows in world.monitors_of.values() for one in rows)
    return "1 service" if count == 1 else f"{count} services"

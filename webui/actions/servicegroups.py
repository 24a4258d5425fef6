"""Changes of service groups: a group owns its members' options, monitors and virtual servers.

Each action changes the group's own rows and then makes its members follow (:mod:`webui.actions.following`), in the same
change. A member is an ordinary service, so everything that looks at services (directors, checks, statistics) knows no
groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError

from webui.actions import checks, following, leaving, membership, services
from webui.actions.base import Actor, Change, NotFoundError, change, find, reload, touch, wanted_version
from webui.actions.joining import join, member_json, own_values, port_number
from webui.actions.membership import SHARED
from webui.actions.values import as_json, assign, insert, name_of, rewrite
from webui.choices import AdminState, AuditVerb
from webui.models import (
    Monitor,
    Server,
    Service,
    ServiceGroup,
    ServiceGroupMember,
    ServiceGroupMonitorBinding,
    VServer,
    VServerServiceGroupBinding,
)
from webui.models.fields import port_text


def create(actor: Actor, values: Mapping[str, Any]) -> ServiceGroup:
    """Make a group, still without members. Raises PermissionRefused, ValidationError."""
    with change(actor, ServiceGroup, "add", name_of(values)) as current:
        group = ServiceGroup()
        assign(group, values)
        return insert(current, group)


def update(
    actor: Actor, group: ServiceGroup, values: Mapping[str, Any], expected_version: int | None = None
) -> ServiceGroup:
    """Change a group, and its members with it; a new name is also part of theirs.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError.
    """
    with change(actor, ServiceGroup, "change", group.name) as current:
        row = reload(group)
        wanted_version(row, expected_version)
        changed = rewrite(current, row, values)
        shared = {name: getattr(row, name) for name in SHARED if name in changed}
        for service in _services(row):
            named = {"name": membership.name_of(row, service.server, service.port)} if "name" in changed else {}
            if shared or named:
                rewrite(current, service, shared | named)
            if "state" in changed:
                _switch(current, service, row.state)
        return row


def _switch(current: Change, service: Service, state: str) -> None:
    if state == AdminState.ENABLED:
        leaving.enable_within(current, service)
    else:
        leaving.disable_within(current, service)


def delete(actor: Actor, group: ServiceGroup) -> None:
    """Delete a group with its members, also a bound one. Raises PermissionRefused, NotFoundError."""
    with change(actor, ServiceGroup, "delete", group.name) as current:
        row = reload(group)
        names = list(row.vserver_bindings.values_list("vserver__name", flat=True))
        monitors = list(row.monitor_bindings.values_list("monitor__name", flat=True))
        members = _services(row)
        served = {one.pk: one for service in members for one in services.delete_within(current, service)}
        for vserver in served.values():
            touch(reload(vserver))
        before = as_json(row) | {"vservers": names, "monitors": monitors}
        current.record(AuditVerb.DELETE, row, before=before | {"members": [one.name for one in members]})
        row.delete()
        checks.sync_checks()


def enable(actor: Actor, group: ServiceGroup, *, server: Server | str | None = None, port: Any = None) -> ServiceGroup:
    """Let all members take traffic, or the one on a server. Raises PermissionRefused, NotFoundError."""
    with change(actor, ServiceGroup, "enable", group.name) as current:
        row = reload(group)
        chosen = _services(row) if server is None else [member_of(row, server, port).service]
        if server is None:
            rewrite(current, row, {"state": AdminState.ENABLED}, AuditVerb.ENABLE)
        for service in chosen:
            leaving.enable_within(current, reload(service))
        return row


def disable(  # noqa: PLR0913 - the member, and how
    actor: Actor,
    group: ServiceGroup,
    delay: Any = 0,
    graceful: Any = False,
    *,
    server: Server | str | None = None,
    port: Any = None,
) -> ServiceGroup:
    """Take all members out of service, or the one on a server; how, see :func:`webui.actions.leaving.disable`.

    Raises PermissionRefused, NotFoundError, ValidationError (``delay``, ``graceful``).
    """
    with change(actor, ServiceGroup, "disable", group.name) as current:
        row = reload(group)
        seconds, waits = leaving.manner(delay, graceful)
        chosen = _services(row) if server is None else [member_of(row, server, port).service]
        if server is None:
            rewrite(current, row, {"state": AdminState.DISABLED}, AuditVerb.DISABLE)
        for service in chosen:
            leaving.disable_within(current, reload(service), seconds, waits)
        return row


def bind_member(  # noqa: PLR0913 - each is a value of the member
    actor: Actor,
    group: ServiceGroup,
    server: Server | str,
    port: Any,
    *,
    weight: Any = 1,
    values: Mapping[str, Any] | None = None,
) -> Service:
    """Make a member: a service on a server, with the group's options, monitors and virtual servers.

    ``server`` is as in :func:`webui.actions.services.create`; ``port`` a number or ``*``; ``values`` are the member's
    own: ``state`` (else the group's) and ``hash_id``. Raises PermissionRefused, NotFoundError, ValidationError.
    """
    return bind_members(actor, group, [server], port, weight=weight, values=values)[0]


def bind_members(  # noqa: PLR0913 - as above
    actor: Actor,
    group: ServiceGroup,
    some: Sequence[Server | str],
    port: Any,
    *,
    weight: Any = 1,
    values: Mapping[str, Any] | None = None,
) -> list[Service]:
    """Make a member on each of some servers, all of them in one change; all else as :func:`bind_member`."""
    for server in some:
        if isinstance(server, str):
            services.require_server(actor, server)
    with change(actor, ServiceGroup, "change", group.name) as current:
        row, number, own = reload(group), port_number(port), own_values(values or {})
        if not some:
            raise ValidationError({"server": "Name a server."})
        members = [join(current, row, server, number, weight, own) for server in some]
        following.follow(current, row, members)
        touch(row)
        checks.sync_checks()
        return [member.service for member in members]


def set_member(
    actor: Actor, group: ServiceGroup, server: Server | str, port: Any, values: Mapping[str, Any]
) -> Service:
    """Change what a member has of its own: ``weight``, ``state``, ``hash_id``.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, ServiceGroup, "change", group.name) as current:
        row = reload(group)
        member = member_of(row, server, port)
        service = reload(member.service)
        member.service = service
        rest = dict(values)
        if "weight" in rest:
            before = member_json(member)
            assign(member, {"weight": rest.pop("weight")})
            member.full_clean()
            if member_json(member) != before:
                member.save()
                current.record(AuditVerb.UPDATE, row, before=before, after=member_json(member))
                following.follow(current, row, [member])
                touch(row)
        rewrite(current, service, own_values(rest))
        return service


def unbind_member(actor: Actor, group: ServiceGroup, server: Server | str, port: Any = None) -> None:
    """Delete a member; ``port`` may be left out where the server has one member of the group.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, ServiceGroup, "change", group.name) as current:
        row = reload(group)
        member = member_of(row, server, port)
        current.record(AuditVerb.UNBIND, row, before=member_json(member))
        for vserver in services.delete_within(current, reload(member.service)):
            touch(vserver)
        touch(row)
        checks.sync_checks()


def bind_monitor(
    actor: Actor, group: ServiceGroup, monitor: Monitor | str, weight: Any = 1, state: str = AdminState.ENABLED
) -> ServiceGroupMonitorBinding:
    """Bind a monitor to all members; the first takes the place of their default monitors.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, ServiceGroup, "change", group.name) as current:
        row = reload(group)
        binding = ServiceGroupMonitorBinding(group=row, monitor=_monitor(monitor))
        assign(binding, {"weight": weight, "state": state})
        binding.full_clean()
        binding.save(force_insert=True)
        current.record(AuditVerb.BIND, row, after=following.monitor_json(binding))
        _followed_by_all(current, row)
        return binding


def set_monitor_binding(
    actor: Actor, group: ServiceGroup, monitor: Monitor | str, *, weight: Any = None, state: str | None = None
) -> ServiceGroupMonitorBinding:
    """Change weight or state of a monitor's bindings to all members; None leaves as it is.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, ServiceGroup, "change", group.name) as current:
        row = reload(group)
        binding = _monitor_binding(row, _monitor(monitor))
        before = following.monitor_json(binding)
        given = {"weight": weight, "state": state}
        assign(binding, {name: value for name, value in given.items() if value is not None})
        binding.full_clean()
        if following.monitor_json(binding) != before:
            binding.save()
            current.record(AuditVerb.UPDATE, row, before=before, after=following.monitor_json(binding))
            _followed_by_all(current, row)
        return binding


def unbind_monitor(actor: Actor, group: ServiceGroup, monitor: Monitor | str) -> None:
    """Unbind a monitor from all members; after the last they have their default monitors again.

    Raises PermissionRefused, NotFoundError.
    """
    with change(actor, ServiceGroup, "change", group.name) as current:
        row = reload(group)
        binding = _monitor_binding(row, _monitor(monitor))
        current.record(AuditVerb.UNBIND, row, before=following.monitor_json(binding))
        binding.delete()
        _followed_by_all(current, row)


def bind_to_vserver(actor: Actor, vserver: VServer, group: ServiceGroup) -> VServerServiceGroupBinding:
    """Bind all members to a virtual server, each with its weight; also those that come later.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, VServer, "change", vserver.name) as current:
        row, other = reload(vserver), reload(group)
        binding = VServerServiceGroupBinding(vserver=row, group=other)
        binding.full_clean()
        binding.save(force_insert=True)
        current.record(AuditVerb.BIND, row, after={"group": other.name})
        _followed_by_all(current, other, row)
        return binding


def unbind_from_vserver(actor: Actor, vserver: VServer, group: ServiceGroup) -> None:
    """Unbind all members from a virtual server. Raises PermissionRefused, NotFoundError."""
    with change(actor, VServer, "change", vserver.name) as current:
        row, other = reload(vserver), reload(group)
        binding = row.group_bindings.filter(group=other).first()
        if binding is None:
            msg = f"No such resource: service group “{other.name}” is not bound to vserver “{row.name}”."
            raise NotFoundError(msg)
        current.record(AuditVerb.UNBIND, row, before={"group": other.name})
        binding.delete()
        _followed_by_all(current, other, row)


def _followed_by_all(current: Change, group: ServiceGroup, *changed: VServer) -> None:
    following.follow(current, group, group.members.select_related("service__server"), changed)
    touch(group)
    checks.sync_checks()


def _services(group: ServiceGroup) -> list[Service]:
    """The members' services, locked."""
    return list(Service.objects.select_for_update().filter(membership__group=group).order_by("name"))


def member_of(group: ServiceGroup, server: Server | str, port: Any = None) -> ServiceGroupMember:
    """The member on a server; ``port`` may be left out where that has one. Raises NotFoundError, ValidationError."""
    machine = services.existing_server(server) if isinstance(server, str) else server
    if machine is None:
        machine = find(Server, str(server))  # raises
    found = group.members.select_related("group", "service__server").filter(service__server=machine)
    if port not in (None, ""):
        found = found.filter(service__port=port_number(port))
    chosen = list(found)
    if not chosen:
        where = "" if port in (None, "") else f" port {port_text(port_number(port))}"
        msg = f"No such resource: service group “{group.name}” has no member “{machine.name}”{where}."
        raise NotFoundError(msg)
    if len(chosen) > 1:
        ports = ", ".join(sorted(port_text(one.service.port) for one in chosen))
        msg = f"Service group “{group.name}” has several members on “{machine.name}”, at ports {ports}: name one."
        raise ValidationError({"port": msg})
    return chosen[0]


def _monitor(given: Monitor | str) -> Monitor:
    return find(Monitor, given) if isinstance(given, str) else reload(given)


def _monitor_binding(group: ServiceGroup, monitor: Monitor) -> ServiceGroupMonitorBinding:
    found = group.monitor_bindings.filter(monitor=monitor).first()
    if found is None:
        msg = f"No such resource: monitor “{monitor.name}” is not bound to service group “{group.name}”."
        raise NotFoundError(msg)
    found.group, found.monitor = group, monitor
    return found

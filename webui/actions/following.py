"""Members follow their group: they have its monitors and its virtual servers, no others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from webui.actions import services, vservers
from webui.actions.base import Change, reload, touch
from webui.choices import AuditVerb
from webui.models import (
    Service,
    ServiceGroup,
    ServiceGroupMember,
    ServiceGroupMonitorBinding,
    ServiceMonitorBinding,
    VServer,
)


def follow(
    current: Change, group: ServiceGroup, members: Iterable[ServiceGroupMember], changed: Iterable[VServer] = ()
) -> None:
    """Give members the monitors and the virtual servers of their group, no others. Raises ValidationError.

    ``changed`` are virtual servers whose version is to rise even if no member's binding changes.
    """
    touched = {one.pk: one for one in changed}
    monitors = list(group.monitor_bindings.select_related("monitor"))
    virtual = [one.vserver for one in group.vserver_bindings.select_related("vserver")]
    for member in members:
        service = reload(member.service)
        if _follow_monitors(current, service, monitors):
            touch(service)
        touched |= _follow_vservers(current, service, member.weight, virtual)
    for vserver in touched.values():
        touch(reload(vserver))


def _follow_monitors(current: Change, service: Service, monitors: list[ServiceGroupMonitorBinding]) -> bool:
    stand_in = ServiceGroupMonitorBinding(monitor=services.default_monitor(service))
    wanted = {one.monitor.pk: one for one in monitors or [stand_in]}
    bound = {one.monitor_id: one for one in service.monitor_bindings.select_related("monitor")}
    changed = False
    for pk, one in wanted.items():
        found = bound.get(pk)
        if found is None:
            services.bind_within(current, service, one.monitor, weight=one.weight, state=one.state)
            changed = True
        elif (found.weight, found.state) != (one.weight, one.state):
            before = monitor_json(found)
            found.weight, found.state = one.weight, one.state
            found.full_clean()
            found.save()
            current.record(AuditVerb.UPDATE, service, before=before, after=monitor_json(found))
            changed = True
    for pk in bound.keys() - wanted.keys():
        services.unbind_within(current, service, bound[pk])
        changed = True
    return changed


def _follow_vservers(current: Change, service: Service, weight: int, virtual: list[VServer]) -> dict[int, VServer]:
    """Returns the virtual servers whose bindings changed, by their keys."""
    touched: dict[int, VServer] = {}
    wanted = {one.pk: one for one in virtual}
    bound = {one.vserver_id: one for one in service.vserver_bindings.select_related("vserver", "service")}
    for pk, binding in bound.items():
        if pk not in wanted:
            vservers.unbind_within(current, binding)
            touched[pk] = binding.vserver
        elif binding.weight != weight:
            before = {"service": service.name, "weight": binding.weight}
            binding.weight = weight
            binding.full_clean()
            binding.save()
            touched[pk] = binding.vserver
            current.record(AuditVerb.UPDATE, binding.vserver, before=before, after=before | {"weight": weight})
    for pk in wanted.keys() - bound.keys():
        vservers.bind_within(current, wanted[pk], service, weight)
        touched[pk] = wanted[pk]
    return touched


def monitor_json(binding: ServiceGroupMonitorBinding | ServiceMonitorBinding) -> dict[str, Any]:
    """A monitor's binding for the audit."""
    return {"monitor": binding.monitor.name, "weight": binding.weight, "state": str(binding.state)}

"""Changes of services and of the monitors bound to them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from django.core.exceptions import ValidationError

from webui.actions import checks, leaving, membership, servers
from webui.actions.base import (
    Actor,
    Change,
    NotFoundError,
    by_name,
    change,
    find,
    reload,
    require,
    touch,
    wanted_version,
)
from webui.actions.values import as_json, assign, insert, name_of, rewrite
from webui.builtin import default_monitor_name
from webui.choices import AdminState, AuditVerb
from webui.models import Monitor, Server, Service, ServiceMonitorBinding, VServer


def create(actor: Actor, values: Mapping[str, Any]) -> Service:
    """Make a service with its default monitor.

    ``server`` is a Server, a server's name, or the IP address of one; for an address without a server, one is made
    that is named after it, as NetScaler does. Raises PermissionRefused, NotFoundError, ValidationError.
    """
    given = dict(values)
    if isinstance(given.get("server"), str):
        require_server(actor, given["server"])
    with change(actor, Service, "add", name_of(values)) as current:
        if isinstance(given.get("server"), str):
            given["server"] = server_within(current, given["server"])
        service = create_within(current, given)
        bind_within(current, service, default_monitor(service))
        return service


def create_within(current: Change, values: Mapping[str, Any]) -> Service:
    """Make a service, still without a monitor, as part of another change. Raises ValidationError."""
    service = Service()
    assign(service, values)
    return insert(current, service)


def require_server(actor: Actor, given: str) -> None:
    """Before a change that may make a server of an address: raises PermissionRefused, which is written to stay."""
    if existing_server(given) is None and (address := _as_address(given)):
        require(actor, Server, "add", address)


def existing_server(given: str) -> Server | None:
    """The server of that name, or else of that address."""
    named = by_name(Server, given)
    if named is None and (address := _as_address(given)):
        return Server.objects.filter(address=address).first()
    return named


def _as_address(given: str) -> str:
    try:
        return str(ip_address(given))
    except ValueError:
        return ""


def server_within(current: Change, given: str) -> Server:
    """The server of that name or address; made for an address that no server has. Raises NotFoundError."""
    if (server := existing_server(given)) is not None:
        return server
    if address := _as_address(given):
        return servers.create_within(current, {"name": address, "address": address})
    return find(Server, given)  # raises: neither a name that exists nor an address


def default_monitor(service: Service) -> Monitor:
    """The built-in monitor that stands in while no other is bound."""
    return find(Monitor, default_monitor_name(service.service_type, service.port))


def update(actor: Actor, service: Service, values: Mapping[str, Any], expected_version: int | None = None) -> Service:
    """Change a service. Raises PermissionRefused, ConflictError, NotFoundError, ValidationError."""
    with change(actor, Service, "change", service.name) as current:
        row = reload(service)
        wanted_version(row, expected_version)
        given = dict(values)
        if isinstance(given.get("server"), str):
            given["server"] = find(Server, given["server"])
        was = row.name
        membership.refuse_owned(row, rewrite(current, row, given), was)
        return row


def enable(actor: Actor, service: Service) -> Service:
    """Let the service take traffic. Raises PermissionRefused, NotFoundError."""
    return leaving.enable(actor, service)


def disable(actor: Actor, service: Service, delay: Any = 0, graceful: Any = False) -> Service:
    """Take the service out of service, see :func:`webui.actions.leaving.disable`.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    return leaving.disable(actor, service, delay, graceful)


def delete(actor: Actor, service: Service) -> None:
    """Delete a service, also a bound one (as NetScaler does by default). Raises PermissionRefused, NotFoundError."""
    with change(actor, Service, "delete", service.name) as current:
        row = reload(service)
        membership.refuse(row, "unbind it there")
        for vserver in delete_within(current, row):
            touch(vserver)
        checks.sync_checks()


def delete_within(current: Change, row: Service) -> list[VServer]:
    """Delete as part of another change, which goes on with :func:`checks.sync_checks`.

    Returns the virtual servers that it was bound to: one change of each, however many of its services go.
    """
    bindings = list(row.vserver_bindings.select_related("vserver").order_by("vserver__name"))
    names = [binding.vserver.name for binding in bindings]
    monitors = list(row.monitor_bindings.values_list("monitor__name", flat=True))
    for binding in bindings:
        before = {"service": row.name, "weight": binding.weight}
        current.record(AuditVerb.UNBIND, binding.vserver, before=before, reason=f"“{row.name}” was deleted")
    reason = f"it was bound to {', '.join(names)}" if names else ""
    before = as_json(row) | {"vservers": names, "monitors": monitors}
    current.record(AuditVerb.DELETE, row, before=before, reason=reason)
    row.delete()
    return [binding.vserver for binding in bindings]


def bind_monitor(
    actor: Actor, service: Service, monitor: Monitor | str, weight: int = 1, state: str = AdminState.ENABLED
) -> ServiceMonitorBinding:
    """Bind a monitor; the default monitor, when it was the only one, goes.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, Service, "change", service.name) as current:
        row, other = reload(service), _monitor(monitor)
        membership.refuse(row, "bind the monitor to the group")
        stand_in = default_monitor(row)
        bound = list(row.monitor_bindings.select_related("monitor"))
        binding = bind_within(current, row, other, weight=weight, state=state)
        if [one.monitor for one in bound] == [stand_in]:
            unbind_within(current, row, bound[0], reason=f"“{other.name}” takes its place")
        touch(row)
        checks.sync_checks()
        return binding


def set_monitor_binding(
    actor: Actor,
    service: Service,
    monitor: Monitor | str,
    *,
    weight: int | None = None,
    state: str | None = None,
) -> ServiceMonitorBinding:
    """Change weight or state of a binding; None leaves as it is.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, Service, "change", service.name) as current:
        row = reload(service)
        membership.refuse(row, "bindings of monitors are the group's")
        binding = _binding(row, _monitor(monitor))
        before = _binding_json(binding)
        given = {"weight": weight, "state": state}
        assign(binding, {name: value for name, value in given.items() if value is not None})
        binding.full_clean()
        after = _binding_json(binding)
        if after != before:
            binding.save()
            current.record(AuditVerb.UPDATE, row, before=before, after=after)
            touch(row)
        return binding


def unbind_monitor(actor: Actor, service: Service, monitor: Monitor | str) -> None:
    """Unbind a monitor; after the last one the default monitor is bound again.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, Service, "change", service.name) as current:
        row, other = reload(service), _monitor(monitor)
        membership.refuse(row, "unbind the monitor from the group")
        binding = _binding(row, other)
        stand_in = default_monitor(row)
        last = row.monitor_bindings.count() == 1
        if last and other == stand_in:
            msg = (
                f"“{other.name}” is the default monitor of “{row.name}” and the only one bound: bind another monitor, "
                "which takes its place, or turn the service's health monitoring off."
            )
            raise ValidationError({"monitor": msg})
        unbind_within(current, row, binding)
        if last:
            bind_within(current, row, stand_in)
        touch(row)
        checks.sync_checks()


def _monitor(given: Monitor | str) -> Monitor:
    return find(Monitor, given) if isinstance(given, str) else reload(given)


def _binding(service: Service, monitor: Monitor) -> ServiceMonitorBinding:
    found = service.monitor_bindings.filter(monitor=monitor).first()
    if found is None:
        msg = f"No such resource: monitor “{monitor.name}” is not bound to service “{service.name}”."
        raise NotFoundError(msg)
    found.service, found.monitor = service, monitor
    return found


def bind_within(
    current: Change, service: Service, monitor: Monitor, *, weight: int = 1, state: str = AdminState.ENABLED
) -> ServiceMonitorBinding:
    """Bind as part of another change, which goes on with :func:`checks.sync_checks`. Raises ValidationError."""
    binding = ServiceMonitorBinding(service=service, monitor=monitor)
    assign(binding, {"weight": weight, "state": state})
    binding.full_clean()
    binding.save(force_insert=True)
    current.record(AuditVerb.BIND, service, after=_binding_json(binding))
    return binding


def unbind_within(current: Change, service: Service, binding: ServiceMonitorBinding, reason: str = "") -> None:
    """Unbind as part of another change, which goes on with :func:`checks.sync_checks`."""
    current.record(AuditVerb.UNBIND, service, before=_binding_json(binding), reason=reason)
    binding.delete()


def _binding_json(binding: ServiceMonitorBinding) -> dict[str, Any]:
    return {"monitor": binding.monitor.name, "weight": binding.weight, "state": str(binding.state)}

"""Changes of virtual servers and of the services bound to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from webui.actions import checks, membership
from webui.actions.base import Actor, Change, NotFoundError, change, find, reload, touch, wanted_version
from webui.actions.values import Unfit, as_json, assign, insert, name_of, rewrite
from webui.choices import AdminState, AuditVerb
from webui.models import Service, VServer, VServerServiceBinding
from webui.models.fields import parse_ports


def create(actor: Actor, values: Mapping[str, Any]) -> VServer:
    """Make a vserver. Raises PermissionRefused, ValidationError."""
    with change(actor, VServer, "add", name_of(values)) as current:
        vserver = create_within(current, values)
        if vserver.backup_vserver is not None:
            checks.sync_checks()
        return vserver


def create_within(current: Change, values: Mapping[str, Any]) -> VServer:
    """Make a vserver as part of another change, whose permission was checked. Raises ValidationError."""
    vserver = VServer()
    assign(vserver, _converted(values))
    return insert(current, vserver)


def update(actor: Actor, vserver: VServer, values: Mapping[str, Any], expected_version: int | None = None) -> VServer:
    """Change a vserver; a new VIP is checked from the start on each server.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError.
    """
    with change(actor, VServer, "change", vserver.name) as current:
        row = reload(vserver)
        wanted_version(row, expected_version)
        if {"address", "backup_vserver"} & rewrite(current, row, _converted(values)):
            checks.sync_checks()
        return row


def _converted(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the row's terms: of a port such as ``80-90`` both ends, of a backup's name the row.

    No backup is nothing or NONE. Raises NotFoundError.
    """
    given = dict(values)
    backup = given.get("backup_vserver")
    if isinstance(backup, str):
        given["backup_vserver"] = None if backup.strip().upper() in {"", "NONE"} else find(VServer, backup)
    port = given.get("port")
    if isinstance(port, str):
        try:
            given["port"], given["port_end"] = parse_ports(port)
        except ValueError as error:
            given["port"] = Unfit(str(error))
    elif port is not None:
        given.setdefault("port_end", 0)
    return given


def enable(actor: Actor, vserver: VServer) -> VServer:
    """Let the vserver take traffic. Raises PermissionRefused, NotFoundError."""
    return _set_state(actor, vserver, AdminState.ENABLED, AuditVerb.ENABLE)


def disable(actor: Actor, vserver: VServer) -> VServer:
    """Take the vserver out of service. Raises PermissionRefused, NotFoundError."""
    return _set_state(actor, vserver, AdminState.DISABLED, AuditVerb.DISABLE)


def _set_state(actor: Actor, vserver: VServer, state: AdminState, verb: AuditVerb) -> VServer:
    with change(actor, VServer, verb, vserver.name) as current:
        row = reload(vserver)
        rewrite(current, row, {"state": state}, verb)
        return row


def delete(actor: Actor, vserver: VServer) -> None:
    """Delete a vserver that is nobody's backup; its services stay.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with change(actor, VServer, "delete", vserver.name) as current:
        row = reload(vserver)
        primaries = list(row.backup_for.order_by("name").values_list("name", flat=True))
        if primaries:
            msg = f"“{row.name}” is the backup of {', '.join(primaries)}. Give them another or none first."
            raise ValidationError(msg)
        names = list(row.service_bindings.values_list("service__name", flat=True))
        current.record(AuditVerb.DELETE, row, before=as_json(row) | {"services": names})
        row.delete()
        checks.sync_checks()


def bind_service(actor: Actor, vserver: VServer, service: Service | str, weight: int = 1) -> VServerServiceBinding:
    """Bind a service with its weight (1 to 100). Raises PermissionRefused, NotFoundError, ValidationError."""
    with change(actor, VServer, "change", vserver.name) as current:
        row, other = reload(vserver), _service(service)
        membership.refuse(other, "bind the group")
        binding = bind_within(current, row, other, weight)
        touch(binding.vserver)
        checks.sync_checks()
        return binding


def bind_within(current: Change, vserver: VServer, service: Service, weight: int = 1) -> VServerServiceBinding:
    """Bind as part of another change, which goes on with :func:`checks.sync_checks`. Raises ValidationError."""
    binding = VServerServiceBinding(vserver=vserver, service=service)
    assign(binding, {"weight": weight})
    binding.full_clean()
    binding.save(force_insert=True)
    current.record(AuditVerb.BIND, vserver, after=_binding_json(binding))
    return binding


def set_weight(actor: Actor, vserver: VServer, service: Service | str, weight: int) -> VServerServiceBinding:
    """Change the weight of a bound service. Raises PermissionRefused, NotFoundError, ValidationError."""
    with change(actor, VServer, "change", vserver.name) as current:
        row = reload(vserver)
        binding = _binding(row, _service(service))
        membership.refuse(binding.service, "its weight is set there")
        before = _binding_json(binding)
        assign(binding, {"weight": weight})
        binding.full_clean()
        after = _binding_json(binding)
        if after != before:
            binding.save()
            touch(row)
            current.record(AuditVerb.UPDATE, row, before=before, after=after)
        return binding


def set_weights(
    actor: Actor, vserver: VServer, weights: Mapping[str, int], expected_version: int | None = None
) -> VServer:
    """Change the weights of bound services, by the services' names, all in one change; others stay as they are.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError (by the services' names).
    """
    with change(actor, VServer, "change", vserver.name) as current:
        row = reload(vserver)
        wanted_version(row, expected_version)
        bindings = {one.service.name.casefold(): one for one in row.service_bindings.select_related("service")}
        problems: dict[str, str] = {}
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for name, weight in weights.items():
            binding = bindings.get(name.casefold())
            if binding is None:
                msg = f"No such resource: service “{name}” is not bound to vserver “{row.name}”."
                raise NotFoundError(msg)
            old = binding.weight
            try:
                assign(binding, {"weight": weight})
                binding.full_clean()
                if binding.weight != old:
                    membership.refuse(binding.service, "its weight is set there")
            except ValidationError as error:
                problems[binding.service.name] = " ".join(error.messages)
                continue
            if binding.weight != old:
                label = f"weight of {binding.service.name}"
                before[label], after[label] = old, binding.weight
                binding.save()
        if problems:
            raise ValidationError(problems)
        if after:
            touch(row)
            current.record(AuditVerb.UPDATE, row, before=before, after=after)
        return row


def unbind_service(actor: Actor, vserver: VServer, service: Service | str) -> None:
    """Unbind a service. Raises PermissionRefused, NotFoundError."""
    with change(actor, VServer, "change", vserver.name) as current:
        row = reload(vserver)
        binding = _binding(row, _service(service))
        membership.refuse(binding.service, "unbind the group")
        unbind_within(current, binding)
        touch(row)
        checks.sync_checks()


def unbind_within(current: Change, binding: VServerServiceBinding) -> None:
    """Unbind as part of another change, which goes on with :func:`checks.sync_checks`."""
    current.record(AuditVerb.UNBIND, binding.vserver, before=_binding_json(binding))
    binding.delete()


def _service(given: Service | str) -> Service:
    return find(Service, given) if isinstance(given, str) else reload(given)


def _binding(vserver: VServer, service: Service) -> VServerServiceBinding:
    found = vserver.service_bindings.filter(service=service).first()
    if found is None:
        msg = f"No such resource: service “{service.name}” is not bound to vserver “{vserver.name}”."
        raise NotFoundError(msg)
    found.vserver, found.service = vserver, service
    return found


def _binding_json(binding: VServerServiceBinding) -> dict[str, Any]:
    return {"service": binding.service.name, "weight": binding.weight}

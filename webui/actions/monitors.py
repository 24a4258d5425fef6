"""Changes of monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from webui.actions import checks
from webui.actions.base import Actor, change, reload, wanted_version
from webui.actions.values import as_json, assign, insert, name_of, rewrite
from webui.choices import AdminState, AuditVerb
from webui.models import Monitor

# After a change of these, earlier results answer another question.
OTHER_QUESTION = frozenset({"dest_port", "reverse"})
NO_EFFECT_ON_CHECKS = frozenset({"name", "state"})


def create(actor: Actor, values: Mapping[str, Any]) -> Monitor:
    """Make a monitor. Raises PermissionRefused, ValidationError."""
    with change(actor, Monitor, "add", name_of(values)) as current:
        monitor = Monitor()
        assign(monitor, values)
        return insert(current, monitor)


def update(actor: Actor, monitor: Monitor, values: Mapping[str, Any], expected_version: int | None = None) -> Monitor:
    """Change a monitor; its checks become due at once.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError.
    """
    with change(actor, Monitor, "change", monitor.name) as current:
        row = reload(monitor)
        wanted_version(row, expected_version)
        changed = rewrite(current, row, values)
        if changed - NO_EFFECT_ON_CHECKS:
            checks.due_now(row, forget_results=bool(changed & OTHER_QUESTION))
        return row


def enable(actor: Actor, monitor: Monitor) -> Monitor:
    """Count the monitor again. Raises PermissionRefused, NotFoundError."""
    return _set_state(actor, monitor, AdminState.ENABLED, AuditVerb.ENABLE)


def disable(actor: Actor, monitor: Monitor) -> Monitor:
    """Count the monitor nowhere. Raises PermissionRefused, NotFoundError, ValidationError (a built-in one)."""
    return _set_state(actor, monitor, AdminState.DISABLED, AuditVerb.DISABLE)


def _set_state(actor: Actor, monitor: Monitor, state: AdminState, verb: AuditVerb) -> Monitor:
    with change(actor, Monitor, "change", monitor.name) as current:
        row = reload(monitor)
        if rewrite(current, row, {"state": state}, verb) and state == AdminState.ENABLED:
            checks.due_now(row, forget_results=False)
        return row


def delete(actor: Actor, monitor: Monitor) -> None:
    """Delete a monitor that is bound nowhere. Raises PermissionRefused, NotFoundError, ValidationError."""
    with change(actor, Monitor, "delete", monitor.name) as current:
        row = reload(monitor)
        if row.built_in:
            msg = f"“{row.name}” is built in and cannot be deleted."
            raise ValidationError(msg)
        names = list(row.service_bindings.order_by("service__name").values_list("service__name", flat=True))
        if names:
            msg = f"“{row.name}” is bound to services: {', '.join(names)}. Unbind it first."
            raise ValidationError(msg)
        current.record(AuditVerb.DELETE, row, before=as_json(row))
        row.delete()

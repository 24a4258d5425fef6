"""Changes of the targets that events are sent to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from monitors.parameters import plain
from webui.actions.base import Actor, change, reload, wanted_version
from webui.actions.errors import unfit
from webui.actions.values import as_json, assign, fields_of, insert, name_of, rewrite
from webui.choices import AdminState, AuditVerb
from webui.events.kinds import KINDS
from webui.events.store import start_audit_now, start_now
from webui.models import EventDelivery, EventTarget
from webui.models.sealed import CannotOpenError, opened, seal


def create(actor: Actor, values: Mapping[str, Any]) -> EventTarget:
    """Make a target, which gets what happens from now on. Parameters of its kind stand beside the other values.

    Raises PermissionRefused, ValidationError.
    """
    with change(actor, EventTarget, "add", name_of(values)) as current:
        target = EventTarget()
        assign(target, _with_parameters(target, values))
        insert(current, target)
        start_now(target)
        return target


def update(
    actor: Actor, target: EventTarget, values: Mapping[str, Any], expected_version: int | None = None
) -> EventTarget:
    """Change a target; what failed is tried again at once. A secret that is not given stays, an empty one is removed.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError.
    """
    with change(actor, EventTarget, "change", target.name) as current:
        row = reload(target)
        wanted_version(row, expected_version)
        was, had_audit = row.state, row.audit
        if rewrite(current, row, _with_parameters(row, values)):
            EventDelivery.objects.filter(target=row).update(retry_at=None)
        if row.state != was and row.state == AdminState.ENABLED:
            start_now(row)
        elif row.audit and not had_audit:
            start_audit_now(row)
        return row


def enable(actor: Actor, target: EventTarget) -> EventTarget:
    """Send what happens from now on. Raises PermissionRefused, NotFoundError."""
    return _set_state(actor, target, AdminState.ENABLED, AuditVerb.ENABLE)


def disable(actor: Actor, target: EventTarget) -> EventTarget:
    """Send nothing, and keep nothing for later. Raises PermissionRefused, NotFoundError."""
    return _set_state(actor, target, AdminState.DISABLED, AuditVerb.DISABLE)


def _set_state(actor: Actor, target: EventTarget, state: AdminState, verb: AuditVerb) -> EventTarget:
    with change(actor, EventTarget, verb, target.name) as current:
        row = reload(target)
        if rewrite(current, row, {"state": state}, verb) and state == AdminState.ENABLED:
            start_now(row)
        return row


def delete(actor: Actor, target: EventTarget) -> None:
    """Delete a target; what was not sent yet is not sent. Raises PermissionRefused, NotFoundError."""
    with change(actor, EventTarget, "delete", target.name) as current:
        row = reload(target)
        current.record(AuditVerb.DELETE, row, before=as_json(row))
        row.delete()


def send_test(actor: Actor, target: EventTarget) -> None:
    """Ask for a test event; a worker sends it, and the target's page shows what came of it.

    Raises PermissionRefused, NotFoundError.
    """
    with change(actor, EventTarget, "change", target.name) as current:
        row = reload(target)
        EventDelivery.objects.filter(target=row).update(test_asked_at=timezone.now(), test_result="")
        current.record(AuditVerb.UPDATE, row, after={"test event": "asked for"})


def _with_parameters(row: EventTarget, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns: those that are parameters of the kind are put into ``params`` and ``secrets``.

    They stand beside the other values, or within ``params`` and ``secrets``.
    """
    columns = fields_of(EventTarget).keys() - {"params", "secrets"}
    inner = [values[name] for name in ("params", "secrets") if isinstance(values.get(name), Mapping)]
    values = {name: value for name, value in values.items() if name not in {"params", "secrets"}}
    for one in inner:
        values |= one
    kind = KINDS.get(str(values.get("target_type") or row.target_type).strip().upper())
    if kind is None:
        msg = f"“{values.get('target_type', '')}” is no type of target: {', '.join(KINDS)}."
        raise unfit({"target_type": msg})
    found: dict[str, Any] = {}
    params, before = dict(row.params), _secrets_of(row)
    secrets = dict(before)
    problems: dict[str, str] = {}
    for name, value in values.items():
        parameter = kind.by_plain_name.get(plain(name))
        if name in columns:
            found[name] = value
        elif parameter is None or not parameter.secret:  # what is no parameter at all is refused by the kind
            params[parameter.name if parameter else name] = value
        elif isinstance(value, str):
            secrets[parameter.name] = value
        else:
            problems[parameter.name] = f"{parameter.label} must be text."
    if problems:
        raise unfit(problems)
    if "target_type" in found:
        found["target_type"] = kind.name
    return found | {"params": params, "secrets": row.secrets if secrets == before else seal(secrets)}


def _secrets_of(row: EventTarget) -> dict[str, str]:
    try:
        return opened(row.secrets)
    except CannotOpenError:  # they are typed in again, all of them
        return {}

"""Changes of the settings that every director follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webui.actions.base import INSTALLATION, Actor, change
from webui.actions.values import assign
from webui.choices import AuditVerb
from webui.models import Installation

SETTINGS = ("ttl_rule", "forwarding_mode")


def update(actor: Actor, values: Mapping[str, Any]) -> Installation:
    """Change settings. Raises PermissionRefused, ValidationError."""
    with change(actor, Installation, "change", Installation().name) as current:
        row = Installation.objects.get(pk=INSTALLATION)
        before = {name: getattr(row, name) for name in SETTINGS}
        assign(row, values)
        row.full_clean()
        changed = [name for name in SETTINGS if getattr(row, name) != before[name]]
        if changed:
            row.save(update_fields=changed)
            current.record(
                AuditVerb.UPDATE,
                row,
                before={name: before[name] for name in changed},
                after={name: getattr(row, name) for name in changed},
            )
    row.refresh_from_db()
    return row

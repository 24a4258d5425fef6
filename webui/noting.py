"""What access writes to the audit, in one place."""

from __future__ import annotations

from webui.actions.base import Actor
from webui.auditing import note
from webui.choices import AuditVerb

__all__ = ["note", "refused"]


def refused(actor: Actor, *, kind: str, name: str, reason: str, object_id: int | None = None) -> None:
    """Append that something was refused."""
    note(actor, AuditVerb.REFUSE, kind=kind, object_id=object_id, object_name=name, reason=reason)

"""What access writes to the audit, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webui.actions.base import Actor, _entry
from webui.choices import AuditVerb


def note(  # noqa: PLR0913 - the parts of an entry
    actor: Actor,
    verb: str,
    *,
    kind: str,
    object_id: int | None = None,
    object_name: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Append an entry. Values are never secrets: callers give names and times of them alone."""
    _entry(
        actor,
        verb,
        kind=kind,
        object_id=object_id,
        object_name=object_name[:255].replace("\0", ""),
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
        reason=reason,
    ).save()


def refused(actor: Actor, *, kind: str, name: str, reason: str, object_id: int | None = None) -> None:
    """Append that something was refused."""
    note(actor, AuditVerb.REFUSE, kind=kind, object_id=object_id, object_name=name, reason=reason)

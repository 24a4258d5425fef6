"""What audit entries record, in words."""

from __future__ import annotations

from typing import Any, Final

from webui.choices import PROBED, AuditVerb
from webui.events.webhook import without_query
from webui.models import AuditEntry
from webui.models.fields import MODELS_IN_WORDS

# What the audit records besides changes and refused attempts.
NO_CHANGES: Final = (PROBED, AuditVerb.CALL, AuditVerb.APPLY, AuditVerb.ARCHIVE)


def deed(entry: AuditEntry) -> str:
    """What was done, in words: “bound service web1 to vserver web”."""
    verb, about = entry.get_verb_display(), f"{MODELS_IN_WORDS.get(entry.kind, entry.kind)} {entry.object_name}"
    joint = {str(AuditVerb.BIND): "to", str(AuditVerb.UNBIND): "from"}.get(entry.verb)
    bound: dict[str, Any] = entry.after or entry.before or {}
    for kind in ("service", "monitor", "group"):
        if joint and kind in bound:
            return f"{verb} {kind} {bound[kind]} {joint} {about}"
    return f"{verb} {about}".strip()


def difference(entry: AuditEntry) -> str:
    """Which fields changed, or how it was bound, in words."""
    if entry.verb == PROBED:
        probed: dict[str, Any] = entry.after or {}
        if "preview" in probed:
            return f"preview for {probed['preview']}"
        return f"{probed.get('service')} at {probed.get('vip')}"
    if entry.verb == AuditVerb.BIND:
        bound: dict[str, Any] = entry.after or {}
        return ", ".join(
            f"{name} {value}" for name, value in sorted(bound.items()) if name not in {"service", "monitor", "group"}
        )
    if not isinstance(entry.before, dict) or not isinstance(entry.after, dict):
        return ""
    before: dict[str, Any] = entry.before
    return ", ".join(
        f"{name}: {_shown(entry, name, before.get(name))} → {_shown(entry, name, value)}"
        for name, value in sorted(entry.after.items())  # PostgreSQL keeps no order of a JSON object's names
        if before.get(name) != value and name not in {"version", "updated_at", "created_at"}
    )


def _shown(entry: AuditEntry, name: str, value: Any) -> Any:
    return without_query(str(value)) if (entry.kind, name) == ("eventtarget", "url") else value

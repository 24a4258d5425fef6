"""Rows → events."""

from __future__ import annotations

import json
from datetime import datetime

from webui.choices import EventKind, Outcome, State
from webui.events.message import CRITICAL, ERROR, INFORMATIONAL, NOTICE, WARNING, Event
from webui.models import AuditEntry, DirectorEvent, EventTarget, HealthTransition


def of_transition(row: HealthTransition) -> Event:
    """A change of state, or an alert where old and new state are the same."""
    what = f"service {row.service_name} at {row.vip}"
    is_alert = row.old == row.new
    if is_alert:
        text, severity = f"{what}: monitor {row.monitor_name} {row.reason} (state {row.new})", WARNING
    else:
        text = f"{what}: monitor {row.monitor_name} {row.old} -> {row.new}: {row.reason}"
        severity = {State.DOWN: ERROR, State.UP: NOTICE}.get(State(row.new), WARNING)
    return Event(
        id=f"transition-{row.pk}",
        at=row.at,
        type=EventKind.ALERT if is_alert else EventKind.TRANSITION,
        severity=severity,
        text=text,
        data={
            "service": row.service_name,
            "vip": row.vip,
            "monitor": row.monitor_name,
            "old": row.old,
            "new": row.new,
            "reason": row.reason,
        },
    )


def of_director(row: DirectorEvent) -> Event:
    """An alarm that began or ended, or something that a director noticed."""
    severity = {True: CRITICAL, False: NOTICE, None: WARNING}[row.raised]
    data = {"director": row.director}
    if row.raised is not None:
        data["alarm"] = "raised" if row.raised else "cleared"
    text = f"{row.director}: {row.text}"
    return Event(id=f"director-{row.pk}", at=row.at, type=row.kind, severity=severity, text=text, data=data)


def of_entry(row: AuditEntry) -> Event:
    """An audit entry, with its hash: whoever keeps it can tell later whether the chain was rewritten."""
    verb, about = row.get_verb_display(), f"{row.kind} {row.object_name}".strip()
    fields = (
        json.dumps({"before": row.before, "after": row.after}, ensure_ascii=False) if row.before or row.after else ""
    )
    text = f"{row.actor_name or 'system'} ({row.get_interface_display()}) {verb} {about}".rstrip()
    data = {
        "sequence": str(row.pk),
        "actor": row.actor_name,
        "source": row.source_address or "",
        "interface": row.interface,
        "verb": row.verb,
        "kind": row.kind,
        "object": row.object_name,
        "outcome": row.outcome,
        "revision": "" if row.revision is None else str(row.revision),
        "correlation": row.correlation,
        "hash": row.hash,
        "command": row.command,
        "reason": row.reason,
        "fields": fields,
    }
    return Event(
        id=f"audit-{row.pk}",
        at=row.at,
        type=EventKind.AUDIT,
        severity={Outcome.SUCCESS: INFORMATIONAL}.get(Outcome(row.outcome), WARNING),
        text=": ".join(filter(None, (text, row.reason or fields))),
        data={name: value for name, value in data.items() if value},
    )


def of_test(target: EventTarget, at: datetime) -> Event:
    """What “send a test event” sends."""
    text = f"Test event for target {target.name}: nothing has happened."
    stamp = f"{at:%Y%m%d%H%M%S%f}"
    return Event(id=f"test-{target.pk}-{stamp}", at=at, type=EventKind.TEST, severity=INFORMATIONAL, text=text, data={})


def wanted(target: EventTarget, event: Event) -> bool:
    """Whether the target gets events of this kind."""
    return {
        EventKind.TRANSITION: target.transitions,
        EventKind.ALERT: target.alerts,
        EventKind.ALARM: target.alarms,
        EventKind.DIRECTOR: target.director_events,
        EventKind.AUDIT: target.audit,
        EventKind.TEST: True,
    }[EventKind(event.type)]

"""Targets of events as pages show them."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from webui.choices import AdminState
from webui.models import EventDelivery, EventTarget
from webui.payloads import EventTargetRow, ProblemRow
from webui.rows import iso, url_of

KINDS_OF_EVENTS = {
    "transitions": "changes of state",
    "alerts": "alerts",
    "alarms": "alarms",
    "director_events": "events of directors",
    "audit": "audit entries",
}


def target_rows() -> list[EventTargetRow]:
    """Every target with its delivery; two queries."""
    deliveries = {row.target_id: row for row in EventDelivery.objects.all()}
    now = timezone.now()
    targets = EventTarget.objects.all()
    return [target_row(row, deliveries.get(row.pk) or EventDelivery(target=row), now) for row in targets]


def target_row(target: EventTarget, delivery: EventDelivery, now: datetime) -> EventTargetRow:
    """A target with what became of its deliveries."""
    failing = delivery.failures > 0
    state = "DISABLED" if target.state != AdminState.ENABLED else "ERROR" if failing else "ENABLED"
    kind = target.kind
    return EventTargetRow(
        key=str(target.pk),
        url=url_of("eventtargets", target.pk),
        name=target.name,
        state=state,
        state_reason=_reason(delivery, now) if state == "ERROR" else "",
        target_type=kind.label if kind else target.target_type,
        where=kind.shown(target.params) if kind else "",
        gets=", ".join(label for name, label in KINDS_OF_EVENTS.items() if getattr(target, name)) or "nothing",
        sent=delivery.sent,
        dropped=delivery.dropped,
        last_delivery_at=iso(delivery.last_delivery_at),
        last_error=delivery.last_error,
        last_error_at=iso(delivery.last_error_at),
        test=_test(delivery),
    )


def _reason(delivery: EventDelivery, now: datetime) -> str:
    times = f"failed {delivery.failures} times in a row" if delivery.failures > 1 else "failed"
    soon = delivery.retry_at is None or delivery.retry_at <= now
    when = "now" if soon else f"at {delivery.retry_at:%H:%M:%S} UTC"
    return f"{times}, next try {when}: {delivery.last_error}"


def _test(delivery: EventDelivery) -> str:
    if delivery.test_asked_at is not None:
        return f"asked for at {delivery.test_asked_at:%Y-%m-%d %H:%M:%S} UTC, not sent yet"
    return delivery.test_result


def target_problems(rows: list[EventTargetRow]) -> list[ProblemRow]:
    """Targets that do not take events."""
    return [
        ProblemRow(
            key=f"eventtarget-{row['key']}",
            severity="UNKNOWN",
            what=f"event target {row['name']}",
            url=row["url"],
            text=row["state_reason"],
        )
        for row in rows
        if row["state"] == "ERROR"
    ]

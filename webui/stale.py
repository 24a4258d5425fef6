"""When a check has gone without a result for too long; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from webui.choices import AdminState, State
from webui.effective import departure_of

if TYPE_CHECKING:
    from webui.models import HealthState, Monitor, ServiceMonitorBinding


def patience(monitor: Monitor, state: str) -> timedelta:
    """How long a check may go without a result: two intervals (``downTime`` while DOWN) and the response timeout."""
    interval = monitor.seconds("interval")
    spacing = max(interval, monitor.seconds("down_time")) if state == State.DOWN else interval
    return timedelta(seconds=2 * spacing + monitor.seconds("resp_timeout"))


def runs(bound: ServiceMonitorBinding, now: datetime) -> bool:
    """Whether a check is to run: not disabled, health monitoring not off, its service not out of service."""
    if AdminState.DISABLED in (bound.state, bound.monitor.state) or not bound.service.health_monitor:
        return False
    departure = departure_of(bound.service)
    return departure is None or not departure.over(now)


def is_overdue(bound: ServiceMonitorBinding, row: HealthState, checked_at: datetime | None, now: datetime) -> bool:
    """Whether a check that is to run has had no result for longer than :func:`patience`.

    ``checked_at`` is its latest result. A change of what is checked starts the time anew. Checks that do not run are
    never overdue.
    """
    monitor, service = bound.monitor, bound.service
    if (checked_at is not None and now - checked_at <= patience(monitor, row.state)) or not runs(bound, now):
        return False
    changed = max(row.since, monitor.updated_at, service.updated_at, service.server.updated_at)
    return now - max(changed, checked_at or changed) > patience(monitor, row.state)

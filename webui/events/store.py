"""Which target has something to be sent, and what came of it. Claiming and recording are conditional, as of checks.

An event is sent at least once: the cursor moves when the target has taken it, and a claim of a process that was killed
expires.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Max, Q

from webui.choices import AdminState
from webui.events import rows
from webui.events.cursor import Cursor, back_off
from webui.events.message import Event, one_line
from webui.events.wire import TOTAL_SECONDS
from webui.models import AuditEntry, DirectorEvent, EventDelivery, EventTarget, HealthTransition

BATCH: Final = 200  # rows of each table that are read at once: all that a dead target costs
LEASE: Final = timedelta(seconds=2 * TOTAL_SECONDS)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stream:
    """A table and the cursor in it; ``rows`` are the first beyond the cursor."""

    cursor: Cursor
    rows: list[tuple[int, datetime]] = field(default_factory=list)
    events: dict[int, Event] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a claimed target is to be sent, oldest first. ``until`` is the token of the claim."""

    target: EventTarget
    read_at: datetime
    until: datetime
    events: list[Event]
    test: Event | None
    health: Stream
    director: Stream
    audit: Stream
    passed_over: frozenset[str]  # ids of events that need not be sent
    dropped: int


def newest() -> tuple[int, int, int]:
    """Newest ids of the three tables of events. Three queries."""
    tables: tuple[Any, ...] = (HealthTransition, DirectorEvent, AuditEntry)
    health, director, audit = (table.objects.aggregate(newest=Max("pk"))["newest"] or 0 for table in tables)
    return health, director, audit


def claim(now: datetime, limit: int, grace: timedelta = timedelta(0)) -> list[Batch]:
    """Take at most ``limit`` targets that have something to be sent.

    With a ``grace``, only where it has waited for so long: for a process that stands in for another. Raises
    django.db.DatabaseError.
    """
    if limit <= 0:
        return []
    health, director, audit = newest()
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    patient = Q(retry_at=None) | Q(retry_at__lte=now - grace)
    behind = Q(health_upto__lt=health) | Q(director_upto__lt=director)
    # Who wants no audit entries is not busied with each of them; asking for them begins at the newest.
    behind |= Q(target__audit=True, audit_upto__lt=audit)
    pending = Q(target__state=AdminState.ENABLED) & patient & behind
    found = EventDelivery.objects.filter(free & (pending | Q(test_asked_at__lte=now - grace)))
    taken = []
    for row in found.select_related("target").order_by("last_delivery_at", "pk")[:limit]:
        batch = _batch(row, now)
        if grace and not _waited(batch, row, now - grace):
            continue
        nothing_to_do = not (batch.events or batch.test or batch.passed_over or batch.dropped)
        if nothing_to_do:  # it gathers, or a gap in the ids is still young
            continue
        if EventDelivery.objects.filter(free, pk=row.pk).update(claimed_until=batch.until):
            taken.append(batch)
    return taken


def _waited(batch: Batch, row: EventDelivery, since: datetime) -> bool:
    oldest = min((event.at for event in batch.events), default=None)
    return batch.test is not None or (oldest is not None and oldest <= since and _quiet(row, since))


def _quiet(row: EventDelivery, since: datetime) -> bool:
    """Whether nobody else has tried lately."""
    return all(at is None or at <= since for at in (row.last_delivery_at, row.last_error_at))


def _batch(row: EventDelivery, now: datetime) -> Batch:
    target = row.target
    enabled = target.state == AdminState.ENABLED and (row.retry_at is None or row.retry_at <= now)
    health, director, audit = Stream(health_cursor(row)), Stream(director_cursor(row)), Stream(audit_cursor(row))
    if enabled and target.audit:
        audit = _stream(audit.cursor, AuditEntry, rows.of_entry)
    if enabled:
        health = _stream(health.cursor, HealthTransition, rows.of_transition)
        director = _stream(director.cursor, DirectorEvent, rows.of_director)
    streams = (health, director, audit)
    found = sorted((event for one in streams for event in one.events.values()), key=lambda event: event.at)
    unwanted = [event for event in found if not rows.wanted(target, event)]
    late = now - timedelta(hours=target.give_up_hours)
    dropped = [event for event in found if event not in unwanted and event.at < late]
    passed_over = frozenset(event.id for event in [*unwanted, *dropped])
    events = [event for event in found if event.id not in passed_over]
    if target.kind is not None and events:
        gathers = timedelta(seconds=target.kind.gather(target.params))
        if now - events[0].at < gathers and len(events) < BATCH:
            events = []
    test = rows.of_test(target, row.test_asked_at) if row.test_asked_at else None
    return Batch(target, now, now + LEASE, events, test, *streams, passed_over, len(dropped))


def health_cursor(row: EventDelivery) -> Cursor:
    """The cursor in HealthTransition."""
    return Cursor(row.health_upto, frozenset(row.health_sent))


def director_cursor(row: EventDelivery) -> Cursor:
    """The cursor in DirectorEvent."""
    return Cursor(row.director_upto, frozenset(row.director_sent))


def audit_cursor(row: EventDelivery) -> Cursor:
    """The cursor in AuditEntry."""
    return Cursor(row.audit_upto, frozenset(row.audit_sent))


def _stream(cursor: Cursor, table: Any, event_of: Any) -> Stream:
    found = list(table.objects.filter(pk__gt=cursor.upto).order_by("pk")[: BATCH + len(cursor.beyond)])
    events = {row.pk: event_of(row) for row in found if row.pk not in cursor.beyond}
    return Stream(cursor, [(row.pk, row.at) for row in found], events)


@dataclass(slots=True)
class Result:
    """What came of a batch: ids of the events that were taken, and why the others were not."""

    taken: set[str] = field(default_factory=set)
    error: str = ""
    test_result: str = ""


def record(batch: Batch, result: Result, now: datetime) -> bool:
    """Write what was sent, if the claim is still ours; returns whether it was. Raises django.db.DatabaseError."""
    with transaction.atomic():
        row = EventDelivery.objects.select_for_update().filter(target=batch.target, claimed_until=batch.until).first()
        if row is None:
            log.warning("Target %s was taken over by another process; events may come twice.", batch.target)
            return False
        done = result.taken | batch.passed_over
        health, director = (_advanced(stream, done, batch.read_at) for stream in (batch.health, batch.director))
        row.health_upto, row.health_sent = health.upto, sorted(health.beyond)
        row.director_upto, row.director_sent = director.upto, sorted(director.beyond)
        audit = _advanced(batch.audit, done, batch.read_at)
        row.audit_upto, row.audit_sent = audit.upto, sorted(audit.beyond)
        row.claimed_until = None
        row.dropped += batch.dropped
        sent = sum(event.id in result.taken for event in batch.events)
        row.sent += sent
        if batch.test is not None and row.test_asked_at == batch.test.at:
            row.test_asked_at = None
            row.test_result = one_line(result.test_result)[:255]
        if sent:
            row.last_delivery_at = now
        if result.error:
            row.failures += 1
            row.retry_at = now + back_off(row.failures)
            row.last_error, row.last_error_at = one_line(result.error)[:255], now
        elif sent:
            row.failures, row.retry_at = 0, None
        row.save()
    _log(batch, result)
    return True


def _advanced(stream: Stream, done: set[str] | frozenset[str], read_at: datetime) -> Cursor:
    keys = [key for key, event in stream.events.items() if event.id in done]
    return stream.cursor.after(stream.rows, keys, read_at)


def _log(batch: Batch, result: Result) -> None:
    if batch.dropped:
        log.warning(
            "%d events for target %s were dropped: they could not be sent for %d h.",
            batch.dropped,
            batch.target,
            batch.target.give_up_hours,
        )
    if result.error:
        log.warning("Target %s: %s", batch.target, result.error)


def start_now(target: EventTarget) -> None:
    """Let a target begin with what happens from now on; its figures stay. For one that is new or enabled again."""
    health, director, audit = newest()
    values = {"health_upto": health, "health_sent": [], "director_upto": director, "director_sent": []}
    fresh: dict[str, Any] = values | {"audit_upto": audit, "audit_sent": [], "failures": 0, "retry_at": None}
    EventDelivery.objects.update_or_create(target=target, defaults=fresh)


def start_audit_now(target: EventTarget) -> None:
    """Let a target that asks for audit entries from now on begin with those that follow."""
    EventDelivery.objects.filter(target=target).update(audit_upto=newest()[2], audit_sent=[])

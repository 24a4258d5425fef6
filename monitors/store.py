"""Rows ↔ probes. Claiming and recording are conditional, so that overlapping workers never do a check twice.

A row is free while ``claimed_until`` is null or past. A claim sets it to the moment by which the check must be
recorded; that moment is also the claim's token: recording requires it unchanged. Claims of a killed worker expire.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, DateTimeField, Exists, OuterRef, Q, QuerySet, Value, When

from monitors import machine, schedule
from monitors.question import NOT_LEARNING, Learned, spec_of, thresholds_of
from monitors.registry import KINDS
from monitors.spec import ProbeResult, ProbeSpec
from webui.choices import AdminState
from webui.live import publish
from webui.models import HealthState, HealthTransition, ServiceMonitorBinding
from webui.models.leaving import serving
from webui.wake import wake_dataplane

# Time from the end of a check to its recording at most; after it another worker may take the row.
MARGIN = timedelta(seconds=5)
_WORDS_LIMIT = 255  # characters; HealthState.response and HealthTransition.reason

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that this worker may check once, with the state it had; ``until`` is the token."""

    pk: int
    spec: ProbeSpec
    due_at: datetime
    until: datetime
    first: bool
    state: str
    recent: str
    parameters: machine.Parameters
    service_id: int
    service_name: str
    monitor_name: str
    learned: Learned = NOT_LEARNING


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a claimed check, and when it came."""

    claim: Claim
    result: ProbeResult
    at: datetime


def claim(now: datetime, limit: int, ahead: timedelta = timedelta(0)) -> list[Claim]:
    """Take at most ``limit`` free rows that are due until ``now + ahead``, those due first first.

    Rows whose service, server, monitor or binding is disabled or whose service has health monitoring off are left;
    services and servers that are going out of service are checked until they are out.
    A disabled vserver's services are checked, so that enabling it finds their state known.

    Raises django.db.DatabaseError; nothing is then claimed.
    """
    due = _due(now, now + ahead)
    if limit <= 0 or not due.exists():  # most ticks: no write lock for nothing
        return []
    with transaction.atomic():
        rows = list(
            due.select_for_update(skip_locked=True, of=("self",))
            .select_related("target", "service", "monitor")
            .order_by("due_at", "pk")[:limit]
        )
        claims = [_claim_of(row, now + ahead) for row in rows]
        # The condition is repeated for databases that ignore row locks; there the loser takes nothing this time.
        if claims and _due(now, now + ahead).filter(_listed(claims)).update(claimed_until=_until(claims)) != len(
            claims
        ):
            transaction.set_rollback(True)
            return []
    return claims


def record(answers: Sequence[Answer]) -> list[machine.Transition]:
    """Write results, next due times and transitions of the rows that are still ours; returns the transitions.

    Rows that vanished or whose claim expired are passed over. After the commit, when there were transitions, the
    dataplane worker is woken and browsers are told.

    Raises django.db.DatabaseError; nothing is then written.
    """
    with transaction.atomic():
        ours = _still_ours(answers)
        steps = [machine.step(a.claim.state, a.claim.recent, a.claim.parameters, a.result) for a in ours]
        done = [Outcome(answer, step) for answer, step in zip(ours, steps, strict=True)]
        if done:
            _update(done)
        changed = [outcome for outcome in done if outcome.step.transition is not None]
        events = [row for outcome in done for row in outcome.event_rows()]
        if events:
            HealthTransition.objects.bulk_create(events)
            transaction.on_commit(_tell if changed else _tell_browsers)
    for event in events:
        log.info("%s", event)
    return [outcome.step.transition for outcome in changed if outcome.step.transition is not None]


def release(claims: Iterable[Claim]) -> None:
    """Give claims back unchecked: a worker that stops need not make the next one wait for their expiry."""
    claims = list(claims)
    with transaction.atomic():
        free = [claim.pk for claim in claims if _held(claims).get(claim.pk) == claim.until]
        HealthState.objects.filter(pk__in=free).update(claimed_until=None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer and the step it led to, as values of columns."""

    answer: Answer
    step: machine.Step

    def next_due(self) -> datetime:
        """When this row is checked again."""
        claim = self.answer.claim
        if claim.first:
            return schedule.first_due(claim.spec, self.step.spacing, self.answer.at)
        return schedule.next_due(claim.due_at, self.step.spacing, self.answer.at)

    def columns(self) -> dict[str, Any]:
        """New values by field name; ``since`` is None when the state did not change."""
        return {
            "state": self.step.state,
            "since": self.answer.at if self.step.transition else None,
            "due_at": self.next_due(),
            "checked_at": self.answer.at,
            "recent": self.step.recent,
            "response": self.step.response[:_WORDS_LIMIT],
            "response_time": self.answer.result.duration,
            "average_time": self.average(),
            "failures": 0 if self.step.passed else 1,
        }

    def average(self) -> float | None:
        """The learned response time; a check that failed says nothing about it."""
        learned = self.answer.claim.learned
        return learned.after(self.answer.result.duration) if self.step.passed else learned.average

    def event_rows(self) -> list[HealthTransition]:
        """Unsaved rows: the transition, and the alert, whose old and new state are the same."""
        claim = self.answer.claim
        return [
            HealthTransition(
                at=self.answer.at,
                service_id=claim.service_id,
                service_name=claim.service_name,
                monitor_name=claim.monitor_name,
                vip=claim.spec.vip,
                old=event.old,
                new=event.new,
                reason=event.reason[:_WORDS_LIMIT],
            )
            for event in (self.step.transition, self.step.alert, self.step.slow_alert)
            if event is not None
        ]


def _due(now: datetime, horizon: datetime) -> QuerySet[HealthState]:
    enabled = AdminState.ENABLED
    binding = ServiceMonitorBinding.objects.filter(
        service=OuterRef("service"), monitor=OuterRef("monitor"), state=enabled
    )
    return HealthState.objects.filter(
        Q(claimed_until=None) | Q(claimed_until__lte=now),
        Exists(binding),
        serving(now, "service__"),
        serving(now, "service__server__"),
        due_at__lte=horizon,
        monitor__state=enabled,
        monitor__monitor_type__in=list(KINDS),
        service__health_monitor=True,
    )


def _claim_of(row: HealthState, horizon: datetime) -> Claim:
    monitor = row.monitor
    return Claim(
        pk=row.pk,
        spec=spec_of(monitor, row.service, row.target, row.average_time),
        due_at=row.due_at,
        until=horizon + timedelta(seconds=monitor.seconds("resp_timeout")) + MARGIN,
        first=row.checked_at is None,
        state=row.state,
        recent=row.recent,
        parameters=thresholds_of(monitor),
        learned=Learned(monitor.lrtm, row.average_time if monitor.lrtm else None),
        service_id=row.service_id,
        service_name=row.service.name,
        monitor_name=monitor.name,
    )


def _listed(claims: Iterable[Claim]) -> Q:
    return Q(pk__in=[claim.pk for claim in claims])


def _until(claims: Iterable[Claim]) -> Case:
    by_token: dict[datetime, list[int]] = {}
    for claim_ in claims:
        by_token.setdefault(claim_.until, []).append(claim_.pk)
    branches = [When(pk__in=keys, then=Value(until)) for until, keys in by_token.items()]
    return Case(*branches, output_field=DateTimeField())


def _held(claims: Iterable[Claim]) -> dict[int, datetime | None]:
    """Tokens in the database, the rows locked (in key order, so that two workers cannot wait for each other)."""
    rows = HealthState.objects.select_for_update().filter(_listed(claims)).order_by("pk")
    return dict(rows.values_list("pk", "claimed_until"))


def _still_ours(answers: Sequence[Answer]) -> list[Answer]:
    held = _held(answer.claim for answer in answers)
    return [answer for answer in answers if held.get(answer.claim.pk) == answer.claim.until]


def _update(outcomes: Sequence[Outcome]) -> None:
    """One prepared UPDATE, run for each row.

    Django's bulk_update would send a CASE with a branch for each row and column, some 50 rows at a time.
    """
    fields = {field.name: field for field in HealthState._meta.concrete_fields}
    quote = connection.ops.quote_name

    def column(name: str) -> str:
        return quote(str(fields[name].column))

    plain = ("state", "due_at", "checked_at", "recent", "response", "response_time", "average_time")
    assignments = [f"{column(name)} = %s" for name in plain]
    assignments += [
        f"{column('since')} = COALESCE(%s, {column('since')})",
        f"{column('probes')} = {column('probes')} + 1",
        f"{column('failures')} = {column('failures')} + %s",
        f"{column('claimed_until')} = NULL",
    ]
    condition = f"{column('id')} = %s AND {column('claimed_until')} = %s"
    sql = f"UPDATE {quote(HealthState._meta.db_table)} SET {', '.join(assignments)} WHERE {condition}"  # noqa: S608 - model names

    def stored(name: str, value: object) -> Any:
        return fields[name].get_db_prep_value(value, connection)

    parameters = []
    for outcome in outcomes:
        values = outcome.columns()
        claim = outcome.answer.claim
        names = (*plain, "since", "failures")
        parameters.append([*(stored(n, values[n]) for n in names), claim.pk, stored("claimed_until", claim.until)])
    with connection.cursor() as cursor:
        cursor.executemany(sql, parameters)


def _tell() -> None:
    wake_dataplane()
    _tell_browsers()


def _tell_browsers() -> None:
    publish({"type": "live.changed", "what": "health"})

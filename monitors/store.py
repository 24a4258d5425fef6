"""Rows ↔ checks: the configuration of the checks of some shards, and the writing of verdicts.

Rows are written when a state changes or an alert is raised, on two conditions: the shard is still leased to this
worker, and the row's edition is that which was checked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Mod

from monitors import machine
from monitors.check import WORDS_LIMIT, Known, Plan, Verdict
from monitors.question import Asked, Learning, asked_by, learning_of, spec_of, thresholds_of
from monitors.registry import KINDS
from webui.choices import AdminState
from webui.freshness import Figures
from webui.live import publish
from webui.models import (
    CheckLease,
    HealthState,
    HealthTransition,
    Installation,
    Monitor,
    ProbeTarget,
    Service,
    ServiceMonitorBinding,
)
from webui.models.health import SHARDS
from webui.models.leaving import serving
from webui.wake import wake_dataplane

log = logging.getLogger(__name__)


def revision() -> int:
    """Number of the latest change of the configuration. One query; raises django.db.DatabaseError."""
    return Installation.objects.filter(pk=1).values_list("revision", flat=True).first() or 0


def load(shards: Collection[int], now: datetime) -> list[tuple[Plan, Known]]:
    """All checks of these shards that are to be run at ``now``, and where they stand by their rows.

    Rows whose service, server, monitor or binding is disabled or whose service has health monitoring off are left;
    services and servers that are going out of service are checked until they are out.
    A disabled vserver's services are checked, so that enabling it finds their state known.

    Four queries. Raises django.db.DatabaseError.
    """
    return list(_Loading(now).checks(shards)) if shards else []


def rows_of(shard: int) -> set[int]:
    """Numbers of all rows of a shard. One query; raises django.db.DatabaseError."""
    return set(
        HealthState.objects.annotate(shard=Mod(F("pk"), SHARDS)).filter(shard=shard).values_list("pk", flat=True)
    )


def write(verdicts: Sequence[Verdict], owner: str) -> list[Verdict]:
    """Write verdicts whose rows are still as they were checked, in shards still leased to ``owner``; returns these.

    After the commit the dataplane worker is woken, if a state changed, and browsers are told.

    Raises django.db.DatabaseError; nothing is then written.
    """
    with transaction.atomic():
        # Locked until the end: nobody takes a lease between this look and the writing.
        leases = CheckLease.objects.select_for_update().filter(owner=owner).order_by("shard")
        held = set(leases.values_list("shard", flat=True))
        written = _update([verdict for verdict in verdicts if verdict.plan.pk % SHARDS in held])
        events = [row for verdict in written for row in _event_rows(verdict)]
        if events:
            HealthTransition.objects.bulk_create(events)
            changed = any(verdict.step.transition is not None for verdict in written)
            transaction.on_commit(_tell if changed else _tell_browsers)
    for event in events:
        log.info("%s", event)
    return written


def known_of(row: Known, one: Figures | None, edition: int) -> Known:
    """Where a check stands, when Redis has ``one`` for it; by its row where that is newer."""
    if one is None or one.edition != edition or one.probes < row.probes:
        return row
    return Known(row.state, one.recent, one.average_time, one.probes, one.failures, one.checked_at)


@dataclass(slots=True)
class _Monitor:
    """A monitor's part of its checks, worked out once."""

    row: Monitor
    asked: Asked
    thresholds: machine.Parameters
    learning: Learning


@dataclass(slots=True)
class _Loading:
    """Rows of one look at the configuration, linked here: a check needs some of many objects."""

    now: datetime
    monitors: dict[int, _Monitor] = field(default_factory=dict)
    services: dict[int, Service] = field(default_factory=dict)

    def checks(self, shards: Collection[int]) -> Iterator[tuple[Plan, Known]]:
        enabled = AdminState.ENABLED
        for found in Monitor.objects.filter(state=enabled, monitor_type__in=list(KINDS)):
            self.monitors[found.pk] = _Monitor(found, asked_by(found), thresholds_of(found), learning_of(found))
        served = Service.objects.filter(serving(self.now), serving(self.now, "server__"), health_monitor=True)
        self.services = {row.pk: row for row in served.select_related("server")}
        bound = set(ServiceMonitorBinding.objects.filter(state=enabled).values_list("service", "monitor"))
        rows = HealthState.objects.select_related("target").order_by("pk")
        if len(shards) < SHARDS:
            rows = rows.annotate(shard=Mod(F("pk"), SHARDS)).filter(shard__in=shards)
        for row in rows:
            monitor, service = self.monitors.get(row.monitor_id), self.services.get(row.service_id)
            if monitor is not None and service is not None and (row.service_id, row.monitor_id) in bound:
                yield self._plan(row, row.target, monitor, service), _known(row)

    @staticmethod
    def _plan(row: HealthState, target: ProbeTarget, monitor: _Monitor, service: Service) -> Plan:
        moments = [
            one.out_of_service_at
            for one in (service, service.server)
            if one.state != AdminState.ENABLED and one.out_of_service_at is not None
        ]
        return Plan(
            pk=row.pk,
            edition=row.edition,
            spec=spec_of(monitor.row, service, target, asked=monitor.asked),
            thresholds=monitor.thresholds,
            learning=monitor.learning,
            ends=min(moments, default=None),
            service_id=service.pk,
            service_name=service.name,
            monitor_name=monitor.row.name,
        )


def _known(row: HealthState) -> Known:
    return Known(row.state, row.recent, row.average_time, row.probes, row.failures, row.checked_at)


def _update(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One prepared UPDATE, run for each row; those that it found as they were checked."""
    names = (
        *("state", "since", "checked_at", "recent", "response"),
        *("response_time", "average_time", "probes", "failures"),
    )
    fields = {one.name: one for one in HealthState._meta.concrete_fields}
    quote = connection.ops.quote_name

    def column(name: str) -> str:
        return quote(str(fields[name].column))

    # Without a change of state there is no moment for "since".
    values = ("COALESCE(%s, {0})" if name == "since" else "%s" for name in names)
    assignments = ", ".join(
        f"{column(name)} = {value.format(column(name))}" for name, value in zip(names, values, strict=True)
    )
    table = quote(HealthState._meta.db_table)
    sql = f"UPDATE {table} SET {assignments} WHERE {column('id')} = %s AND {column('edition')} = %s"  # noqa: S608 - model names
    written = []
    with connection.cursor() as cursor:
        for verdict in verdicts:
            new = _columns(verdict)
            parameters: list[Any] = [fields[name].get_db_prep_value(new[name], connection) for name in names]
            cursor.execute(sql, [*parameters, verdict.plan.pk, verdict.plan.edition])
            if cursor.rowcount == 1:
                written.append(verdict)
    return written


def _columns(verdict: Verdict) -> Mapping[str, object]:
    """New values by field name; ``since`` is None when the state did not change."""
    figures = verdict.figures
    return {
        "state": verdict.step.state,
        "since": verdict.at if verdict.step.transition else None,
        "checked_at": figures.checked_at,
        "recent": figures.recent,
        "response": figures.response,
        "response_time": figures.response_time,
        "average_time": figures.average_time,
        "probes": figures.probes,
        "failures": figures.failures,
    }


def _event_rows(verdict: Verdict) -> list[HealthTransition]:
    plan = verdict.plan
    return [
        HealthTransition(
            at=verdict.at,
            service_id=plan.service_id,
            service_name=plan.service_name,
            monitor_name=plan.monitor_name,
            vip=plan.spec.vip,
            old=event.old,
            new=event.new,
            reason=event.reason[:WORDS_LIMIT],
        )
        for event in verdict.events()
    ]


def _tell() -> None:
    wake_dataplane()
    _tell_browsers()


def _tell_browsers() -> None:
    publish({"type": "live.changed", "what": "health"})

"""How fresh the results of the checks are, and which workers run them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from webui.choices import State
from webui.models import CheckLease, HealthState, ServiceMonitorBinding
from webui.models.health import SHARDS
from webui.payloads import ChecksRow
from webui.rows import iso
from webui.stale import is_overdue, runs
from webui.world import World

# An owner renews its leases every second. Clocks of machines differ, so this is for people's eyes alone.
SILENT_AFTER: Final = timedelta(seconds=15)
NOBODY: Final = "nobody"


@dataclass(slots=True)
class _Tally:
    total: int = 0
    stale: int = 0
    waiting: int = 0
    per_second: float = 0.0
    oldest: datetime | None = None
    renewed: list[datetime] = field(default_factory=list)

    def add(self, bound: ServiceMonitorBinding, row: HealthState, checked: datetime | None, now: datetime) -> None:
        """Count a check that is to run."""
        self.total += 1
        if is_overdue(bound, row, checked, now):
            self.stale += 1
        elif checked is None:
            self.waiting += 1
        else:
            monitor = bound.monitor
            down = row.state == State.DOWN
            self.per_second += 1 / max(monitor.seconds("interval"), monitor.seconds("down_time") if down else 0, 0.001)
        if checked is not None and (self.oldest is None or checked < self.oldest):
            self.oldest = checked


def checks_rows(world: World) -> list[ChecksRow]:
    """Workers with the checks that they run, those in trouble first; one query. None while no check is to run."""
    leases = {lease.shard: lease for lease in CheckLease.objects.all()}
    tallies: dict[str, _Tally] = {}
    for lease in leases.values():
        if lease.owner:
            tally = tallies.setdefault(lease.owner, _Tally())
            tally.renewed += [lease.renewed_at] if lease.renewed_at else []
    for bound, row in _running(world):
        lease_of = leases.get(row.pk % SHARDS)
        owner = (lease_of.owner if lease_of else "") or NOBODY
        tallies.setdefault(owner, _Tally()).add(bound, row, world.checked.get(row.pk), world.now)
    found = [_row(owner, tally, world.now) for owner, tally in tallies.items() if tally.total]
    return sorted(found, key=lambda row: (row["state"] == "RUNNING", row["worker"]))


def _running(world: World) -> Iterator[tuple[ServiceMonitorBinding, HealthState]]:
    """Checks that are to run, each with its row."""
    for service in world.services.values():
        vips = world.vips(service)
        for bound in world.monitors_of[service.pk]:
            if not vips or not runs(bound, world.now):
                continue
            for vip in vips:
                row = world.health.get((service.pk, vip, bound.monitor_id))
                if row is not None:
                    yield bound, row


def _row(owner: str, tally: _Tally, now: datetime) -> ChecksRow:
    seen = max(tally.renewed, default=None)
    if owner == NOBODY:
        state, reason = "ERROR", "no worker runs these checks: is one started?"
    elif seen is None or now - seen > SILENT_AFTER:
        state, reason = "SILENT", "the worker no longer says that it runs; another one takes over if there is one"
    elif tally.stale:
        state, reason = "STALE", "the worker runs, but results are overdue"
    else:
        state, reason = "RUNNING", ""
    return ChecksRow(
        key=owner,
        worker=owner,
        state=state,
        state_reason=reason,
        renewed_at=iso(seen),
        total=tally.total,
        fresh=tally.total - tally.stale - tally.waiting,
        stale=tally.stale,
        waiting=tally.waiting,
        oldest_at=iso(tally.oldest),
        per_second=round(tally.per_second, 2),
    )

"""Reads for the dashboard, the lists and the websocket. Query counts are constant; tests pin them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from webui.actions.base import INSTALLATION
from webui.check_workers import checks_rows
from webui.choices import STATE_ORDER, AuditVerb
from webui.deeds import NO_CHANGES, deed, difference
from webui.event_rows import target_problems, target_rows
from webui.groups import group_row, load_groups
from webui.guards import guard_problems
from webui.models import AuditEntry, HealthTransition, Installation, Sparklines
from webui.payloads import (
    ChangeRow,
    CountersRow,
    Overview,
    TransitionRow,
)
from webui.problems import problems, worst_first
from webui.recent import recent_rows
from webui.rows import director_row, monitor_row, reason_rows, server_row, service_row, url_of, vserver_row
from webui.templatetags.halfpipe import figure
from webui.watch import alarm_problems
from webui.world import load_world

LATEST = 12  # rows of "latest" tables
# Made anew each minute; older ones would tell of another hour.
SPARKS_LAST = timedelta(minutes=5)


def transition_rows(limit: int = LATEST) -> list[TransitionRow]:
    """Latest changes of state, newest first."""
    return [row_of_transition(row) for row in HealthTransition.objects.all()[:limit]]


def row_of_transition(row: HealthTransition) -> TransitionRow:
    """A change of state as tables show it."""
    return TransitionRow(
        key=str(row.pk),
        at=row.at.isoformat(),
        service=row.service_name,
        url=url_of("services", row.service_id),
        vip=row.vip,
        monitor=row.monitor_name,
        old=row.old,
        new=row.new,
        reason=row.reason,
    )


def change_rows(kind: str = "", object_id: int | None = None, limit: int = LATEST) -> list[ChangeRow]:
    """Latest audit entries, newest first; of one object when ``kind`` (model name) is given."""
    found = AuditEntry.objects.all()
    if kind:
        found = found.filter(kind=kind, object_id=object_id).exclude(verb__in=(AuditVerb.LOGIN, AuditVerb.LOGOUT))
    else:
        # An attempt is no change, but it is in the history of its own object. What someone typed as a name at the
        # login may have been a password.
        found = found.exclude(verb__in=NO_CHANGES).exclude(kind="user")
    return [
        ChangeRow(
            key=str(row.pk),
            at=row.at.isoformat(),
            who=f"{row.actor_name or 'system'} ({row.get_interface_display()})",
            what=deed(row),
            url="",
            note=" – ".join(filter(None, (difference(row), row.reason))),
        )
        for row in found[:limit]
    ]


def overview() -> Overview:
    """Everything the dashboard shows; twenty-two queries."""
    world, groups = load_world(), load_groups()
    revision = Installation.objects.values_list("revision", flat=True).get(pk=INSTALLATION)
    sparks = spark_lines(world.now)
    vservers = by_state([vserver_row(world, row) for row in world.vservers.values()])
    for row in vservers:
        row["spark"] = sparks.get(row["key"], "")
    services = by_state([service_row(world, row) for row in world.services.values()])
    servers = [server_row(world, row) for row in world.servers.values()]
    servers.sort(key=lambda row: (row["eligible"] != "NO" or row["state"] != "ENABLED", row["name"].casefold()))
    directors = [director_row(status, world.now, revision) for status in world.directors]
    unbound = {str(pk) for pk in world.services if not world.bindings_of_service[pk]}
    return Overview(
        now=world.now.isoformat(),
        problems=worst_first(
            [
                *alarm_problems(world),
                *guard_problems(world),
                *target_problems(target_rows()),
                *problems(vservers, services, servers, directors, spare=unbound),
            ]
        ),
        vservers=vservers,
        services=services,
        servicegroups=by_state([group_row(world, groups, row) for row in groups.groups.values()]),
        servers=servers,
        monitors=[monitor_row(world, row) for row in world.monitors.values()],
        directors=directors,
        reasons=reason_rows(world),
        recent=recent_rows(world),
        checks=checks_rows(world),
        counters=[
            CountersRow(director=row.director, taken_at=row.taken_at.isoformat(), payload=row.payload)
            for row in world.counters
        ],
    )


def spark_lines(now: datetime) -> dict[str, str]:
    """The last hour of each vserver that directors counted, as :class:`webui.payloads.VServerRow` has it; one query."""
    found = Sparklines.objects.filter(until__gt=now - SPARKS_LAST).first()
    return {key: f"{line} {figure(top)}" for key, (line, top) in found.lines.items()} if found else {}


def by_state(rows: list[Any]) -> list[Any]:
    """Problems first, then by name."""
    return sorted(rows, key=lambda row: (STATE_ORDER.get(row["state"], 9), row["name"].casefold()))


def database_answers() -> None:
    """Raise ``django.db.Error`` when the database does not answer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")

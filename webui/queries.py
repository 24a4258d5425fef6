"""Reads for the dashboard, the lists and the websocket. Query counts are constant; tests pin them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from webui.choices import PROBED, STATE_ORDER, AuditVerb
from webui.event_rows import target_problems, target_rows
from webui.events.webhook import without_query
from webui.guards import guard_problems
from webui.models import AuditEntry, DirectorEvent, HealthTransition, Service, Sparklines
from webui.models.fields import MODELS_IN_WORDS
from webui.payloads import (
    ChangeRow,
    CountersRow,
    EventRow,
    Overview,
    TransitionRow,
)
from webui.problems import problems, worst_first
from webui.rows import director_row, monitor_row, reason_rows, server_row, service_row, url_of, vserver_row
from webui.templatetags.halfpipe import figure
from webui.watch import alarm_problems
from webui.world import load_world

# What the audit records besides changes and refused attempts.
NO_CHANGES = (PROBED, AuditVerb.CALL, AuditVerb.APPLY, AuditVerb.ARCHIVE)
LATEST = 12  # rows of "latest" tables
# Made anew each minute; older ones would tell of another hour.
SPARKS_LAST = timedelta(minutes=5)


def transition_rows(service: Service | None = None, limit: int = LATEST) -> list[TransitionRow]:
    """Latest changes of state, newest first."""
    found = HealthTransition.objects.all() if service is None else HealthTransition.objects.filter(service=service)
    return [
        TransitionRow(
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
        for row in found[:limit]
    ]


def event_rows(limit: int = LATEST) -> list[EventRow]:
    """What directors noticed by themselves, newest first."""
    return [
        EventRow(key=str(row.pk), at=row.at.isoformat(), director=row.director, text=row.text)
        for row in DirectorEvent.objects.all()[:limit]
    ]


def change_rows(kind: str = "", object_id: int | None = None, limit: int = LATEST) -> list[ChangeRow]:
    """Latest audit entries, newest first; of one object when ``kind`` (model name) is given."""
    # Logins are no changes, and what someone typed as a name may have been a password.
    found = AuditEntry.objects.exclude(kind="user")
    # An attempt is no change; it is in the history of its own object alone.
    found = found.filter(kind=kind, object_id=object_id) if kind else found.exclude(verb__in=NO_CHANGES)
    return [
        ChangeRow(
            key=str(row.pk),
            at=row.at.isoformat(),
            who=f"{row.actor_name or 'system'} ({row.get_interface_display()})",
            what=_deed(row),
            url="",
            note=" – ".join(filter(None, (_difference(row), row.reason))),
        )
        for row in found[:limit]
    ]


def _deed(entry: AuditEntry) -> str:
    """What was done, in words: “bound service web1 to vserver web”."""
    verb, about = entry.get_verb_display(), f"{MODELS_IN_WORDS.get(entry.kind, entry.kind)} {entry.object_name}"
    joint = {str(AuditVerb.BIND): "to", str(AuditVerb.UNBIND): "from"}.get(entry.verb)
    bound: dict[str, Any] = entry.after or entry.before or {}
    for kind in ("service", "monitor"):
        if joint and kind in bound:
            return f"{verb} {kind} {bound[kind]} {joint} {about}"
    return f"{verb} {about}".strip()


def _difference(entry: AuditEntry) -> str:
    """Which fields changed, or how it was bound, in words."""
    if entry.verb == PROBED:
        probed: dict[str, Any] = entry.after or {}
        if "preview" in probed:
            return f"preview for {probed['preview']}"
        return f"{probed.get('service')} at {probed.get('vip')}"
    if entry.verb == AuditVerb.BIND:
        bound: dict[str, Any] = entry.after or {}
        return ", ".join(f"{name} {value}" for name, value in bound.items() if name not in {"service", "monitor"})
    if not isinstance(entry.before, dict) or not isinstance(entry.after, dict):
        return ""
    before: dict[str, Any] = entry.before
    return ", ".join(
        f"{name}: {_shown(entry, name, before.get(name))} → {_shown(entry, name, value)}"
        for name, value in entry.after.items()
        if before.get(name) != value and name not in {"version", "updated_at", "created_at"}
    )


def _shown(entry: AuditEntry, name: str, value: Any) -> Any:
    return without_query(str(value)) if (entry.kind, name) == ("eventtarget", "url") else value


def overview() -> Overview:
    """Everything the dashboard shows; seventeen queries."""
    world = load_world()
    sparks = spark_lines(world.now)
    vservers = by_state([vserver_row(world, row) for row in world.vservers.values()])
    for row in vservers:
        row["spark"] = sparks.get(row["key"], "")
    services = by_state([service_row(world, row) for row in world.services.values()])
    servers = [server_row(world, row) for row in world.servers.values()]
    servers.sort(key=lambda row: row["eligible"] == "YES")  # those without a path first, each part by name
    directors = [director_row(status, world.now) for status in world.directors]
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
        servers=servers,
        monitors=[monitor_row(world, row) for row in world.monitors.values()],
        directors=directors,
        reasons=reason_rows(world),
        transitions=transition_rows(),
        events=event_rows(),
        changes=change_rows(),
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

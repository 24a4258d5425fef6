"""What changed in the last hour: configuration, states, and what directors and watchers noticed, as one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from django.urls import reverse

from webui.choices import AuditVerb, EventKind
from webui.deeds import NO_CHANGES, deed, difference
from webui.models import AuditEntry, DirectorEvent, HealthTransition
from webui.payloads import RecentRow
from webui.rows import url_of
from webui.watch import CHECKS, FAIL_OPEN
from webui.world import World

LAST: Final = timedelta(hours=1)
AUDITED: Final = "change-"  # how keys of rows begin that tell what the audit has
MOST: Final = 40  # of each kind: so many are read, and together shown


def public(rows: list[RecentRow]) -> list[RecentRow]:
    """What those see who may not see the audit: nothing of who did what."""
    return [row for row in rows if not row["key"].startswith(AUDITED)]


def recent_rows(world: World) -> list[RecentRow]:
    """Changes of the last hour, newest first, the newest :data:`MOST` at most; three queries.

    Rows are taken by their number, newest first: no index by time is needed, and a quiet hour reads no more.
    """
    since = world.now - LAST
    found = sorted(
        chain(_configuration(world, since), _states(world, since), _noticed(world, since)),
        key=lambda one: one[0],
        reverse=True,
    )
    return [row for _at, row in found[:MOST]]


def _configuration(world: World, since: datetime) -> Iterator[tuple[datetime, RecentRow]]:
    there: Mapping[str, Mapping[int, Any]] = {
        "server": world.servers,
        "service": world.services,
        "vserver": world.vservers,
        "monitor": world.monitors,
    }
    # Logins and refused pages are no changes, nor are attempts and calls. Of those there may be many: so by the time.
    changes = AuditEntry.objects.filter(at__gte=since).exclude(kind__in=["user", "page"]).exclude(verb__in=NO_CHANGES)
    for entry in changes.order_by("-at", "-id")[:MOST]:
        url = reverse("settings") if entry.kind == "installation" else ""
        if entry.object_id in there.get(entry.kind, {}):  # and not deleted since
            url = url_of(f"{entry.kind}s", entry.object_id)
        yield (
            entry.at,
            RecentRow(
                key=f"{AUDITED}{entry.pk}",
                at=entry.at.isoformat(),
                state="REFUSED" if entry.verb == AuditVerb.REFUSE else "CHANGED",
                what=deed(entry),
                url=url,
                note=" – ".join(filter(None, (difference(entry), entry.reason))),
                who=f"{entry.actor_name or 'system'} ({entry.get_interface_display()})",
            ),
        )


def _states(world: World, since: datetime) -> Iterator[tuple[datetime, RecentRow]]:
    for row in HealthTransition.objects.all()[:MOST]:
        if row.at < since:
            continue
        yield (
            row.at,
            RecentRow(
                key=f"transition-{row.pk}",
                at=row.at.isoformat(),
                state=row.new,
                what=f"service {row.service_name} at {row.vip}",
                url=url_of("services", row.service_id if row.service_id in world.services else None),
                note=f"was {row.old}: {row.reason}" if row.reason else f"was {row.old}",
                who=f"monitor {row.monitor_name}",
            ),
        )


def _noticed(world: World, since: datetime) -> Iterator[tuple[datetime, RecentRow]]:
    for row in DirectorEvent.objects.all()[:MOST]:
        if row.at < since:
            continue
        what, _colon, note = row.text.partition(": ")
        is_alarm = row.kind == EventKind.ALARM and note
        yield (
            row.at,
            RecentRow(
                key=f"event-{row.pk}",
                at=row.at.isoformat(),
                state="NOTICED" if row.raised is None else "ALARM" if row.raised else "OVER",
                what=_alarm_name(world, row.key) or what if is_alarm else row.text,
                url=_alarm_url(world, row.key) if is_alarm else "#part-directors",
                note=note if is_alarm else "",
                who=row.director,
            ),
        )


def _alarm_vserver(world: World, key: str) -> int | None:
    """The virtual server that an alarm is about, if it is still there."""
    number = key.removeprefix(f"{FAIL_OPEN} ")
    return int(number) if number.isdecimal() and int(number) in world.vservers else None


def _alarm_name(world: World, key: str) -> str:
    pk = _alarm_vserver(world, key)
    return "checks" if key == CHECKS else f"virtual server {world.vservers[pk].name}" if pk is not None else ""


def _alarm_url(world: World, key: str) -> str:
    return "#part-checks" if key == CHECKS else url_of("vservers", _alarm_vserver(world, key))

"""What happened to one object, newest first, page after page: changes of state, and what people did to it.

A page begins before a row's number, so it costs the same however long the history is, and stays what it was while new
rows come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.db.models import Count, Model, QuerySet
from django.utils import timezone

from webui import freshness
from webui.choices import AuditVerb, State
from webui.deeds import deed
from webui.events.webhook import without_query
from webui.metrics.read import SPANS
from webui.models import AuditEntry, HealthState, HealthTransition, Monitor, Service
from webui.queries import row_of_transition
from webui.rows import url_of
from webui.tables import Column
from webui.templatetags.halfpipe import NOTHING, absolute

PAGE: Final = 50
LONGEST_NUMBER: Final = 18  # digits
UNTOLD: Final = frozenset({"version", "created_at", "updated_at"})


@dataclass(frozen=True)
class Page:
    """Rows of a page; ``older`` is the number to go on with, 0 at the end. ``first``: nothing is newer."""

    rows: list[Any]
    older: int = 0
    first: bool = True


@dataclass(frozen=True)
class FieldChange:
    """One field of an audit entry."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Entry:
    """An audit entry for the page of its object."""

    at: str
    moment: str
    who: str
    where: str
    what: str
    revision: int | None
    reason: str
    fields: list[FieldChange] = field(default_factory=list)


def before_of(text: str) -> int:
    """The number in an address; 0, which is the newest page, for what is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER else 0


def _page(rows: QuerySet[Any], before: int, shown: Callable[[Any], Any]) -> Page:
    rows = rows.order_by("-pk")
    found = list((rows.filter(pk__lt=before) if before else rows)[: PAGE + 1])
    older = found[PAGE - 1].pk if len(found) > PAGE else 0
    return Page([shown(row) for row in found[:PAGE]], older, first=not before)


def transitions(kind: str, obj: Any, before: int) -> Page:
    """Changes of state that concern the object; one query.

    Of a virtual server: at its VIP, of services that are bound now. Of a monitor: under the name that it has now.
    """
    return _page(_TRANSITIONS[kind](obj), before, row_of_transition)


_TRANSITIONS: Mapping[str, Callable[[Any], QuerySet[HealthTransition]]] = {
    "servers": lambda obj: HealthTransition.objects.filter(
        service__in=Service.objects.filter(server=obj).order_by().values("pk")
    ),
    "services": lambda obj: HealthTransition.objects.filter(service=obj),
    "servicegroups": lambda obj: HealthTransition.objects.filter(
        service__in=Service.objects.filter(membership__group=obj).order_by().values("pk")
    ),
    "vservers": lambda obj: HealthTransition.objects.filter(
        vip=obj.address, service__in=obj.service_bindings.order_by().values("service")
    ),
    "monitors": lambda obj: HealthTransition.objects.filter(monitor_name=obj.name),
}


def entries(model: type[Model], pk: int, before: int) -> Page:
    """Audit entries of an object; one query."""
    rows = AuditEntry.objects.filter(kind=str(model._meta.model_name), object_id=pk)
    return _page(rows, before, entry)


def entry(row: AuditEntry) -> Entry:
    """An entry with what each field was before and is after; what was not there is a dash."""
    before, after = _fields(row.before), _fields(row.after)
    names = [name for name in dict.fromkeys([*after, *before]) if name not in UNTOLD]
    if row.verb == AuditVerb.UPDATE:
        names = [name for name in names if before.get(name) != after.get(name)]
    return Entry(
        at=row.at.isoformat(),
        moment=absolute(row.at.isoformat()),
        who=row.actor_name or "system",
        where=" from ".join(filter(None, (row.get_interface_display(), row.source_address or ""))),
        what=deed(row),
        revision=row.revision,
        reason=row.reason,
        fields=[FieldChange(name, _text(row, name, before), _text(row, name, after)) for name in names],
    )


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(row: AuditEntry, name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name)
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NOTHING
    return without_query(str(value)) if (row.kind, name) == ("eventtarget", "url") else str(value)


CHECKS: Final = (
    Column("service", "Service", link="service_url"),
    Column("vip", "VIP", "code"),
    Column("state", "State", "state"),
    Column("response_time", "Last answer"),
    Column("average_time", "Average"),
    *(Column(f"downs_{name}", f"DOWN in {span.label}", "count") for name, span in SPANS.items()),
)


def checks_of(monitor: Monitor) -> list[dict[str, Any]]:
    """How each check of a monitor answers, and how often it went DOWN; four queries."""
    rows: list[HealthState] = list(
        monitor.health_states.select_related("target", "service").order_by("service__name", "target")
    )
    freshness.refresh(rows)
    downs = {name: _downs(monitor, span.slot * span.slots) for name, span in SPANS.items()}
    return [
        {
            "key": str(row.pk),
            "service": row.service.name,
            "service_url": url_of("services", row.service_id),
            "vip": row.target.vip,
            "state": row.state,
            "response_time": _milliseconds(row.response_time),
            "average_time": _milliseconds(row.average_time),
        }
        | {f"downs_{name}": found.get((row.service_id, row.target.vip), 0) for name, found in downs.items()}
        for row in rows
    ]


def _downs(monitor: Monitor, seconds: int) -> dict[tuple[int | None, str], int]:
    since = timezone.now() - timedelta(seconds=seconds)
    rows = HealthTransition.objects.filter(monitor_name=monitor.name, at__gte=since, new=State.DOWN)
    rows = rows.filter(service__in=monitor.service_bindings.order_by().values("service"))
    counted = rows.order_by().values_list("service", "vip").annotate(Count("pk"))
    return {(service, vip): number for service, vip, number in counted}


def _milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds * 1000:.1f} ms"

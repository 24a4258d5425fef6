"""Entries as pages show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.urls import reverse

from webui.audit.search import Row
from webui.choices import PROBED, AuditVerb, Interface, Outcome
from webui.models import AuditEntry, EventTarget, HealthTransition, Monitor, Server, Service, ServiceGroup, VServer
from webui.models.fields import MODELS_IN_WORDS
from webui.rows import url_of

# By the audit's name of a kind: the word in addresses, and its rows.
PAGES: Final[dict[str, tuple[str, Any]]] = {
    "vserver": ("vservers", VServer),
    "service": ("services", Service),
    "server": ("servers", Server),
    "monitor": ("monitors", Monitor),
    "servicegroup": ("servicegroups", ServiceGroup),
    "eventtarget": ("eventtargets", EventTarget),
}
NOTHING: Final = "–"
_JOINTS: Final = {str(AuditVerb.BIND): "to", str(AuditVerb.UNBIND): "from"}


@dataclass(frozen=True)
class Change:
    """One field, before and after; ``–`` where it had or has no value."""

    name: str
    before: str
    after: str

    @property
    def same(self) -> bool:
        """Whether the field is only there to tell what it is about."""
        return self.before == self.after


@dataclass(frozen=True)
class Shown:
    """An entry, or a change of state, in words. ``url`` is its own page, ``object_url`` that of what it is about."""

    row: Row
    url: str
    who: str
    interface: str
    deed: str
    about: str
    object_url: str
    outcome: str
    outcome_label: str
    changes: Sequence[Change]
    note: str

    @property
    def is_entry(self) -> bool:
        """Whether it is an entry of the chain."""
        return isinstance(self.row, AuditEntry)

    @property
    def in_short(self) -> str:
        """The changes on one line, where they are few and short."""
        parts = [f"{one.name}: {one.after}" if one.before == NOTHING else _arrow(one) for one in self.changes]
        text = ", ".join(parts)
        return text if len(text) <= 120 else f"{len(parts)} fields"


def _arrow(one: Change) -> str:
    return f"{one.name}: {one.before} → {one.after}"


def shown(rows: Sequence[Row]) -> list[Shown]:
    """Rows in words; one query for each kind of object that they are about."""
    there = _present(rows)
    return [_transition(row, there) if isinstance(row, HealthTransition) else _entry(row, there) for row in rows]


def _present(rows: Sequence[Row]) -> dict[str, set[int]]:
    """Which of the objects are there still, by kind."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if isinstance(row, AuditEntry):
            if row.kind in PAGES and row.object_id is not None:
                wanted[row.kind].add(row.object_id)
        elif row.service_id is not None:
            wanted["service"].add(row.service_id)
    return {
        kind: set(PAGES[kind][1]._default_manager.filter(pk__in=keys).values_list("pk", flat=True))
        for kind, keys in wanted.items()
    }


def _object_url(kind: str, pk: int | None, there: dict[str, set[int]]) -> str:
    if kind == "installation":
        return reverse("settings")
    return url_of(PAGES[kind][0], pk) if pk is not None and pk in there.get(kind, ()) else ""


def _entry(row: AuditEntry, there: dict[str, set[int]]) -> Shown:
    verb, about = row.get_verb_display(), f"{MODELS_IN_WORDS.get(row.kind, row.kind)} {row.object_name}".strip()
    if (joint := _JOINTS.get(row.verb)) is not None:
        bound: dict[str, Any] = row.after or row.before or {}
        what = next((f"{kind} {bound[kind]}" for kind in ("service", "monitor", "group") if kind in bound), "")
        verb = f"{verb} {what} {joint}" if what else verb
    if row.verb == AuditVerb.APPLY and row.revision is not None:
        verb = f"applied revision {row.revision} on"
    return Shown(
        row=row,
        url=reverse("audit-entry", args=[row.pk]),
        who=row.actor_name or "system",
        interface=row.get_interface_display(),
        deed=verb,
        about=about,
        object_url=_object_url(row.kind, row.object_id, there),
        outcome=row.outcome,
        outcome_label=row.get_outcome_display(),
        changes=changes(row),
        note=row.reason,
    )


def _transition(row: HealthTransition, there: dict[str, set[int]]) -> Shown:
    return Shown(
        row=row,
        url="",
        who=f"monitor {row.monitor_name}",
        interface=str(Interface.SYSTEM.label),
        deed="changed the state of" if row.old != row.new else "noticed at",
        about=f"service {row.service_name} at {row.vip}",
        object_url=_object_url("service", row.service_id, there),
        outcome=str(Outcome.SUCCESS),
        outcome_label=str(Outcome.SUCCESS.label),
        changes=[Change("state", row.old, row.new)] if row.old != row.new else [],
        note=row.reason,
    )


def changes(entry: AuditEntry) -> list[Change]:
    """Each field before and after, in the order of their names; those that did not change are left out."""
    before, after = _fields(entry.before), _fields(entry.after)
    if entry.verb == PROBED:
        return [Change(name, NOTHING, text(value)) for name, value in sorted(after.items())]
    return [
        Change(name, text(before.get(name)), text(after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or before[name] != after[name]
    ]


def _fields(value: Any) -> dict[str, Any]:
    """As an object; anything else appears as “value”."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


def text(value: Any) -> str:
    """A value as people write it."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(text, value)) or NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text(one)}" for name, one in value.items()) or NOTHING
    return str(value)

"""Revisions of the configuration, read: what differs between two, and what an earlier one had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Max, Min, Subquery

from webui.events.webhook import without_query
from webui.journal import BY_KIND, Plain, configured
from webui.models import ConfigurationRevision, Installation, PendingConfirmation, RevisionRow
from webui.models.fields import port_text
from webui.models.sealed import SealedField

KIND_TEXT: Final = {
    "installation": "settings",
    "eventtarget": "event target",
    "vserver": "virtual server",
    "servicegroup": "service group",
    "servicegroupmember": "member of a service group",
    "servicegroupmonitorbinding": "binding of a monitor to a group",
    "vserverservicegroupbinding": "binding of a service group",
    "servicemonitorbinding": "binding of a monitor",
    "vserverservicebinding": "binding of a service",
}
HIDDEN: Final = "•••"
SINGLETON: Final = 1


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A column and its two values as an operator reads them."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RowChange:
    """One object that differs; ``before`` or ``after`` is None where it does not exist."""

    kind: str
    row: int
    name: str
    before: Plain | None
    after: Plain | None

    @property
    def what(self) -> str:
        """In a word."""
        return "added" if self.before is None else "deleted" if self.after is None else "changed"

    @property
    def kind_text(self) -> str:
        """What it is called."""
        return KIND_TEXT.get(self.kind, self.kind)

    def fields(self) -> Iterator[FieldChange]:
        """The columns that differ; of an object that is new or gone all that are set."""
        before, after = configured(self.kind, self.before), configured(self.kind, self.after)
        for name in dict.fromkeys((*before, *after)):
            old, new = before.get(name), after.get(name)
            nothing = (old if self.after is None else new) in (None, "", {})
            if old != new and not (nothing and None in (self.before, self.after)):
                yield from _in_words(self.kind, name, old, new)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the configuration stands: its revision, the saved one, and a trial that runs."""

    revision: int
    saved: int | None
    saved_at: datetime | None
    saved_by: str
    back_to: int | None
    until: datetime | None
    trial_by: str

    @property
    def is_saved(self) -> bool:
        """Whether what runs is what was saved."""
        return self.saved == self.revision


class UnknownRevisionError(LookupError):
    """There is no such revision, or it is older than what is kept; the message says which there are."""


def standing() -> Standing:
    """In one query, as every page asks."""
    trial = PendingConfirmation.objects.order_by("pk")
    wanted = ("back_to", "until", "actor_name")
    found = Installation.objects.filter(pk=SINGLETON).annotate(
        **{f"trial_{name}": Subquery(trial.values(name)[:1]) for name in wanted}
    )
    names = ("revision", "saved_revision", "saved_at", "saved_by", *(f"trial_{name}" for name in wanted))
    row = found.values(*names).first()
    if row is None:
        return Standing(0, None, None, "", None, None, "")
    revision, saved, saved_at, saved_by, back_to, until, by = (row[name] for name in names)
    return Standing(revision, saved, saved_at, saved_by, back_to, until, by or "")


def known() -> tuple[int, int]:
    """The oldest and the newest revision that can be told: the oldest is what was before the first that is kept."""
    found = ConfigurationRevision.objects.aggregate(oldest=Min("number"), newest=Max("number"))
    current = Installation.objects.filter(pk=SINGLETON).values_list("revision", flat=True).first() or 0
    return (found["oldest"] - 1 if found["oldest"] is not None else current), current


def require_known(*numbers: int) -> None:
    """Raise UnknownRevisionError unless all of these revisions can be read."""
    oldest, current = known()
    for number in numbers:
        if not oldest <= number <= current:
            msg = f"There is no revision {number}: the configuration is known from {oldest} to {current}."
            raise UnknownRevisionError(msg)


def difference(old: int, new: int) -> list[RowChange]:
    """What makes ``new`` out of ``old``, by kind and name; ``old`` may be the later. Raises UnknownRevisionError."""
    require_known(old, new)
    if old > new:
        return [RowChange(one.kind, one.row, one.name, one.after, one.before) for one in difference(new, old)]
    found: dict[tuple[str, int], RowChange] = {}
    rows = RevisionRow.objects.filter(revision__number__gt=old, revision__number__lte=new)
    for row in rows.order_by("revision__number").iterator():
        key = row.kind, row.row
        before = found[key].before if key in found else row.before
        found[key] = RowChange(row.kind, row.row, row.name, before, row.after)
    order = {kind: place for place, kind in enumerate(BY_KIND)}
    changed = [one for one in found.values() if _differs(one)]
    return sorted(changed, key=lambda one: (order.get(one.kind, len(order)), one.name.lower(), one.row))


def _differs(one: RowChange) -> bool:
    if one.before is None or one.after is None:
        return one.before is not one.after
    return configured(one.kind, one.before) != configured(one.kind, one.after)


def _in_words(kind: str, name: str, old: Any, new: Any) -> Iterator[FieldChange]:
    model = BY_KIND.get(kind)
    columns = {one.attname: one for one in model._meta.concrete_fields} if model else {}
    field = columns.get(name)
    if isinstance(field, SealedField):
        yield FieldChange(name, HIDDEN if old else "–", "changed" if old and new else HIDDEN if new else "removed")
    elif isinstance(old, dict) or isinstance(new, dict):
        old, new = old or {}, new or {}
        for part in dict.fromkeys((*old, *new)):
            if old.get(part) != new.get(part):
                # The query of a webhook's address often is a password.
                shown = without_query if part == "url" else str
                yield FieldChange(part, *(_text(shown(one)) if one else "–" for one in (old.get(part), new.get(part))))
    elif field is not None and field.is_relation:
        yield FieldChange(field.name, _name_of(field, old), _name_of(field, new))
    elif name == "port":
        yield FieldChange(name, *("–" if one is None else port_text(one) for one in (old, new)))
    else:
        yield FieldChange(name, _text(old), _text(new))


def _text(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _name_of(field: Any, pk: int | None) -> str:
    """The name of the other object now; of one that is gone, as it was called last."""
    if pk is None:
        return "–"
    name = field.related_model._default_manager.filter(pk=pk).values_list("name", flat=True).first()
    if name is None:
        rows = RevisionRow.objects.filter(kind=field.related_model._meta.model_name, row=pk)
        name = rows.order_by("-pk").values_list("name", flat=True).first()
    return str(name or pk)

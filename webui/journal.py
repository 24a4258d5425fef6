"""Notes which rows of the configuration a change touches, and how they were: what a revision is made of.

It listens to Django's signals, so that no action can forget to tell. Rows that a queryset's ``update`` changes make no
signal; of those :meth:`Journal.remember` must be told first (a test walks the actions and compares whole tables).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

from django.db import models
from django.db.models.signals import post_save, pre_delete, pre_save

from webui import known
from webui.models import (
    EventTarget,
    Installation,
    Monitor,
    Server,
    Service,
    ServiceGroup,
    ServiceGroupMember,
    ServiceGroupMonitorBinding,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
    VServerServiceGroupBinding,
)
from webui.models.revision import ConfigurationRevision, RevisionRow

BATCH: Final = 500  # rows of one query
Plain = dict[str, Any]  # a row by the names of its columns, in JSON's types

# In an order in which they can be made, one after the other.
CONFIGURED: Final[tuple[type[models.Model], ...]] = (
    *(Installation, Server, Monitor, EventTarget, Service, ServiceGroup, VServer),
    *(ServiceMonitorBinding, VServerServiceBinding),
    *(ServiceGroupMember, ServiceGroupMonitorBinding, VServerServiceGroupBinding),
)
BINDINGS: Final = frozenset(
    {"servicemonitorbinding", "vserverservicebinding"}
    | {"servicegroupmember", "servicegroupmonitorbinding", "vserverservicegroupbinding"}
)
BY_KIND: Final = {str(model._meta.model_name): model for model in CONFIGURED}
# Columns that are no configuration: a change of these alone is none, and a roll-back leaves them.
META: Final = frozenset({"id", "created_at", "updated_at", "version"})
OWN: Final = {"installation": frozenset({"revision", "hash_key", "saved_revision", "saved_at", "saved_by"})}


def plain(row: models.Model) -> Plain:
    """Every column of a row in JSON's types; :func:`restored` is the way back."""
    found: Plain = {}
    for one in row._meta.concrete_fields:
        value = getattr(row, one.attname)
        found[one.attname] = value.isoformat() if isinstance(value, datetime) else value
    return found


def restored(kind: str, values: Plain) -> models.Model:
    """The row of those columns, not saved. Columns that came since have their defaults."""
    model = BY_KIND[kind]
    known = {one.attname: one for one in model._meta.concrete_fields}
    return model(**{name: known[name].to_python(value) for name, value in values.items() if name in known})


def configured(kind: str, values: Plain | None) -> Plain:
    """The columns that are configuration."""
    left_out = META | OWN.get(kind, frozenset())
    return {name: value for name, value in (values or {}).items() if name not in left_out}


class Journal:
    """What one change touched: how each row was before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], Plain | None] = {}

    def remember(self, model: type[models.Model], pks: Collection[int]) -> None:
        """These rows are about to change, or to go."""
        kind = str(model._meta.model_name)
        unknown = [pk for pk in pks if (kind, pk) not in self._before]
        for row in model._default_manager.filter(pk__in=unknown) if unknown else ():
            self._before[kind, row.pk] = plain(row)

    def made(self, model: type[models.Model], pk: int) -> None:
        """There was no such row before, unless it is known that there was."""
        self._before.setdefault((str(model._meta.model_name), pk), None)

    def mark(self) -> int:
        """How many rows are noted: for :meth:`forget`."""
        return len(self._before)

    def forget(self, mark: int) -> None:
        """Forget what was noted since: those changes were taken back."""
        while len(self._before) > mark:
            self._before.popitem()

    def settle_versions(self) -> None:
        """Raise the version of a row by one, however often it was saved: versions count revisions."""
        for kind, model in BY_KIND.items():
            if not hasattr(model, "version"):
                continue
            first = {
                pk: (before or {}).get("version", 0) + 1 for (of, pk), before in self._before.items() if of == kind
            }
            beyond: dict[int, list[int]] = defaultdict(list)
            for pk, row in model._default_manager.only("version").in_bulk(list(first)).items():
                if row.version > first[pk]:
                    beyond[first[pk]].append(pk)
            for version, pks in beyond.items():
                for at in range(0, len(pks), BATCH):
                    model._default_manager.filter(pk__in=pks[at : at + BATCH]).update(version=version)

    def rows(self) -> list[RevisionRow]:
        """What is different now, not saved."""
        found: list[RevisionRow] = []
        for kind, model in BY_KIND.items():
            pks = [pk for of, pk in self._before if of == kind]
            rows = model._default_manager.all()
            if kind in BINDINGS:  # which are called after their ends
                rows = rows.select_related(*(one.name for one in model._meta.concrete_fields if one.is_relation))
            now = rows.in_bulk(pks) if pks else {}
            for pk in pks:
                before, row = self._before[kind, pk], now.get(pk)
                after = plain(row) if row is not None else None
                if (before is None) == (after is None) and configured(kind, before) == configured(kind, after):
                    continue
                name = _name(kind, after if after is not None else before or {}, row)
                found.append(RevisionRow(kind=kind, row=pk, name=name, before=before, after=after))
        return found

    def write(self, *, number: int, actor_name: str, interface: str, summary: str, back_to: int | None) -> None:
        """Save the revision; runs in the change's own transaction."""
        revision = ConfigurationRevision.objects.create(
            number=number, actor_name=actor_name, interface=interface, summary=summary, back_to=back_to
        )
        rows = self.rows()
        for one in rows:
            one.revision = revision
        RevisionRow.objects.bulk_create(rows, batch_size=BATCH)


def _name(kind: str, values: Plain, row: models.Model | None) -> str:
    if row is not None:
        return str(row)[:300]
    if kind not in BINDINGS:
        return str(values.get("name", ""))[:300]
    # The binding is gone, and one of its ends may be.
    ends = (*((VServer, "vserver_id"), (ServiceGroup, "group_id"), (Service, "service_id"), (Monitor, "monitor_id")),)
    names = []
    for model, column in ends:
        if column in values:
            found = model._default_manager.filter(pk=values[column]).values_list("name", flat=True).first()
            names.append(found or f"deleted {model._meta.model_name} {values[column]}")
    return " – ".join(names)[:300]


_current: ContextVar[Journal | None] = ContextVar("journal", default=None)


@contextmanager
def journal() -> Iterator[Journal]:
    """What happens inside is noted; one change at a time."""
    found = Journal()
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


def _before_saving(
    sender: type[models.Model], instance: models.Model, update_fields: frozenset[str] | None, **_signal: Any
) -> None:
    if (found := _current.get()) is not None and not instance._state.adding:
        found.remember(sender, [instance.pk])
        _tell_known(sender, instance, update_fields)


def _after_saving(sender: type[models.Model], instance: models.Model, created: bool, **_signal: Any) -> None:
    if (found := _current.get()) is not None and created:
        found.made(sender, instance.pk)
        if (rows := known.current()) is not None:
            rows.made(instance)


def _before_deleting(sender: type[models.Model], instance: models.Model, **_signal: Any) -> None:
    if (found := _current.get()) is not None:
        found.remember(sender, [instance.pk])
        _tell_known(sender, instance, None)


def _tell_known(sender: type[models.Model], instance: models.Model, fields: frozenset[str] | None) -> None:
    if (rows := known.current()) is not None and str(sender._meta.model_name) not in BINDINGS:
        rows.changes(instance, fields)


def listen() -> None:
    """Register for the signals of the configuration's models; once, when the models are loaded."""
    for model in CONFIGURED:
        uid = f"journal-{model._meta.model_name}"
        pre_save.connect(_before_saving, sender=model, dispatch_uid=uid)
        post_save.connect(_after_saving, sender=model, dispatch_uid=uid)
        pre_delete.connect(_before_deleting, sender=model, dispatch_uid=uid)

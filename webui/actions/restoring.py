"""Brings rows of the configuration back to what they were: the inside of a roll-back.

The rows of an earlier revision obeyed the rules together, so all of them are written first and then looked at; on the
way they may clash (two that swapped names), so what must be unique is set aside before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models

from webui.actions import checks
from webui.actions.base import Change
from webui.actions.monitors import SAME_QUESTION
from webui.actions.values import as_json
from webui.choices import AuditVerb
from webui.journal import BINDINGS, BY_KIND, META, OWN, Plain, configured, plain, restored
from webui.models import (
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
from webui.revisions import RowChange

_ASIDE: Final = "100::"  # RFC 6666: addresses that nobody has
_VERB: Final = {"added": AuditVerb.CREATE, "changed": AuditVerb.UPDATE, "deleted": AuditVerb.DELETE}
_BINDING_VERB: Final = _VERB | {"added": AuditVerb.BIND, "deleted": AuditVerb.UNBIND}


def restore(current: Change, changes: Sequence[RowChange], reason: str) -> None:
    """Make of each row what ``after`` says, with its audit entry. ValidationError: a rule is newer than that."""
    by_kind = {kind: [one for one in changes if one.kind == kind] for kind in BY_KIND}
    told = [(one, _entry_of(one, one.before)) for one in changes]
    for kind, of_kind in by_kind.items():
        current.journal.remember(BY_KIND[kind], [one.row for one in of_kind])
    versions = {kind: _versions(kind, of_kind) for kind, of_kind in by_kind.items()}
    _delete(by_kind)
    _set_aside(by_kind)
    rows = [row for kind, of_kind in by_kind.items() for row in _write(kind, of_kind, versions[kind])]
    _check(rows)
    for one, before in told:
        _record(current, one, before, _entry_of(one, one.after), reason)
    _follow(by_kind)


def _versions(kind: str, changes: Iterable[RowChange]) -> dict[int, Plain]:
    """What the rows have now of the columns that are no configuration."""
    model = BY_KIND[kind]
    kept = META | OWN.get(kind, frozenset())
    rows = model._default_manager.in_bulk([one.row for one in changes])
    return {pk: {name: value for name, value in plain(row).items() if name in kept} for pk, row in rows.items()}


def _delete(by_kind: dict[str, list[RowChange]]) -> None:
    changed = [one.row for one in by_kind["vserver"]]
    VServer.objects.filter(pk__in=changed).update(backup_vserver=None)  # which would protect some
    for kind in reversed(BY_KIND):
        gone = [one.row for one in by_kind[kind] if one.after is None]
        if gone:
            BY_KIND[kind]._default_manager.filter(pk__in=gone).delete()


def _set_aside(by_kind: dict[str, list[RowChange]]) -> None:
    for kind, changes in by_kind.items():
        model = BY_KIND[kind]
        columns = {one.attname for one in model._meta.concrete_fields}
        if "name" not in columns:
            continue
        for one in changes:
            if one.before is None or one.after is None:
                continue
            aside: dict[str, Any] = {"name": f"~{one.row}"}
            if kind in {"server", "vserver"}:
                aside["address"] = f"{_ASIDE}{one.row:x}"
            model._default_manager.filter(pk=one.row).update(**aside)


def _write(kind: str, changes: Iterable[RowChange], now: dict[int, Plain]) -> list[models.Model]:
    """Save the rows that are to be there; forms that show an older state of them do not fit any more."""
    written = []
    for one in changes:
        if one.after is None:
            continue
        row = restored(kind, one.after | now.get(one.row, {}))
        if hasattr(row, "version"):
            row.version += 1
        if one.row in now:
            row._state.adding = False
        row.save(force_insert=one.row not in now, force_update=one.row in now)
        written.append(row)
    return written


def _check(rows: Iterable[models.Model]) -> None:
    problems: list[str] = []
    for row in rows:
        try:
            row.full_clean()
        except ValidationError as error:
            problems += [f"{row._meta.verbose_name} “{row}”: {text}" for text in error.messages]
    if problems:
        raise ValidationError(problems)


def _entry_of(one: RowChange, values: Plain | None) -> dict[str, Any] | None:
    """A row for the audit; of a binding, what is bound."""
    if values is None:
        return None
    row = restored(one.kind, values)
    if isinstance(row, VServerServiceGroupBinding):
        return {"group": _named(ServiceGroup, row.group_id)}
    if isinstance(row, VServerServiceBinding | ServiceGroupMember):
        return {"service": _named(Service, row.service_id), "weight": row.weight}
    if isinstance(row, ServiceMonitorBinding | ServiceGroupMonitorBinding):
        return {"monitor": _named(Monitor, row.monitor_id), "weight": row.weight, "state": row.state}
    for field in row._meta.concrete_fields:
        other = field.related_model
        if other is not None and not other._default_manager.filter(pk=values[field.attname]).exists():
            setattr(row, field.attname, None)  # its name is gone with it
    return as_json(row)


def _named(model: type[Service] | type[ServiceGroup] | type[Monitor], pk: int) -> str:
    return model._default_manager.filter(pk=pk).values_list("name", flat=True).first() or f"deleted ({pk})"


def _record(
    current: Change, one: RowChange, before: dict[str, Any] | None, after: dict[str, Any] | None, reason: str
) -> None:
    row = restored(one.kind, one.after if one.after is not None else one.before or {})
    verb = _VERB[one.what]
    if one.kind in BINDINGS:
        verb = _BINDING_VERB[one.what]
        owner = _owner(row)
        if owner is None:  # gone with its bindings, which its own entry says
            return
        row = owner
    elif before is not None and after is not None:
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        names = names or sorted(name for name in configured(one.kind, one.after) if name == "secrets")
        before = {name: before.get(name) for name in names}
        after = {name: after.get(name, "changed") for name in names}
    current.record(verb, row, before=before, after=after, reason=reason)  # type: ignore[arg-type]  # configured rows


def _owner(row: models.Model) -> VServer | Service | ServiceGroup | None:
    """What a binding belongs to; None when it is gone."""
    if isinstance(row, VServerServiceBinding | VServerServiceGroupBinding):
        return VServer.objects.filter(pk=row.vserver_id).first()
    if isinstance(row, ServiceGroupMember | ServiceGroupMonitorBinding):
        return ServiceGroup.objects.filter(pk=row.group_id).first()
    return Service.objects.filter(pk=row.service_id).first() if isinstance(row, ServiceMonitorBinding) else None


def _follow(by_kind: dict[str, list[RowChange]]) -> None:
    """What the actions do after such changes: checks of the new bindings, and none that answer another question."""
    checks.sync_checks()
    for one in by_kind["server"]:
        if one.what == "changed" and _changed(one) & {"address"}:
            row = Server.objects.get(pk=one.row)
            checks.forget(server=row, reason=f"the server's address came back to {row.address}")
    for one in by_kind["monitor"]:
        if one.what == "changed" and _changed(one) - SAME_QUESTION:
            checks.forget_results(Monitor.objects.get(pk=one.row))


def _changed(one: RowChange) -> set[str]:
    before, after = configured(one.kind, one.before), configured(one.kind, one.after)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}

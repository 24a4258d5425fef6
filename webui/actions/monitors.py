"""Changes of monitors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError

from monitors.parameters import plain
from monitors.registry import KINDS
from webui.actions import checks
from webui.actions.base import Actor, Change, change, reload, wanted_version
from webui.actions.errors import unfit
from webui.actions.values import as_json, assign, fields_of, insert, name_of, rewrite
from webui.choices import UNIT_SYMBOL, AdminState, AuditVerb
from webui.models import Monitor
from webui.models.monitor import TIMES
from webui.models.sealed import CannotOpenError, opened, seal

# After a change of anything else, earlier results answer another question.
SAME_QUESTION = frozenset(
    {
        "name",
        "state",
        *TIMES,
        *(f"{name}_unit" for name in TIMES),
        "resp_timeout_thresh",
        "retries",
        "failure_retries",
        "success_retries",
        "alert_retries",
        "lrtm",
        "dest_ip",
        "transparent",
    }
)
_TIME: Final = re.compile(r"\s*(\d+)\s*([A-Za-z]+)\s*")
_UNIT_WORDS: Final = {symbol.upper(): word for word, symbol in UNIT_SYMBOL.items()}


def create(actor: Actor, values: Mapping[str, Any]) -> Monitor:
    """Make a monitor. Parameters of its kind stand beside the other values, in either spelling.

    Raises PermissionRefused, ValidationError.
    """
    with change(actor, Monitor, "add", name_of(values)) as current:
        return create_within(current, values)


def create_within(current: Change, values: Mapping[str, Any]) -> Monitor:
    """Make a monitor as part of another change, whose permission was checked. Raises ValidationError."""
    monitor = Monitor()
    assign(monitor, _with_parameters(monitor, values))
    return insert(current, monitor)


def update(actor: Actor, monitor: Monitor, values: Mapping[str, Any], expected_version: int | None = None) -> Monitor:
    """Change a monitor; its checks are run anew at once. A secret that is not given stays, an empty one is removed.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError.
    """
    with change(actor, Monitor, "change", monitor.name) as current:
        row = reload(monitor)
        wanted_version(row, expected_version)
        changed = rewrite(current, row, _with_parameters(row, values))
        if changed - SAME_QUESTION:
            checks.forget_results(row)
        return row


def _with_parameters(row: Monitor, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns: those that are parameters of the kind are put into ``params`` and ``secrets``."""
    columns = fields_of(Monitor).keys() - {"params", "secrets"}
    values = _with_units(values)
    kind = KINDS.get(str(values.get("monitor_type") or row.monitor_type).strip().upper())
    if kind is None:  # the model says so
        return dict(values)
    found = {name: value for name, value in values.items() if name in columns}
    given: dict[str, Any] = {name: value for name, value in values.items() if name not in columns}
    for inner in (given.pop("params", None), given.pop("secrets", None)):
        given |= inner if isinstance(inner, Mapping) else {}
    params, secrets = dict(row.params), _secrets_of(row)
    problems: dict[str, str] = {}
    for name, value in given.items():
        parameter = kind.by_plain_name.get(plain(name))
        if parameter is None:
            others = [other.name for other in KINDS.values() if plain(name) in other.by_plain_name]
            if others:
                problems[name] = f"“{name}” is a parameter of {', '.join(others)}, not of {kind.name}."
            else:
                found[name] = value  # refused, with a reason where there is one, with everything else
        elif not parameter.secret:
            params[parameter.name] = value
        elif isinstance(value, str):
            secrets[parameter.name] = value
        else:
            problems[parameter.name] = f"{parameter.label} must be text."
    if problems:
        raise unfit(problems)
    return found | {"params": params, "secrets": row.secrets if secrets == _secrets_of(row) else seal(secrets)}


def _with_units(values: Mapping[str, Any]) -> dict[str, Any]:
    """Times of two parts (``500 MSEC``, ``500 ms``) as number and unit; ``units1`` to ``units5`` by their field."""
    times = {plain(name): name for name in TIMES}
    units = {option: f"{name}_unit" for name, (_label, _longest, option) in TIMES.items()}
    found: dict[str, Any] = {}
    for name, value in values.items():
        time = times.get(plain(name))
        match = _TIME.fullmatch(value) if time and isinstance(value, str) else None
        if time and match:
            word = match[2].upper()
            found |= {time: match[1], f"{time}_unit": _UNIT_WORDS.get(word, word)}
        else:
            found[units.get(plain(name), name)] = value
    return found


def _secrets_of(row: Monitor) -> dict[str, str]:
    try:
        return opened(row.secrets)
    except CannotOpenError:  # they are typed in again, all of them
        return {}


def enable(actor: Actor, monitor: Monitor) -> Monitor:
    """Count the monitor again. Raises PermissionRefused, NotFoundError."""
    return _set_state(actor, monitor, AdminState.ENABLED, AuditVerb.ENABLE)


def disable(actor: Actor, monitor: Monitor) -> Monitor:
    """Count the monitor nowhere. Raises PermissionRefused, NotFoundError, ValidationError (a built-in one)."""
    return _set_state(actor, monitor, AdminState.DISABLED, AuditVerb.DISABLE)


def _set_state(actor: Actor, monitor: Monitor, state: AdminState, verb: AuditVerb) -> Monitor:
    with change(actor, Monitor, verb, monitor.name) as current:
        row = reload(monitor)
        rewrite(current, row, {"state": state}, verb)
        return row


def delete(actor: Actor, monitor: Monitor) -> None:
    """Delete a monitor that is bound nowhere. Raises PermissionRefused, NotFoundError, ValidationError."""
    with change(actor, Monitor, "delete", monitor.name) as current:
        row = reload(monitor)
        if row.built_in:
            msg = f"“{row.name}” is built in and cannot be deleted."
            raise ValidationError(msg)
        names = list(row.service_bindings.order_by("service__name").values_list("service__name", flat=True))
        if names:
            msg = f"“{row.name}” is bound to services: {', '.join(names)}. Unbind it first."
            raise ValidationError(msg)
        groups = list(row.group_bindings.order_by("group__name").values_list("group__name", flat=True))
        if groups:
            msg = f"“{row.name}” is bound to service groups: {', '.join(groups)}. Unbind it first."
            raise ValidationError(msg)
        current.record(AuditVerb.DELETE, row, before=as_json(row))
        row.delete()

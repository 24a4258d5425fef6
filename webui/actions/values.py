"""From what a page, the API or the command line sends to a row, and from a row to the audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from webui import known
from webui.actions.base import Change, Configured, Named, words_of
from webui.actions.errors import UNFIT
from webui.choices import AuditVerb
from webui.models.sealed import CannotOpenError, SealedField, opened
from webui.options import refuse_proxy_options, squashed

# Written by the program alone.
NOT_VALUES = frozenset(
    {"id", "created_at", "updated_at", "version", "built_in", "out_of_service_at", "graceful"}
    | {"revision", "hash_key", "saved_revision", "saved_at", "saved_by"}
)
HIDDEN = "•••"
# NetScaler writes switches as YES/NO, ENABLED/DISABLED and ON/OFF.
SWITCHES = {"YES": True, "ENABLED": True, "ON": True, "TRUE": True, "NO": False, "DISABLED": False, "OFF": False} | {
    "FALSE": False
}


def fields_of(model: type[models.Model]) -> dict[str, models.Field[Any, Any]]:
    """Fields that an operator may set, by name."""
    return {one.name: one for one in model._meta.concrete_fields if one.name not in NOT_VALUES}


def as_json(row: models.Model) -> dict[str, Any]:
    """The operator's fields of a row for the audit; another object appears by its name, a secret not at all.

    Parameters in a JSON field appear each by its own name.
    """
    found: dict[str, Any] = {}
    for name, one in fields_of(type(row)).items():
        value = getattr(row, name)
        if isinstance(one, SealedField):
            found |= dict.fromkeys(_secrets(value), HIDDEN)
        elif isinstance(one, models.JSONField):
            found |= value
        else:
            found[name] = str(value) if one.is_relation or isinstance(value, str) else value
    return found


@dataclass(frozen=True)
class Unfit:
    """Stands for a value that was found to be of no use while the others were made ready, with the reason."""

    reason: str


def assign(row: models.Model, values: Mapping[str, Any]) -> None:
    """Set fields by name, nothing saved. Raises ValidationError for a name that is no field or a value of no use.

    With values of no use, whatever else the row's own rules refuse is told in the same error.

    Names are those of the fields or NetScaler's: ``lb_method`` or ``lbMethod``.
    """
    known = fields_of(type(row))
    spelled = {squashed(name): name for name in known}
    values = {name if name in known else spelled.get(squashed(name), name): value for name, value in values.items()}
    refuse_proxy_options({name: value for name, value in values.items() if name not in known}, words_of(type(row)))
    problems: dict[str, str] = {}
    for name, value in values.items():
        if name not in known:
            continue  # an option that is at its neutral value: there is nothing to set
        try:
            setattr(row, name, _converted(known[name], value))
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        alone = {name: [ValidationError(text, code=UNFIT)] for name, text in problems.items()}
        raise ValidationError(alone | _of_the_others(row, problems))


def _of_the_others(row: models.Model, wrong: Collection[str]) -> dict[str, list[ValidationError]]:
    try:
        row.full_clean(exclude=wrong)
    except ValidationError as error:
        return error.error_dict
    return {}


def _converted(one: models.Field[Any, Any], value: Any) -> Any:
    """The value in the field's own terms; what is left is for the field itself to judge. Raises ValueError."""
    if isinstance(value, Unfit):
        raise ValueError(value.reason)
    if isinstance(one, models.BooleanField):
        return as_switch(value)
    if isinstance(one, models.IntegerField):
        return _as_number(one, value)
    if isinstance(value, str):
        value = value.strip() if one.name != "name" else value
        if one.choices or one.name == "monitor_type":
            return value.upper()
    return value


def as_switch(value: Any) -> bool:
    """YES, ENABLED, ON, NO and so on as a bool. Raises ValueError."""
    if isinstance(value, str) and value.strip().upper() in SWITCHES:
        return SWITCHES[value.strip().upper()]
    if isinstance(value, bool):
        return value
    msg = f"“{value}” is neither YES nor NO."
    raise ValueError(msg)


def _as_number(one: models.Field[Any, Any], value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if value == "*" and one.name in {"port", "dest_port"}:
            return 0
        if not value and one.null:
            return None
    if isinstance(value, bool | float):  # Django would cut 1.5 to 1 and take yes for 1
        msg = f"“{value}” is not a whole number."
        raise ValueError(msg)
    return value


def insert(current: Change, row: Named) -> Named:
    """Validate and save a new row, with its audit entry. Raises ValidationError."""
    row.full_clean()
    row.save(force_insert=True)
    if (rows := known.current()) is not None:
        rows.add(row)
    current.record(AuditVerb.CREATE, row, after=as_json(row))
    return row


def rewrite(current: Change, row: Named, values: Mapping[str, Any], verb: AuditVerb = AuditVerb.UPDATE) -> set[str]:
    """Validate and save new values of a row; returns the names of the fields that changed, empty for none.

    The row must have been reloaded under the lock. Raises ValidationError.
    """
    before, secrets = as_json(row), _all_secrets(row)
    assign(row, values)
    row.full_clean()
    after, new_secrets = as_json(row), _all_secrets(row)
    after |= {name: "changed" for name in new_secrets if new_secrets[name] != secrets.get(name)}
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if changed:
        row.version += 1
        row.save()
        current.record(
            verb,
            row,
            before={name: before[name] for name in sorted(changed) if name in before},
            after={name: after.get(name, "removed") for name in sorted(changed)},
        )
    return changed


def _all_secrets(row: models.Model) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, one in fields_of(type(row)).items():
        if isinstance(one, SealedField):
            found |= _secrets(getattr(row, name))
    return found


def _secrets(token: str) -> dict[str, str]:
    """The secrets by name; those that no key opens any more count as none."""
    try:
        return opened(token)
    except CannotOpenError:
        return {}


def name_of(values: Mapping[str, Any]) -> str:
    """The name in values, for the audit of an attempt that may be refused."""
    return str(values.get("name", ""))


def one_of(row: Configured | str) -> str:
    """The name of an object given as such or by name."""
    return row if isinstance(row, str) else row.name

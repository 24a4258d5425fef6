"""Parameters of the kinds of monitors and event targets: what the schema says of them, and that it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.db import models

from monitors.kind import Kind, Secure
from monitors.parameters import Parameter, plain
from monitors.registry import KINDS as MONITORS
from webui.actions.errors import unfit
from webui.events.kind import TargetKind
from webui.events.kinds import KINDS as TARGETS
from webui.models import EventTarget, Monitor

AnyKind = Kind | TargetKind
KINDS: Final[Mapping[type[models.Model], tuple[str, Mapping[str, AnyKind]]]] = {
    Monitor: ("monitor_type", MONITORS),
    EventTarget: ("target_type", TARGETS),
}
_TYPES: Final[Mapping[str, type]] = {"switch": bool, "integer": int, "choice": str, "text": str}


def alternatives(model: type[models.Model]) -> list[dict[str, Any]]:
    """JSON Schema for ``oneOf``: which parameters a new object has, by its type; empty for models without any."""
    if model not in KINDS:
        return []
    column, kinds = KINDS[model]
    return [_of_kind(column, kind) for kind in kinds.values()]


def _of_kind(column: str, kind: AnyKind) -> dict[str, Any]:
    found: dict[str, Any] = {column: {"const": kind.name}}
    needed = [column]
    for name, secret in (("params", False), ("secrets", True)):
        own = [one for one in kind.parameters if one.secret is secret]
        required = [one.name for one in own if one.required and not one.default]
        found[name] = {
            "type": "object",
            "properties": {one.name: _schema_of(one) for one in own},
            "required": required,
            "additionalProperties": False,
        }
        needed += [name] if required else []
    if isinstance(kind, Kind) and not kind.uses_port:
        found["dest_port"] = {"const": 0}
    if isinstance(kind, Kind) and kind.secure is Secure.NO:
        found["secure"] = {"const": False}
    return {"title": kind.name, "properties": found, "required": needed}


def _schema_of(one: Parameter) -> dict[str, Any]:
    told: dict[str, Any] = {"description": one.help}
    if one.kind == "switch":
        return told | {"type": "boolean"}
    if one.kind == "integer":
        return told | {"type": "integer", "minimum": one.low, "maximum": one.high}
    if one.kind == "choice":
        return told | {"type": "string", "enum": list(one.choices)}
    pattern = r"^[^\x00]*$" if one.multiline else r"^[^\x00\n\r]*$"
    return told | {"type": "string", "minLength": int(one.required), "maxLength": one.high, "pattern": pattern}


def refuse_other_types(model: type[models.Model], values: Mapping[str, Any], row: Any = None) -> None:
    """Raise ValidationError for parameters of another type than the schema has: “5” is not 5.

    ``row`` is what is changed, None for a new one. Names that are none, and what the values are, the action looks at.
    """
    if model not in KINDS:
        return
    column, kinds = KINDS[model]
    kind = kinds.get(getattr(row, column) if row is not None else str(values.get(column, "")))
    given = values.get("params")
    if kind is None or not isinstance(given, Mapping):
        return
    wrong = {}
    for name, value in given.items():
        one = kind.by_plain_name.get(plain(name))
        if one is not None and type(value) is not _TYPES[one.kind]:
            wrong[name] = f"“{value}” is not of the type that {one.label} has: {_WORDS[one.kind]}."
        elif one is not None and one.kind == "choice" and value not in one.choices:
            wrong[name] = f"“{value}” is none of {', '.join(one.choices)}."
    if wrong:
        raise unfit(wrong)


_WORDS: Final = {"switch": "true or false", "integer": "a whole number", "choice": "text", "text": "text"}

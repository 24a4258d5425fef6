"""From the options of a line to the values that an action takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.db import models

from monitors.parameters import Parameter, plain
from webui.models import EventTarget, Installation, Monitor, Server, Service, ServiceGroup, VServer
from webui.models.sealed import CannotOpenError, opened
from webui.nscli.errors import CliError
from webui.nscli.grammar import ENCRYPTED, UNITS, Option, Parsed
from webui.nscli.options import BY_POSITION, LISTS, OWN, UNIT_OPTIONS, foreign, parameters

MODELS: Final[Mapping[str, type[models.Model]]] = {
    "server": Server,
    "service": Service,
    "servicegroup": ServiceGroup,
    "vserver": VServer,
    "monitor": Monitor,
    "eventtarget": EventTarget,
    "installation": Installation,
}


def given(kind: str, parsed: Parsed) -> tuple[dict[str, Any], list[str]]:
    """Values by field (or parameter), and a note for each option that was left out because it sets nothing here.

    Raises CliError for an option that asks for something that cannot be had.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    own = {one.key: one for one in OWN[kind]}
    known = parameters(kind)
    for key, found in parsed.options.items():
        if key in own:
            values[own[key].field] = _own(own[key], found)
        elif (parameter := known.get(plain(key))) is not None:
            option = parsed.command.option(key)
            secret = option is not None and option.secret
            values[parameter.name] = _secret(parameter, found) if secret else _parameter(parameter.name, found)
        elif (other := foreign(kind, key)) is not None:
            if not other.takes(found):
                raise CliError(f"Argument [-{other.name}] is refused: it {_as_predicate(other.why)}")
            if other.passes is None:
                notes.append(f"[-{other.name}] is ignored: it {_as_predicate(other.why)}")
    return values, notes


def _as_predicate(why: str) -> str:
    """The reason after “it”; reasons that are sentences of their own follow a dash."""
    first = why.split(" ", 1)[0]
    return why if first.endswith("s") and first not in {"checks", "programs", "servers", "patterns"} else f"– {why}"


def _own(option: Option, found: tuple[str, ...]) -> str:
    if option.unit and len(found) > 1:
        if found[1].upper() not in UNITS:
            raise CliError(f"[-{option.name}] “{found[1]}” is no unit: {', '.join(UNITS)}")
        if not (found[0].isascii() and found[0].isdecimal()):
            raise CliError(f"[-{option.name}] “{found[0]}” is not a whole number")
    return " ".join(found)


def _parameter(name: str, found: tuple[str, ...]) -> str:
    return ", ".join(one.rstrip(",") for one in found) if name in LISTS and len(found) > 1 else " ".join(found)


def _secret(parameter: Parameter, found: tuple[str, ...]) -> str:
    if found[1:] != (ENCRYPTED,):
        return found[0]
    try:
        return opened(found[0])[parameter.name]
    except (CannotOpenError, KeyError, UnicodeEncodeError) as error:
        raise CliError(
            f"[-{parameter.option}] was encrypted by another installation (or another SECRET_KEY), and only that one "
            "can read it: type the secret itself"
        ) from error


def defaults(kind: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Values by field that ``unset`` gives back to these options. Raises CliError."""
    own = {one.key: one for one in OWN[kind]}
    known = parameters(kind)
    values: dict[str, Any] = {}
    for key in keys:
        if key in own:
            field = own[key].field
            values[field] = default_of(kind, field)
            if field in UNIT_OPTIONS:
                values[f"{field}_unit"] = default_of(kind, f"{field}_unit")
        elif (parameter := known.get(plain(key))) is not None:
            values[parameter.name] = "" if parameter.secret else parameter.default
        else:
            raise CliError(f"Argument [-{key}] sets nothing here, so there is nothing to unset")
    return values


def default_of(kind: str, field: str) -> Any:
    """What a field has when nobody sets it."""
    column: Any = MODELS[kind]._meta.get_field(field)
    value = column.get_default()
    return None if value == "" and column.null else value


def reachable(kind: str) -> frozenset[str]:
    """Fields that the command line sets, be it by position or by an option."""
    return frozenset(BY_POSITION[kind]) | {one.field for one in OWN[kind]}

"""What requests and answers look like: made from the models' fields, so that none is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Literal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from ninja import Schema
from pydantic import ConfigDict, Field, create_model

from monitors.registry import KINDS as MONITOR_KINDS
from webui.actions.values import fields_of
from webui.api import fields, parameters
from webui.api.fields import LetteredName, Name
from webui.events.kinds import KINDS as TARGET_KINDS
from webui.models import EventTarget, Installation, Monitor, Server, Service, ServiceGroup, VServer
from webui.models.sealed import SealedField

Scalar = str | int | float | bool | None
# What is chosen when an object is made and stays so.
FIXED: Final = {
    Server: frozenset[str](),
    Service: frozenset({"server", "service_type", "port"}),
    ServiceGroup: frozenset({"service_type"}),
    VServer: frozenset({"service_type", "port", "port_end"}),
    Monitor: frozenset({"monitor_type"}),
    EventTarget: frozenset({"target_type"}),
    Installation: frozenset[str](),
}
REQUIRED: Final = {
    Server: frozenset({"name", "address"}),
    Service: frozenset({"name", "server"}),
    ServiceGroup: frozenset({"name"}),
    VServer: frozenset({"name", "address"}),
    Monitor: frozenset({"name", "monitor_type"}),
    EventTarget: frozenset({"name", "target_type"}),
    Installation: frozenset[str](),
}
NAMES: Final[Mapping[type[models.Model], Any]] = {
    Server: fields.ServerName,
    Service: LetteredName,
    ServiceGroup: LetteredName,
}
EXAMPLES: Final[Mapping[type[models.Model], Mapping[str, Any]]] = {
    Server: {"name": "web1", "address": "192.0.2.11"},
    Service: {"name": "web1_http", "server": "web1", "service_type": "TCP", "port": 80},
    ServiceGroup: {"name": "web", "service_type": "TCP", "comment": "all web servers"},
    VServer: {"name": "web_vip", "address": "192.0.2.10", "service_type": "TCP", "port": 80},
    Monitor: {"name": "home", "monitor_type": "HTTP", "dest_port": 80, "params": {"http_request": "HEAD /"}},
    EventTarget: {"name": "collector", "target_type": "SYSLOG", "params": {"host": "192.0.2.50"}},
}
# What answers tell beyond an object's own fields; :mod:`webui.api.values` fills it.
ALSO: Final[Mapping[type[models.Model], Mapping[str, Any]]] = {
    VServer: {"service_groups": (list[str], Field(description="Service groups that are bound, by name."))},
    Service: {
        "service_group": (
            str | None,
            Field(description="The service group that it is a member of, and whose options it has."),
        )
    },
}
_KINDS: Final = {"monitor_type": tuple(MONITOR_KINDS), "target_type": tuple(TARGET_KINDS)}


class Strict(Schema):
    """A body: an unknown member is refused, and so is a value of another type (true is not 1)."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Weight(Strict):
    """A binding of a service."""

    weight: int = Field(1, ge=1, le=100, description="Share of new clients, relative to the other services'.")


class Weights(Strict):
    """Weights of several services at once."""

    weights: dict[str, Annotated[int, Field(ge=1, le=100)]] = Field(description="By the names of bound services.")


class MonitorBinding(Strict):
    """A binding of a monitor; what is left out stays, or is the default."""

    weight: int | None = Field(None, ge=1, le=100, description="Counts towards the service's monitor threshold.")
    state: Literal["ENABLED", "DISABLED"] | None = Field(None, description="DISABLED: not checked, not counted.")


class GroupMember(Strict):
    """What a member of a service group has of its own; what is left out stays, or is the default."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weight": 3}, {"state": "DISABLED", "hash_id": 7}]})

    weight: int | None = Field(None, ge=1, le=100, description="In each virtual server of the group.")
    state: Literal["ENABLED", "DISABLED"] | None = Field(None, description="Of a new member else the group's.")
    hash_id: int | None = Field(
        None, ge=1, le=2**32 - 1, description="Keeps its place in the hash ring when its address changes; null: none."
    )


class Member(Schema):
    """A member of a service group."""

    server: str
    port: int = Field(description="0: any port.")
    service: str = Field(description="The service that it is, by its name among services.")
    weight: int
    state: str = Field(description="What it was asked for; how it does is at …/state of the group.")
    hash_id: int | None


class Bound(Schema):
    """Something that is bound."""

    name: str
    weight: int
    state: str | None = None


class Disable(Strict):
    """How a server or a service goes out of service."""

    delay: int = Field(0, ge=0, le=31_536_000, description="Seconds in which its clients stay; 0: at once.")
    graceful: bool = Field(default=False, description="Leave earlier, when the last flow has ended.")


class Named(Schema):
    """Something that is bound without a weight."""

    name: str


class MemberState(Schema):
    """How a member does now."""

    server: str
    port: int = Field(description="0: any port.")
    service: str
    state: str = Field(description="Effective state, in NetScaler's words.")
    reason: str


class State(Schema):
    """How an object does now; what it was asked for with is not repeated."""

    name: str
    state: str = Field(description="Effective state, in NetScaler's words.")
    reason: str
    figures: dict[str, Scalar] = Field(description="Counters, rates and whatever else lists show of the object.")


def body_of(model: type[models.Model], *, new: bool) -> type[Strict]:
    """The body that makes an object, or (PATCH) changes some of its fields."""
    found: dict[str, Any] = {}
    for name, one in fields_of(model).items():
        if isinstance(one, SealedField) or name in {"params"} or (not new and name in FIXED[model]):
            continue
        kind = _type_of(model, name, one)
        kind = kind | None if one.null else kind
        words = _words(one)
        if new and name in REQUIRED[model]:
            found[name] = (kind, Field(description=words))
        elif new and one.has_default() and not one.is_relation:
            found[name] = (kind, Field(one.get_default(), description=words))
        else:
            found[name] = (kind, Field(None, description=words, json_schema_extra=_left_out))
    if model in {Monitor, EventTarget}:
        words = "Parameters of the type, by name."
        found["params"] = (dict[str, str | int | bool], Field(None, description=words, json_schema_extra=_left_out))
        secrets = "Passwords and other secrets of the type. Never sent back; one that is left out stays as it is."
        found["secrets"] = (dict[str, str], Field(None, description=secrets, json_schema_extra=_left_out))
    verb = "New" if new else "Change"
    made: type[Strict] = create_model(
        f"{verb}{model.__name__}", __base__=Strict, __doc__=f"{verb} {model._meta.verbose_name}.", **found
    )
    if new:
        kinds = parameters.alternatives(model)
        more: Any = {"examples": [EXAMPLES[model]]} | ({"oneOf": kinds} if kinds else {})
        made.model_config["json_schema_extra"] = more
    return made


def rename_of(model: type[models.Model]) -> type[Strict]:
    """The body that renames an object."""
    made: type[Strict] = create_model(
        f"Rename{model.__name__}", __base__=Strict, __doc__="A new name.", name=(NAMES.get(model, Name), ...)
    )
    return made


@cache
def answer_of(model: type[models.Model]) -> type[Schema]:
    """An object as it is configured."""
    found: dict[str, Any] = {}
    if model is not Installation:
        found["id"] = (int, Field(description="Number in the console's addresses; names are unique as well."))
        found["version"] = (int, Field(description="Goes up by each change; the ETag."))
        found["created_at"] = (datetime, ...)
        found["updated_at"] = (datetime, ...)
    for name, one in fields_of(model).items():
        if isinstance(one, SealedField):
            found["secrets_set"] = (list[str], Field(description="Names of the secrets that are set."))
        elif name == "params":
            found[name] = (dict[str, Scalar], Field(description="Parameters of the type, by name."))
        else:
            kind = _type_of(model, name, one, given=False)
            found[name] = (kind | None if one.null else kind, Field(description=_words(one)))
    found |= ALSO.get(model, {})
    made: type[Schema] = create_model(
        f"{model.__name__}Configuration", __base__=Schema, __doc__=str(model.__doc__), **found
    )
    return made


def _left_out(schema: dict[str, Any]) -> None:
    """What is left out of a request stays as it is, and is not null."""
    schema.pop("default", None)


def _words(one: models.Field[Any, Any]) -> str:
    return str(one.help_text) or f"{str(one.verbose_name).capitalize()}."


def _type_of(model: type[models.Model], name: str, one: models.Field[Any, Any], *, given: bool = True) -> Any:
    """The type of a field's values; ``given``: with the limits that the model has."""
    if name in _KINDS:
        return Literal[_KINDS[name]]
    if one.choices:
        return Literal[tuple(str(value) for value, _label in one.flatchoices)]
    if isinstance(one, models.BooleanField | models.IntegerField):
        return bool if isinstance(one, models.BooleanField) else _number(one) if given else int
    return _text(model, name, one) if given else str


def _text(model: type[models.Model], name: str, one: models.Field[Any, Any]) -> Any:
    if one.is_relation or name == "name":
        return Name if one.is_relation else NAMES.get(model, Name)
    if isinstance(one, models.GenericIPAddressField):
        return fields.Mask if one.protocol == "IPv4" else fields.Address if name == "address" else fields.AnyAddress
    return fields.text(one.max_length)


def _number(one: models.IntegerField[Any, Any]) -> Any:
    limits = {"ge": 0, "le": 2**63 - 1 if isinstance(one, models.PositiveBigIntegerField) else 2**31 - 1}
    for rule in one.validators:
        if isinstance(rule, MinValueValidator):
            limits["ge"] = max(limits["ge"], int(rule.limit_value))
        elif isinstance(rule, MaxValueValidator):
            limits["le"] = min(limits["le"], int(rule.limit_value))
    return Annotated[int, Field(ge=limits["ge"], le=limits["le"])]

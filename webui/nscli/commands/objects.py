"""add, set, unset, rm, rename, enable and disable of all objects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any, Final

from django.db import transaction

from webui.actions import eventtargets, installation, monitors, servers, servicegroups, services, vservers
from webui.actions.base import find, require
from webui.actions.renaming import rename
from webui.models import Monitor, Server, Service
from webui.nscli.commands import bindings
from webui.nscli.commands.naming import spellings
from webui.nscli.context import Context, Entry, Handler
from webui.nscli.errors import CliError
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.options import (
    MONITOR_TYPES,
    OWN,
    SERVICE_TYPES,
    TARGET_TYPES,
    YES_NO,
    more,
)
from webui.nscli.values import MODELS, defaults, given

ENTITY: Final = {
    "server": ("server",),
    "service": ("service",),
    "vserver": ("lb", "vserver"),
    "monitor": ("lb", "monitor"),
    "eventtarget": ("eventTarget",),
}
ACTIONS: Final[dict[str, ModuleType]] = {
    "server": servers,
    "service": services,
    "servicegroup": servicegroups,
    "vserver": vservers,
    "monitor": monitors,
    "eventtarget": eventtargets,
}
TYPE: Final = {"monitor": ("type", MONITOR_TYPES), "eventtarget": ("type", TARGET_TYPES)}
_TYPE_FIELD: Final = {"monitor": "monitor_type", "eventtarget": "target_type"}
ADDRESS: Final = Option("IPAddress", "address", about="Another address.")
GRACEFUL: Final = Option("graceFul", choices=YES_NO, about="YES: earlier, as soon as no flow is left.")


def entries() -> Iterator[Entry]:
    """All of them."""
    for kind in ENTITY:
        yield from _of(kind)
    ns_param = Command(
        ("set", "ns", "param"),
        (),
        OWN["installation"],
        partial(more, "installation"),
        configures=True,
        about="Settings that every director follows.",
    )
    yield Entry(ns_param, _set_param)
    yield Entry(
        Command(
            ("unset", "ns", "param"), (), OWN["installation"], unset=True, configures=True, about="Their defaults."
        ),
        _unset_param,
    )


def _of(kind: str) -> Iterator[Entry]:
    name = Argument("name", offers=kind)
    typed = _type_argument(kind)
    options = OWN[kind]
    settable = (*((ADDRESS,) if kind in {"server", "vserver"} else ()), *options)
    found = partial(more, kind)

    def make(verb: str, handler: Handler, *arguments: Argument, about: str, **more_values: Any) -> Iterator[Entry]:
        configures = verb not in {"show", "stat"}
        for words in spellings((verb, *ENTITY[kind])):
            yield Entry(Command(words, arguments, about=about, configures=configures, **more_values), handler)

    yield from make("add", add_of(kind), *_new(kind), options=options, more=found, about=f"Make a {kind}.")
    if kind == "vserver":  # -weight with a service sets the weight of a binding
        typed = (Argument("serviceName", required=False, offers="service"),)
        settable = (*settable, bindings.WEIGHT)
    yield from make("set", set_of(kind), name, *typed, options=settable, more=found, about=f"Change a {kind}.")
    typed = _type_argument(kind)
    yield from make(
        "unset", unset_of(kind), name, *typed, options=settable, more=found, unset=True, about="Defaults again."
    )
    several = Argument("name", many=True, offers=kind)
    if kind == "monitor":  # whose type follows the name
        yield from make("rm", _remove_monitor, name, *typed, options=(), more=found, about="Delete a monitor.")
    else:
        yield from make("rm", remove_of(kind), several, about=f"Delete a {kind}.")
    yield from make("rename", rename_of(kind), name, Argument("newName"), about="Another name.")
    if kind == "monitor":
        return
    yield from make("enable", _enable(kind), name, about="Into service.")
    if kind in {"server", "service"}:
        delay = Argument("delay", required=False)
        yield from make(
            "disable", _disable(kind), name, delay, options=(GRACEFUL,), about="Out of service, after a delay in s."
        )
    else:
        yield from make("disable", _disable_at_once(kind), name, about="Out of service.")


def _type_argument(kind: str) -> tuple[Argument, ...]:
    if kind not in TYPE:
        return ()
    name, choices = TYPE[kind]
    return (Argument(name, required=False, choices=choices),)


def _new(kind: str) -> tuple[Argument, ...]:
    service_type = Argument("serviceType", choices=SERVICE_TYPES)
    return {
        "server": (Argument("name"), Argument("IPAddress")),
        "service": (Argument("name"), Argument("serverName", offers="server"), service_type, Argument("port")),
        "vserver": (
            Argument("name"),
            service_type,
            Argument("IPAddress", required=False),
            Argument("port", required=False),
        ),
        "monitor": (Argument("name"), Argument("type", choices=MONITOR_TYPES)),
        "eventtarget": (Argument("name"), Argument("type", choices=TARGET_TYPES)),
    }[kind]


_FIELD: Final = {"IPAddress": "address", "serverName": "server", "serviceType": "service_type"}


def add_of(kind: str) -> Handler:
    """Code of ``add``."""

    def run(context: Context, parsed: Parsed) -> None:
        values, notes = given(kind, parsed)
        for argument in parsed.command.arguments:
            field = _TYPE_FIELD[kind] if argument.name == "type" else _FIELD.get(argument.name, argument.name)
            if parsed.all(argument.name):
                values[field] = parsed.one(argument.name)
        if kind == "vserver" and "address" not in values:
            raise CliError(
                "Required argument missing [IPAddress]; a virtual server without an address gets no packets, so there "
                "is nothing that it could do here"
            )
        ACTIONS[kind].create(context.actor, context.session.completed(kind, values))
        context.notes += notes

    return run


def set_of(kind: str) -> Handler:
    """Code of ``set``."""

    def run(context: Context, parsed: Parsed) -> None:
        if parsed.one("serviceName") or parsed.has("weight"):
            bindings.set_weight(context, parsed)
            return
        values, notes = given(kind, parsed)
        if parsed.has("ipaddress") and kind in {"server", "vserver"}:
            values["address"] = parsed.value("ipaddress")
        row = find(_model(kind), parsed.one("name"))
        _same_type(kind, row, parsed)
        if not values and not notes:
            raise CliError("Nothing to set: give an option with its value")
        if values:
            ACTIONS[kind].update(context.actor, row, values)
        context.notes += notes

    return run


def unset_of(kind: str) -> Handler:
    """Code of ``unset``."""

    def run(context: Context, parsed: Parsed) -> None:
        if not parsed.options:
            raise CliError("Nothing to unset: name an option")
        if parsed.has("ipaddress"):
            raise CliError("Argument [-IPAddress] has no default to go back to")
        row = find(_model(kind), parsed.one("name"))
        _same_type(kind, row, parsed)
        ACTIONS[kind].update(context.actor, row, defaults(kind, parsed.options))

    return run


def _same_type(kind: str, row: Any, parsed: Parsed) -> None:
    wanted = parsed.one("type").upper()
    if wanted and kind in TYPE and wanted != getattr(row, _TYPE_FIELD[kind]):
        raise CliError(
            f"No such resource: {kind} “{row.name}” is of type {getattr(row, _TYPE_FIELD[kind])}, not {wanted}"
        )


def remove_of(kind: str) -> Handler:
    """Code of ``rm``."""

    def run(context: Context, parsed: Parsed) -> None:
        rows = [find(_model(kind), name) for name in dict.fromkeys(name.lower() for name in parsed.all("name"))]
        require(context.actor, _model(kind), "delete", rows[0].name)  # before the transaction: it is written to stay
        with transaction.atomic():
            for row in rows:
                ACTIONS[kind].delete(context.actor, row)

    return run


def _remove_monitor(context: Context, parsed: Parsed) -> None:
    if parsed.options:
        raise CliError("rm lb monitor takes no options: use unset for single values")
    row = find(Monitor, parsed.one("name"))
    _same_type("monitor", row, parsed)
    monitors.delete(context.actor, row)


def rename_of(kind: str) -> Handler:
    """Code of ``rename``."""

    def run(context: Context, parsed: Parsed) -> None:
        rename(context.actor, find(_model(kind), parsed.one("name")), parsed.one("newName"))

    return run


def _enable(kind: str) -> Handler:
    def run(context: Context, parsed: Parsed) -> None:
        ACTIONS[kind].enable(context.actor, find(_model(kind), parsed.one("name")))

    return run


def _disable(kind: str) -> Handler:
    def run(context: Context, parsed: Parsed) -> None:
        row: Server | Service = find(_model(kind), parsed.one("name"))
        graceful = parsed.value("graceful", "NO")
        ACTIONS[kind].disable(context.actor, row, parsed.one("delay") or 0, graceful)

    return run


def _disable_at_once(kind: str) -> Handler:
    def run(context: Context, parsed: Parsed) -> None:
        ACTIONS[kind].disable(context.actor, find(_model(kind), parsed.one("name")))

    return run


def _set_param(context: Context, parsed: Parsed) -> None:
    values, _notes = given("installation", parsed)
    if not values:
        raise CliError("Nothing to set: give -ttlRule or -forwardingMode")
    installation.update(context.actor, values)


def _unset_param(context: Context, parsed: Parsed) -> None:
    if not parsed.options:
        raise CliError("Nothing to unset: name an option")
    installation.update(context.actor, defaults("installation", parsed.options))


def _model(kind: str) -> Any:
    return MODELS[kind]

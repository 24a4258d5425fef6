"""Service groups: all commands about them but ``bind lb vserver``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from webui.actions import servicegroups
from webui.actions.base import find
from webui.actions.renaming import rename
from webui.group_states import effective
from webui.models import Monitor, ServiceGroup
from webui.models.fields import port_text
from webui.nscli.commands import bindings
from webui.nscli.commands.objects import GRACEFUL, add_of, remove_of, set_of, unset_of
from webui.nscli.commands.shows import monitor_lines
from webui.nscli.commands.stats import OPTIONS, checked, counters, service_row
from webui.nscli.context import Context, Entry
from webui.nscli.errors import CliError
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.layout import indented, numbered, option_lines, stamp, table
from webui.nscli.options import OWN, SERVICE_TYPES, STATES, foreign, more
from webui.rows import endpoint
from webui.world import World, load_world

KIND: Final = "servicegroup"
WORD: Final = "serviceGroup"
_NAME: Final = Argument("name", offers=KIND)
_SERVER: Final = Argument("serverName", required=False, offers="server")
_PORT: Final = Argument("port", required=False)
_HASH_ID: Final = Option("hashId", "hash_id", about="Keeps the member's place in the hash when its address changes.")
_STATE: Final = Option("state", "state", choices=STATES, about="Of the member; else the group's.")
_NUMBERS: Final = (Option("CustomServerID"), Option("serverID"), Option("order"), Option("devno"))


def entries() -> Iterator[Entry]:
    """All of them."""
    found, options = partial(more, KIND), OWN[KIND]
    own = (bindings.WEIGHT, _STATE, _HASH_ID)
    monitor = (bindings.MONITOR_NAME, bindings.MON_STATE, bindings.PASSIVE)
    kind = Argument("serviceType", choices=SERVICE_TYPES)
    yield _entry("add", add_of(KIND), Argument("name"), kind, options=options, more=found, about="Make a group.")
    settable = (*options, bindings.WEIGHT, _HASH_ID)
    about = "Change a group, or of one member what it has of its own."
    yield _entry("set", _set, _NAME, _SERVER, _PORT, options=settable, more=found, about=about)
    yield _entry(
        "unset", unset_of(KIND), _NAME, options=options, more=found, unset=True, about="Defaults again, of the group."
    )
    yield _entry("rm", remove_of(KIND), Argument("name", many=True, offers=KIND), about="Delete it and its members.")
    yield _entry("rename", _rename, _NAME, Argument("newName"), about="Another name, also in its members' names.")
    about = "Make a member, or bind a monitor to all members."
    yield _entry("bind", _bind, _NAME, _SERVER, _PORT, options=(*monitor, *own, *_NUMBERS), about=about)
    about = "Delete a member, or unbind a monitor from all members."
    yield _entry("unbind", _unbind, _NAME, _SERVER, _PORT, options=(bindings.MONITOR_NAME,), about=about)
    yield _entry("enable", _enable, _NAME, _SERVER, _PORT, about="All members, or one, into service.")
    delay = Option("delay", about="Seconds until then.")
    about = "All members, or one, out of service."
    yield _entry("disable", _disable, _NAME, _SERVER, _PORT, options=(delay, GRACEFUL), about=about)
    name = Argument("name", required=False, offers=KIND)
    members = Option("includeMembers", most=0, least=0, about="Every group with its members.")
    yield Entry(Command(("show", WORD), (name,), (members,), about="Every group, or one in full."), _show)
    yield Entry(Command(("stat", WORD), (name,), OPTIONS, about="Figures of groups, or of one's members."), _stat)
    needed = (_NAME, Argument("serverName", offers="server"), Argument("port"))
    yield Entry(Command(("stat", "serviceGroupMember"), needed, OPTIONS, about="Figures of a member."), _stat_member)


def _entry(verb: str, handler: Any, *arguments: Argument, about: str, **given: Any) -> Entry:
    return Entry(Command((verb, WORD), arguments, configures=True, about=about, **given), handler)


def _group(parsed: Parsed) -> ServiceGroup:
    return find(ServiceGroup, parsed.one("name"))


def _place(parsed: Parsed) -> tuple[str, str]:
    return parsed.one("serverName"), parsed.one("port")


def _own(parsed: Parsed) -> dict[str, Any]:
    """What of a member's own was given."""
    options = (bindings.WEIGHT, _STATE, _HASH_ID)
    return {one.field: parsed.value(one.key) for one in options if parsed.has(one.key)}


def _set(context: Context, parsed: Parsed) -> None:
    server, port = _place(parsed)
    if not server:
        for key in ("weight", "hashid"):
            if parsed.has(key):
                raise CliError(f"Argument [-{key}] is each member's own: name its server and port before it")
        set_of(KIND)(context, parsed)
        return
    values = _own(parsed)
    others = [key for key in parsed.options if key not in {"weight", "state", "hashid"}]
    if others:
        raise CliError(f"Argument [-{others[0]}] is the group's, for all members alike: do not name one")
    if not values:
        raise CliError("Nothing to set: give -weight, -state or -hashId with its value")
    servicegroups.set_member(context.actor, _group(parsed), server, port, values)


def _rename(context: Context, parsed: Parsed) -> None:
    rename(context.actor, _group(parsed), parsed.one("newName"))


def _bind(context: Context, parsed: Parsed) -> None:
    group, (server, port) = _group(parsed), _place(parsed)
    if parsed.has("monitorname"):
        if server:
            raise CliError(f"Argument [{server}] is too much: a monitor is bound to all members alike")
        _bind_monitor(context, parsed, group)
        return
    if not server or not port:
        raise CliError(f"Required argument missing [{'port' if server else 'serverName'}]")
    if parsed.has("monstate") or parsed.has("passive"):
        raise CliError("Required argument missing [-monitorName]")
    notes = []
    for key in (one.key for one in _NUMBERS if parsed.has(one.key)):
        other = foreign(KIND, key)
        if other is None or not other.takes(parsed.options[key]):
            raise CliError(f"Argument [-{key}] is refused: it {other.why if other else 'is not known'}")
        notes += [] if other.passes is not None else [f"[-{other.name}] is ignored: it {other.why}"]
    values = _own(parsed)
    weight = values.pop("weight", 1)
    servicegroups.bind_member(context.actor, group, server, port, weight=weight, values=values)
    context.notes += notes


def _bind_monitor(context: Context, parsed: Parsed, group: ServiceGroup) -> None:
    if parsed.has("passive"):
        raise CliError("Argument [-passive] is refused: it belongs to LOAD monitors, which are not available")
    for key in ("state", "hashid"):
        if parsed.has(key):
            raise CliError(f"Argument [-{key}] is a member's; a monitor's binding has -weight and -monState")
    monitor, state = find(Monitor, parsed.value("monitorname")), parsed.value("monstate")
    weight = bindings.number(parsed.value("weight")) if parsed.has("weight") else None
    if (weight is not None or state) and group.monitor_bindings.filter(monitor=monitor).exists():
        servicegroups.set_monitor_binding(context.actor, group, monitor, weight=weight, state=state or None)
        return
    values: dict[str, Any] = {} if weight is None else {"weight": weight}
    servicegroups.bind_monitor(context.actor, group, monitor, **values, **({"state": state} if state else {}))


def _unbind(context: Context, parsed: Parsed) -> None:
    group, (server, port) = _group(parsed), _place(parsed)
    if parsed.has("monitorname"):
        if server:
            raise CliError(f"Argument [{server}] is too much: a monitor is unbound from all members alike")
        servicegroups.unbind_monitor(context.actor, group, parsed.value("monitorname"))
        return
    if not server:
        raise CliError("Required argument missing [serverName]")
    servicegroups.unbind_member(context.actor, group, server, port)


def _enable(context: Context, parsed: Parsed) -> None:
    server, port = _place(parsed)
    servicegroups.enable(context.actor, _group(parsed), server=server or None, port=port)


def _disable(context: Context, parsed: Parsed) -> None:
    server, port = _place(parsed)
    delay, graceful = parsed.value("delay", "0"), parsed.value("graceful", "NO")
    servicegroups.disable(context.actor, _group(parsed), delay, graceful, server=server or None, port=port)


def _chosen(parsed: Parsed) -> list[ServiceGroup]:
    return [_group(parsed)] if parsed.one("name") else list(ServiceGroup.objects.order_by("name"))


def _show(_context: Context, parsed: Parsed) -> Iterator[str]:
    world, full = load_world(), bool(parsed.one("name"))
    for index, row in enumerate(_chosen(parsed), start=1):
        lines = list(_of_group(world, row))
        yield from (lines if full else numbered(index, lines))
        if full:
            yield ""
            for number, bound in enumerate(row.monitor_bindings.select_related("monitor"), start=1):
                yield from indented(numbered(number, monitor_lines(bound)))
            yield ""
        if full or parsed.has("includemembers"):
            yield from _members(world, row)


def _of_group(world: World, row: ServiceGroup) -> Iterator[str]:
    yield f"{row.name} - {row.service_type}"
    yield from indented(
        [
            f"State: {row.state}\tEffective State: {effective(world, row)}\tMonitor Threshold : {row.mon_threshold}",
            *option_lines(row),
        ]
    )


def _members(world: World, row: ServiceGroup) -> Iterator[str]:
    for index, member in enumerate(row.members.order_by("service__name"), start=1):
        service = world.services[member.service_id]
        verdict = world.service_state(service)
        since = max((one.since for key, one in world.health.items() if key[0] == service.pk), default=None)
        yield from indented(
            numbered(
                index,
                [
                    f"{endpoint(service.server.address, service.port)}\tState: {verdict.state}\tServer Name: "
                    f"{service.server.name}\tServer ID: {service.hash_id or 'None'}\tWeight: {member.weight}",
                    *([f"\tLast state change was at {stamp(since)}"] if since else []),
                    f"\tService: {service.name}\tReason: {verdict.reason}",
                ],
            )
        )


def _stat(_context: Context, parsed: Parsed) -> Iterator[str]:
    checked(parsed)
    world = load_world()
    rows = _chosen(parsed)
    if not parsed.one("name"):
        yield "Service Group(s) Summary"
        yield from table(
            ["", "Type", "State", "Effective State", "Members"],
            [[row.name, row.service_type, row.state, effective(world, row), str(row.members.count())] for row in rows],
        )
        return
    (row,) = rows
    yield "Service Group Summary"
    yield from table(["", "Type", "State"], [[row.name, row.service_type, row.state]])
    yield ""
    yield "Service Group Member(s) Summary"
    yield from _figures(world, [member.service_id for member in row.members.order_by("service__name")])


def _figures(world: World, keys: list[int]) -> list[str]:
    headings = ["", "IP", "port", "Type", "State", "Throughput (Mbps)", "PktRx/s"]
    rows = [service_row(world, world.services[key], world.rates("services", key)) for key in keys]
    return table(headings, rows, right=frozenset(range(1, len(headings))))


def _stat_member(_context: Context, parsed: Parsed) -> Iterator[str]:
    checked(parsed)
    service = servicegroups.member_of(_group(parsed), *_place(parsed)).service
    world = load_world()
    yield f"Service Group Member Summary: {service.server.name} port {port_text(service.port)}"
    yield from _figures(world, [service.pk])
    yield ""
    yield "Service Group Member Statistics"
    yield from counters(world, "services", service.pk, world.rates("services", service.pk))

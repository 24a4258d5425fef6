"""show: objects as NetScaler prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from monitors.registry import KINDS as MONITOR_KINDS
from webui.actions.base import find
from webui.choices import AdminState, LbMethod, State
from webui.events.kinds import KINDS as TARGET_KINDS
from webui.events.webhook import without_query
from webui.models import EventTarget, HealthState, Installation, Monitor, Server, Service, VServer
from webui.models.fields import port_text
from webui.models.monitor import TIMES
from webui.nscli.commands.naming import spellings
from webui.nscli.context import Context, Entry
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.layout import elapsed, indented, numbered, option_lines, stamp
from webui.nscli.options import OWN
from webui.rows import endpoint
from webui.world import World, load_world

_PLAIN_METHOD: Final = dict(LbMethod.choices)
_FLAGS: Final = (Option("all", most=0, least=0), Option("internal", most=0, least=0))


def entries() -> Iterator[Entry]:
    """All of them."""
    for words, offers, handler in (
        (("show", "server"), "server", _servers),
        (("show", "service"), "service", _services),
        (("show", "lb", "vserver"), "vserver", _vservers),
        (("show", "eventTarget"), "eventtarget", _targets),
    ):
        name = Argument("name", required=False, offers=offers)
        for spelling in spellings(words):
            yield Entry(Command(spelling, (name,), _FLAGS, about=f"Every {offers}, or one in full."), handler)
    name = Argument("name", required=False, offers="monitor")
    for spelling in spellings(("show", "lb", "monitor")):
        about = "Every monitor, or one in full."
        yield Entry(Command(spelling, (name, Argument("type", required=False)), about=about), _monitors)
    for spelling in spellings(("show", "lb", "monbindings")):
        needed = Argument("monitorName", offers="monitor")
        yield Entry(Command(spelling, (needed,), about="Services that a monitor is bound to."), _monbindings)
    needed = Argument("serviceName", offers="service")
    yield Entry(Command(("show", "svcbindings"), (needed,), about="Virtual servers of a service."), _svcbindings)
    for spelling in spellings(("show", "ns", "param")):
        yield Entry(Command(spelling, about="Settings that every director follows."), _param)


def monitor_lines(bound: Any) -> list[str]:
    """The binding of a monitor to a group, whose members tell their states themselves."""
    return [
        f"Monitor Name: {bound.monitor.name}",
        f"\tState: {bound.state}\tWeight: {bound.weight}\tPassive: 0",
    ]


def _listed(items: Iterable[list[str]]) -> Iterator[str]:
    for index, lines in enumerate(items, start=1):
        yield from numbered(index, lines)


def _one_or_all(rows: dict[int, Any], model: Any, name: str) -> list[Any]:
    if name:
        return [rows[find(model, name).pk]]
    return sorted(rows.values(), key=lambda row: row.name.lower())


def _servers(_context: Context, parsed: Parsed) -> Iterator[str]:
    world = load_world()
    name = parsed.one("name")
    for index, row in enumerate(_one_or_all(world.servers, Server, name), start=1):
        head = [f"Name:    {row.name}\tState:{row.state}", f"IPAddress:    {row.address}"]
        if row.comment:
            head.append(f"Comment: {row.comment}")
        if not name:
            yield from numbered(index, [head[0], *indented(head[1:])])
            continue
        yield from head
        services = sorted(world.services_of[row.pk], key=lambda one: one.name.lower())
        yield from _listed(
            [
                f"{one.name} ({endpoint(row.address, one.port)}) - {one.service_type}",
                f"\tState: {world.service_state(one).state}",
            ]
            for one in services
        )


def _services(_context: Context, parsed: Parsed) -> Iterator[str]:
    world = load_world()
    name = parsed.one("name")
    for index, row in enumerate(_one_or_all(world.services, Service, name), start=1):
        lines = list(_service(world, row, full=bool(name)))
        yield from (lines if name else numbered(index, lines))


def _service(world: World, row: Service, *, full: bool) -> Iterator[str]:
    verdict = world.service_state(row)
    yield f"{row.name} ({endpoint(row.server.address, row.port)}) - {row.service_type}"
    yield from indented(
        [
            f"State: {verdict.state}",
            *_since(_last_change(world, row), world.now),
            f"Server Name: {row.server.name}",
            f"Server ID : {row.hash_id or 'None'}\tMonitor Threshold : {row.mon_threshold}",
            *option_lines(row),
            f"Reason: {verdict.reason}",
        ]
    )
    if not full:
        return
    yield ""
    for index, (vip, bound) in enumerate(
        [(vip, bound) for vip in world.vips(row) or [""] for bound in world.monitors_of[row.pk]], start=1
    ):
        yield from numbered(index, _monitor_of(world, row, vip, bound))


def _monitor_of(world: World, service: Service, vip: str, bound: Any) -> list[str]:
    health = world.health.get((service.pk, vip, bound.monitor_id))
    lines = [
        f"Monitor Name: {bound.monitor.name}" + (f"\tVIP: {vip}" if vip else ""),
        f"\tState: {health.state if health else State.UNKNOWN}\tWeight: {bound.weight}\tPassive: 0",
    ]
    if bound.state != AdminState.ENABLED:
        lines.append("\tMonitor state: DISABLED")
    if health is not None:
        current = len(health.recent) - len(health.recent.rstrip("Ff"))
        lines += [
            f"\tProbes: {health.probes}\tFailed [Total: {health.failures} Current: {current}]",
            f"\tLast response: {health.response or 'Probe not sent yet.'}",
            f"\tResponse Time: {(health.response_time or 0) * 1000:.1f} millisec",
        ]
    return lines


def _last_change(world: World, row: Service) -> datetime | None:
    found = [health.since for (service, _vip, _monitor), health in world.health.items() if service == row.pk]
    return max(found, default=None)


def _since(at: datetime | None, now: datetime) -> list[str]:
    if at is None:
        return []
    return [f"Last state change was at {stamp(at)}", f"Time since last state change: {elapsed(at, now)}"]


def _yes(value: bool) -> str:
    return "YES" if value else "NO"


def _vservers(_context: Context, parsed: Parsed) -> Iterator[str]:
    world = load_world()
    name = parsed.one("name")
    for index, row in enumerate(_one_or_all(world.vservers, VServer, name), start=1):
        lines = list(_vserver(world, row))
        yield from (lines if name else numbered(index, lines))
        if name:
            yield ""
            yield from _bound_services(world, row)


def _vserver(world: World, row: VServer) -> Iterator[str]:
    verdict, backup = world.vserver_state(row), world.backup_taking(row)
    bindings = world.bindings_of_vserver[row.pk]
    up = sum(world.verdict(one.service, row).state == State.UP for one in bindings)
    changes = [at for one in bindings if (at := _last_change(world, one.service)) is not None]
    persistence = str(row.persistence_type)
    if persistence != "NONE":
        persistence += f"\tPersistence Mask: {row.persist_mask}\tPersistence Timeout: {row.timeout} min"
    yield f"{row.name} ({endpoint(row.address, row.port, row.port_end)}) - {row.service_type}\tType: ADDRESS"
    yield from indented(
        [
            f"State: {verdict.state}",
            *_since(max(changes, default=None), world.now),
            f"Effective State: {State.UP if backup else verdict.state}",
            f"Client Idle Timeout: {row.clt_timeout or (9000 if row.service_type == 'TCP' else 120)} sec",
            f"Down state flush: {row.down_state_flush}",
            "Disable Primary Vserver On Down : DISABLED",
            *([f"Comment: {row.comment}"] if row.comment else []),
            "Appflow logging: DISABLED",
            f"No. of Bound Services :  {len(bindings)} (Total) \t {up} (Active)",
            f"Configured Method: {row.lb_method}\tBackupMethod: NONE",
            f"Current Method: {_PLAIN_METHOD[row.lb_method]}",
            f"Mode: {row.mode}",
            f"Sessionless LB: {row.sessionless}",
            f"Persistence: {persistence}",
            f"Connection Failover: {row.conn_failover}",
            "L2Conn: OFF",
            "Skip Persistency: None",
            "Listen Policy: NONE",
            f"IcmpResponse: {row.ping}",
            "RHIstate: PASSIVE",
            "New Service Startup Request Rate: 0 PER_SECOND, Increment Interval: 0",
            "Mac mode Retain Vlan: DISABLED",
            "Process Local: DISABLED",
            "Traffic Domain: 0",
            "TROFS Persistence honored: ENABLED",
            *([f"Backup: {row.backup_vserver.name}"] if row.backup_vserver else []),
            *_own_of_vserver(row),
            f"Reason: {verdict.reason}",
        ]
    )


def _own_of_vserver(row: VServer) -> Iterator[str]:
    """Lines for what NetScaler has not, where it was set."""
    if row.syn_rate:
        yield f"SYN limit: {row.syn_rate} per second, burst {row.syn_burst or row.syn_rate}"
    if row.source_syn_rate:
        burst = row.source_syn_burst or row.source_syn_rate
        yield f"SYN limit of a source: {row.source_syn_rate} per second, burst {burst}"
    if row.fail_open:
        yield f"Fail-open threshold: {row.fail_open}%"
    yield f"When down: {row.when_down}"


def _bound_services(world: World, row: VServer) -> Iterator[str]:
    bindings = sorted(world.bindings_of_vserver[row.pk], key=lambda one: one.service.name.lower())
    for index, one in enumerate(bindings, start=1):
        service, verdict = one.service, world.verdict(one.service, row)
        yield (
            f"{index}) {service.name} ({service.server.address}: {port_text(service.port)}) - {service.service_type} "
            f"State: {verdict.state}\tWeight: {one.weight}"
        )


def _monitors(_context: Context, parsed: Parsed) -> Iterator[str]:
    name = parsed.one("name")
    rows = [find(Monitor, name)] if name else list(Monitor.objects.order_by("name"))
    wanted = parsed.one("type").upper()
    for index, row in enumerate((row for row in rows if not wanted or row.monitor_type == wanted), start=1):
        lines = list(_monitor(row, full=bool(name)))
        yield from (lines if name else numbered(index, lines))


def _monitor(row: Monitor, *, full: bool) -> Iterator[str]:
    yield f"Name.......:{row.name:>12}  Type......:{row.monitor_type:>10}  State....:{row.state:>9}"
    if not full:
        return
    yield "Standard parameters:"
    times = {one: f"{getattr(row, one)} {getattr(row, f'{one}_unit').lower()}" for one in TIMES}
    pairs = [
        ("Interval", times["interval"]),
        ("Retries", row.retries),
        ("Response timeout", times["resp_timeout"]),
        ("Retry interval", times["retry_interval"]),
        ("Down time", times["down_time"]),
        ("Reverse", _yes(row.reverse)),
        ("Transparent", _yes(row.transparent)),
        ("Secure", _yes(row.secure)),
        ("LRTM", "ENABLED" if row.lrtm else "DISABLED"),
        ("Deviation", times["deviation"]),
        ("Destination IP", row.dest_ip or "Bound service"),
        ("Destination port", row.dest_port or "Bound service"),
        ("Success retries", row.success_retries),
        ("Failure retries", row.failure_retries),
        ("Alert retries", row.alert_retries),
        ("Response timeout threshold", f"{row.resp_timeout_thresh}%"),
    ]
    yield from (f"  {label:.<26}:{value!s:>16}" for label, value in pairs)
    kind = MONITOR_KINDS.get(row.monitor_type)
    if kind is not None and kind.parameters:
        yield "Special parameters:"
        yield from _parameters(row, kind)


def _parameters(row: Monitor | EventTarget, kind: Any) -> Iterator[str]:
    for one in kind.parameters:
        value = row.params.get(one.name, one.default)
        if one.secret:
            value = "********" if one.name in row.secret_names else ""
        if one.name == "url":
            value = without_query(str(value))
        text = _yes(value) if isinstance(value, bool) else " ".join(str(value).split())
        yield f"  {one.option:.<26}:{text}"


def _monbindings(_context: Context, parsed: Parsed) -> Iterator[str]:
    monitor = find(Monitor, parsed.one("monitorName"))
    yield from _monitor(monitor, full=False)
    bindings = monitor.service_bindings.select_related("service__server").order_by("service__name")
    states: dict[int, str] = dict(
        HealthState.objects.filter(monitor=monitor).order_by("pk").values_list("service", "state")
    )
    for index, one in enumerate(bindings, start=1):
        service = one.service
        yield from numbered(
            index,
            [
                f"Service: {service.name} ({endpoint(service.server.address, service.port)}) - {service.service_type}",
                f"\tMonitor state: {one.state}\tState: {states.get(service.pk, State.UNKNOWN)}\tWeight: {one.weight}",
            ],
        )


def _svcbindings(_context: Context, parsed: Parsed) -> Iterator[str]:
    service = find(Service, parsed.one("serviceName"))
    bindings = service.vserver_bindings.select_related("vserver").order_by("vserver__name")
    yield f"{service.name} ({endpoint(service.server.address, service.port)}) - {service.service_type}"
    for index, one in enumerate(bindings, start=1):
        row = one.vserver
        yield from numbered(
            index,
            [
                f"{row.name} ({endpoint(row.address, row.port, row.port_end)}) - {row.service_type}",
                f"\tState: {row.state}\tWeight: {one.weight}",
            ],
        )


def _targets(_context: Context, parsed: Parsed) -> Iterator[str]:
    name = parsed.one("name")
    rows = [find(EventTarget, name)] if name else list(EventTarget.objects.order_by("name"))
    for index, row in enumerate(rows, start=1):
        lines = [f"Name: {row.name}\tType: {row.target_type}\tState: {row.state}"]
        if name:
            lines += [f"  {one.name:.<26}:{_shown(getattr(row, one.field))}" for one in OWN["eventtarget"]]
            lines += _parameters(row, TARGET_KINDS[row.target_type])
        yield from (lines if name else numbered(index, lines))


def _shown(value: Any) -> str:
    return _yes(value) if isinstance(value, bool) else str(value)


def _param(_context: Context, _parsed: Parsed) -> Iterator[str]:
    row = Installation.objects.get(pk=1)
    yield f"TTL rule: {'ENABLED' if row.ttl_rule else 'DISABLED'}"
    yield f"Forwarding mode: {row.forwarding_mode}"

"""Reads for the detail and confirmation pages: state, facts, tables of what belongs to it. Constant query counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.urls import reverse

from events.kinds import KINDS as TARGETS
from monitors.kind import Secure
from monitors.registry import KINDS
from webui.advice import vserver_warnings
from webui.choices import AdminState, State
from webui.effective import is_leaving
from webui.event_rows import target_row
from webui.models import (
    EventDelivery,
    EventTarget,
    Monitor,
    ProbeTarget,
    Server,
    Service,
    ServiceMonitorBinding,
    VServer,
)
from webui.models.fields import port_text
from webui.models.monitor import TIMES
from webui.queries import change_rows, transition_rows
from webui.rows import STALE, drop_rows, endpoint, iso, monitor_row, server_row, service_row, url_of, vserver_row
from webui.stale import is_overdue
from webui.tables import COLUMNS, DROPPED, LEAVES_AT, Action, Column, Table
from webui.world import World, load_world

BY_HAND_WITH_TLS = "openssl s_client -connect {endpoint}"
HIDDEN_FACTS = frozenset(
    {"id", "name", "state", "version", "built_in", "params", "secrets", "out_of_service_at", "graceful", "port_end"}
    | {f"{name}_unit" for name in TIMES}
)


@dataclass(frozen=True)
class Detail:
    """One object's page. ``row`` is the object as lists show it; ``facts`` are (label, value)."""

    row: dict[str, Any]
    summary: tuple[Column, ...]
    facts: list[tuple[str, str]]
    tables: list[Table]
    disabled: bool
    leaving: bool = False
    history: Table | None = None
    built_in: bool = False
    buttons: list[Action] = field(default_factory=list)
    links: list[Action] = field(default_factory=list)
    refresh: bool = False  # whether the summary is asked for again, as the snapshot does not hold it
    warnings: list[str] = field(default_factory=list)


def detail(kind: str, pk: int) -> Detail:
    """Everything about one object; fourteen queries at most. Raises ObjectDoesNotExist."""
    world = load_world()
    found = BUILD[kind](world, pk)
    changes = Table(
        "changes", "Latest changes", COLUMNS["changes"], change_rows(kind[:-1], pk), "No change is recorded."
    )
    return replace(found, history=changes)


def _get(rows: dict[int, Any], pk: int) -> Any:
    if pk not in rows:
        raise ObjectDoesNotExist(f"No object {pk}.")
    return rows[pk]


def _facts(obj: Server | Service | VServer | Monitor | EventTarget) -> list[tuple[str, str]]:
    """The configured fields that are not in the heading, in words."""
    facts = []
    fields = [one for one in obj._meta.concrete_fields if one.name not in HIDDEN_FACTS]
    for one in sorted(fields, key=lambda one: one.name.endswith("_at")):
        value = getattr(obj, one.name)
        if one.name in {"created_at", "updated_at"}:
            value = f"{value:%Y-%m-%d %H:%M:%S} UTC"
        elif one.name == "port":
            value = port_text(value, getattr(obj, "port_end", 0))
        elif one.name == "dest_port":
            value = port_text(value) if value else "the service's"
        elif isinstance(obj, Monitor) and one.name in TIMES:
            value = obj.time_text(one.name)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif one.name == "monitor_type" and value in KINDS:
            value = KINDS[value].label
        elif one.name == "target_type" and value in TARGETS:
            value = TARGETS[value].label
        elif one.choices:
            value = dict(one.flatchoices).get(value, value)
        facts.append(
            (one.verbose_name[:1].upper() + one.verbose_name[1:], str(value) if value not in (None, "") else "–")
        )
    return facts


def _parameter_facts(row: Monitor | EventTarget) -> list[tuple[str, str]]:
    """The parameters of its kind; of a secret, only whether it is set."""
    if row.kind is None:
        return []
    facts = [("Passes when", row.kind.success)] if isinstance(row, Monitor) else []
    for one in row.kind.parameters:
        value = row.params.get(one.name, one.default)
        if one.secret:
            unset = f"not set: {one.default}" if one.default else "not set"
            value = "••• set" if one.name in row.secret_names else unset
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        facts.append((one.label, "–" if value == "" else str(value)))
    return facts


def _server(world: World, pk: int) -> Detail:
    server: Server = _get(world.servers, pk)
    row = server_row(world, server)
    services = [service_row(world, one) for one in world.services_of[pk]]
    targets = [
        {"vip": target.vip, "address": target.address, "command": f"ping -c 3 {target.address}"}
        for target in ProbeTarget.objects.filter(server_id=pk)
    ]
    addresses = (
        Column("vip", "VIP", "code"),
        Column("address", "Probe address", "code"),
        Column("command", "On the director", "code"),
    )
    return Detail(
        row=dict(row),
        summary=COLUMNS["servers"][1:],
        facts=_facts(server),
        disabled=server.state == AdminState.DISABLED,
        leaving=is_leaving(server, world.now),
        tables=[
            Table("services", "Services", COLUMNS["services"], services, "No service yet.", "services", "patch"),
            Table("targets", "Probe addresses", addresses, targets, "No VIP is checked on this server."),
        ],
        warnings=[f"No path: {row['path']}"] if row["eligible"] == "NO" else [],
    )


def _service(world: World, pk: int) -> Detail:
    service: Service = _get(world.services, pk)
    row = service_row(world, service)
    checks = [_health_row(world, binding, vip) for vip in world.vips(service) for binding in world.monitors_of[pk]]
    bound = []
    for binding in world.bindings_of_service[pk]:
        verdict = world.verdict(service, binding.vserver)
        shown = {"state": verdict.state, "state_reason": verdict.reason, "weight": binding.weight}
        bound.append(dict(vserver_row(world, binding.vserver)) | shown)
    leaving = row["state"] in {State.GOING_OUT, State.DOWN_GOING_OUT}
    return Detail(
        row=dict(row),
        summary=(*COLUMNS["services"][1:], *([LEAVES_AT] if leaving else [])),
        facts=_facts(service),
        disabled=service.state == AdminState.DISABLED,
        leaving=is_leaving(service, world.now),
        tables=[
            Table("health", "Health checks", _columns("health", drop="service"), checks, _no_checks(bound)),
            _monitors_table(world, service),
            Table("vservers", "Virtual servers", COLUMNS["service_vservers"], bound, "Bound to no virtual server."),
            Table(
                "transitions",
                "Changes of state",
                _columns("transitions", drop="service"),
                transition_rows(service),
                "Its state has not changed yet.",
            ),
        ],
        warnings=[f"No path to {service.server.name}: {row['path']}"] if row["path"] else [],
    )


def _no_checks(bound: list[Any]) -> str:
    if not bound:
        return "Nothing to check: the service is bound to no virtual server."
    return "Nothing to check: no monitor is bound."


def _columns(name: str, *, drop: str) -> tuple[Column, ...]:
    return tuple(column for column in COLUMNS[name] if column.name != drop)


def _monitors_table(world: World, service: Service) -> Table:
    rows = []
    for binding in world.monitors_of[service.pk]:
        unbind = reverse("unbind-monitor", args=[service.pk, binding.monitor_id])
        rows.append(
            dict(monitor_row(world, binding.monitor))
            | {
                "state": binding.state if binding.monitor.state == AdminState.ENABLED else binding.monitor.state,
                "state_reason": "the monitor is disabled" if binding.monitor.state == AdminState.DISABLED else "",
                "weight": binding.weight,
                "actions": [Action("Unbind", unbind, f"monitor {binding.monitor.name}")],
            }
        )
    return Table(
        "monitors",
        "Monitors",
        COLUMNS["service_monitors"],
        rows,
        "No monitor is bound: it counts as UP.",
        with_actions=True,
    )


def _health_row(world: World, binding: ServiceMonitorBinding, vip: str) -> dict[str, Any]:
    service = binding.service
    health = world.health.get((service.pk, vip, binding.monitor_id))
    checked_at = world.checked.get(health.pk) if health else None
    overdue = health is not None and is_overdue(binding, health, checked_at, world.now)
    row: dict[str, Any] = {
        "vip": vip,
        "monitor": binding.monitor.name,
        "monitor_url": url_of("monitors", binding.monitor_id),
        "service": service.name,
        "service_url": url_of("services", service.pk),
        "state": health.state if health else State.UNKNOWN,
        "response": (health.response if health else "") or "not checked yet",
        "since": iso(health.since) if health else None,
        "checked_at": iso(checked_at),
        "freshness": STALE if overdue else "CURRENT" if checked_at else "",
        "recent": health.recent[-16:] if health else "",
        "command": probe_command(binding, health.target.address) if health else "",
        "probe": "Probe now" if health else "",
        "probe_url": probe_url(binding.monitor_id, service.pk, health.target_id) if health else "",
    }
    if health and health.response_time is not None:
        row["response"] += f" ({health.response_time * 1000:.1f} ms)"
    return row


def probe_url(monitor: int, service: int, target: int) -> str:
    """The page that tries a monitor on a service at a VIP."""
    return f"{reverse('probe', args=[monitor])}?choice={service}-{target}"


def probe_command(binding: ServiceMonitorBinding, address: str) -> str:
    """A command for the director's shell that does what the monitor does: reach the VIP on this very server."""
    monitor, service = binding.monitor, binding.service
    kind = monitor.kind or KINDS["PING"]
    port = kind.port(
        wanted=monitor.dest_port,
        service_port=service.port,
        service_type=service.service_type,
        secure=monitor.secure,
    )
    if not port:
        kind = KINDS["PING"]
    wanted = BY_HAND_WITH_TLS if monitor.secure and kind.secure is Secure.OPTIONAL else kind.command
    return wanted.format(address=address, endpoint=endpoint(address, port))


def _vserver(world: World, pk: int) -> Detail:
    vserver: VServer = _get(world.vservers, pk)
    if vserver.backup_vserver_id:
        vserver.backup_vserver = world.vservers.get(vserver.backup_vserver_id)
    rows = []
    for binding in world.bindings_of_vserver[pk]:
        verdict = world.verdict(binding.service, vserver)
        urls = {name: reverse(name, args=[pk, binding.service_id]) for name in ("set-weight", "unbind-service")}
        rows.append(
            dict(service_row(world, binding.service))
            | {
                "state": verdict.state,
                "state_reason": verdict.reason,
                "weight": binding.weight,
                "actions": [
                    Action("Set weight", urls["set-weight"], binding.service.name, "weight", binding.weight),
                    Action("Unbind", urls["unbind-service"], f"service {binding.service.name}"),
                ],
            }
        )
    unchecked = [
        binding.service.name
        for binding in world.bindings_of_vserver[pk]
        if not binding.service.health_monitor or not world.monitors_of[binding.service_id]
    ]
    checks = [
        _health_row(world, checked, vserver.address)
        for binding in world.bindings_of_vserver[pk]
        for checked in world.monitors_of[binding.service_id]
    ]
    return Detail(
        row=dict(vserver_row(world, vserver)),
        summary=(*COLUMNS["vservers"][1:], *DROPPED),
        facts=_facts(vserver),
        disabled=vserver.state == AdminState.DISABLED,
        tables=[
            Table(
                "services",
                "Services",
                COLUMNS["vserver_services"],
                rows,
                "No service is bound: clients get no answer.",
                with_actions=True,
            ),
            Table("health", "Health checks", _columns("health", drop="vip"), checks, "Nothing is checked at this VIP."),
            Table("drops", "Dropped packets", COLUMNS["vserver_drops"], drop_rows(world, vserver), "None was dropped."),
        ],
        warnings=vserver_warnings(vserver, unchecked),
        links=[Action("Preview a monitor …", reverse("preview-vserver", args=[pk]), vserver.name)],
    )


def _monitor(world: World, pk: int) -> Detail:
    monitor: Monitor = _get(world.monitors, pk)
    services = [
        service_row(world, binding.service)
        for bindings in world.monitors_of.values()
        for binding in bindings
        if binding.monitor_id == pk
    ]
    checks = [
        _health_row(world, binding, vip)
        for service_pk, bindings in world.monitors_of.items()
        for binding in bindings
        if binding.monitor_id == pk
        for vip in world.vips(world.services[service_pk])
    ]
    return Detail(
        row=dict(monitor_row(world, monitor)),
        summary=COLUMNS["monitors"][1:],
        facts=_facts(monitor) + _parameter_facts(monitor),
        disabled=monitor.state == AdminState.DISABLED,
        built_in=monitor.built_in,
        tables=[
            Table("health", "Health checks", _columns("health", drop="monitor"), checks, "It checks nothing."),
            Table("services", "Services", COLUMNS["services"], services, "Bound to no service.", "services", "patch"),
        ],
    )


def _event_target(world: World, pk: int) -> Detail:
    target = EventTarget.objects.filter(pk=pk).first()
    if target is None:
        raise ObjectDoesNotExist(f"No object {pk}.")
    delivery = EventDelivery.objects.filter(target=target).first() or EventDelivery(target=target)
    more = (
        Column("last_error", "Last error"),
        Column("last_error_at", "Last error at", "time"),
        Column("test", "Test event"),
    )
    return Detail(
        row=dict(target_row(target, delivery, world.now)),
        summary=(*COLUMNS["eventtargets"][1:], *more),
        facts=_facts(target) + _parameter_facts(target),
        disabled=target.state == AdminState.DISABLED,
        tables=[],
        buttons=[Action("Send a test event", reverse("send-test", args=[pk]), target.name)],
        refresh=True,
    )


BUILD: dict[str, Callable[[World, int], Detail]] = {
    "servers": _server,
    "services": _service,
    "vservers": _vserver,
    "monitors": _monitor,
    "eventtargets": _event_target,
}

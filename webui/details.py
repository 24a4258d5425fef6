"""Reads for two tabs of the detail pages: overview (state, facts, checks) and bindings. Constant query counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.urls import reverse

from webui.actions import membership
from webui.advice import vserver_warnings
from webui.check_rows import health_row
from webui.choices import AdminState, State
from webui.detail import Detail
from webui.effective import is_leaving
from webui.event_rows import target_row
from webui.facts import facts_of, parameter_facts
from webui.group_details import group_bindings, group_overview, groups_table
from webui.groups import Groups, load_groups
from webui.models import (
    EventDelivery,
    EventTarget,
    Monitor,
    ProbeTarget,
    Server,
    Service,
    VServer,
    VServerServiceBinding,
    VServerServiceGroupBinding,
)
from webui.rows import drop_rows, monitor_row, server_row, service_row, vserver_row
from webui.tables import COLUMNS, DROPPED, LEAVES_AT, Action, Column, Link, Table
from webui.world import World, load_world, row_of


def detail(kind: str, pk: int) -> Detail:
    """The overview of one object; thirteen queries at most. Raises ObjectDoesNotExist."""
    return OVERVIEW[kind](load_world(), pk)


def bindings(kind: str, pk: int) -> Detail:
    """What the object is bound to, in as many queries. Raises ObjectDoesNotExist, KeyError for a kind without."""
    return BINDINGS[kind](load_world(), pk)


def _server(world: World, pk: int) -> Detail:
    server: Server = row_of(world.servers, pk)
    targets = [
        {"vip": target.vip, "address": target.address, "command": f"ping -c 3 {target.address}"}
        for target in ProbeTarget.objects.filter(server_id=pk)
    ]
    addresses = (
        Column("vip", "VIP", "code"),
        Column("address", "Probe address", "code"),
        Column("command", "On the director", "code"),
    )
    table = Table("targets", "Probe addresses", addresses, targets, "No VIP is checked on this server.")
    return replace(_server_head(world, server), facts=facts_of(server), tables=[table])


def _server_head(world: World, server: Server) -> Detail:
    row = server_row(world, server)
    return Detail(
        row=dict(row),
        summary=COLUMNS["servers"][1:],
        disabled=server.state == AdminState.DISABLED,
        leaving=is_leaving(server, world.now),
        warnings=[f"No path: {row['path']}"] if row["eligible"] == "NO" else [],
    )


def _server_bindings(world: World, pk: int) -> Detail:
    server: Server = row_of(world.servers, pk)
    services = [service_row(world, one) for one in world.services_of[pk]]
    table = Table("services", "Services", COLUMNS["services"], services, "No service yet.", "services", "patch")
    return replace(_server_head(world, server), tables=[table])


def _service(world: World, pk: int) -> Detail:
    service: Service = row_of(world.services, pk)
    checks = [health_row(world, binding, vip) for vip in world.vips(service) for binding in world.monitors_of[pk]]
    nothing = _no_checks(bound=bool(world.bindings_of_service[pk]))
    table = Table("health", "Health checks", _columns("health", drop="service"), checks, nothing)
    return replace(_service_head(world, service), facts=facts_of(service), tables=[table])


def _service_head(world: World, service: Service) -> Detail:
    row = service_row(world, service)
    leaving = row["state"] in {State.GOING_OUT, State.DOWN_GOING_OUT}
    return Detail(
        row=dict(row),
        summary=(*COLUMNS["services"][1:], *([LEAVES_AT] if leaving else [])),
        disabled=service.state == AdminState.DISABLED,
        leaving=is_leaving(service, world.now),
        warnings=[f"No path to {service.server.name}: {row['path']}"] if row["path"] else [],
        owner=_owner(service),
    )


def _owner(service: Service) -> Link | None:
    """The group that a service is a member of; one query."""
    group = membership.group_of(service)
    return None if group is None else Link(group.name, reverse("bindings", args=["servicegroups", group.pk]))


def _service_bindings(world: World, pk: int) -> Detail:
    service: Service = row_of(world.services, pk)
    bound = []
    for binding in world.bindings_of_service[pk]:
        verdict = world.verdict(service, binding.vserver)
        shown = {"state": verdict.state, "state_reason": verdict.reason, "weight": binding.weight}
        bound.append(dict(vserver_row(world, binding.vserver)) | shown)
    tables = [
        _monitors_table(world, service),
        Table("vservers", "Virtual servers", COLUMNS["service_vservers"], bound, "Bound to no virtual server."),
    ]
    return replace(_service_head(world, service), tables=tables)


def _no_checks(*, bound: bool) -> str:
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
                "actions": [Action("Unbind …", unbind, f"monitor {binding.monitor.name}", asks=True)],
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


def _vserver(world: World, pk: int) -> Detail:
    vserver: VServer = row_of(world.vservers, pk)
    if vserver.backup_vserver_id:
        vserver.backup_vserver = world.vservers.get(vserver.backup_vserver_id)
    checks = [
        health_row(world, checked, vserver.address)
        for binding in world.bindings_of_vserver[pk]
        for checked in world.monitors_of[binding.service_id]
    ]
    tables = [
        Table("health", "Health checks", _columns("health", drop="vip"), checks, "Nothing is checked at this VIP."),
        Table("drops", "Dropped packets", COLUMNS["vserver_drops"], drop_rows(world, vserver), "None was dropped."),
    ]
    return replace(_vserver_head(world, vserver), facts=facts_of(vserver), tables=tables)


def _vserver_head(world: World, vserver: VServer) -> Detail:
    unchecked = [
        binding.service.name
        for binding in world.bindings_of_vserver[vserver.pk]
        if not binding.service.health_monitor or not world.monitors_of[binding.service_id]
    ]
    return Detail(
        row=dict(vserver_row(world, vserver)),
        summary=(*COLUMNS["vservers"][1:], *DROPPED),
        disabled=vserver.state == AdminState.DISABLED,
        warnings=vserver_warnings(vserver, unchecked),
        links=[
            Action("Weights …", reverse("weights", args=[vserver.pk]), vserver.name),
            Action("Preview a monitor …", reverse("preview-vserver", args=[vserver.pk]), vserver.name),
        ],
    )


def _vserver_bindings(world: World, pk: int) -> Detail:
    vserver: VServer = row_of(world.vservers, pk)
    groups = load_groups(VServerServiceGroupBinding.objects.order_by().filter(vserver=pk).values("group"))
    rows = []
    for binding in world.bindings_of_vserver[pk]:
        verdict = world.verdict(binding.service, vserver)
        rows.append(
            dict(service_row(world, binding.service))
            | {"state": verdict.state, "state_reason": verdict.reason, "weight": binding.weight}
            | _bound_by(groups, binding)
        )
    nothing = "No service is bound: clients get no answer."
    columns = COLUMNS["vserver_services"] if groups.groups else _columns("vserver_services", drop="group")
    table = Table("services", "Services", columns, rows, nothing, with_actions=True)
    return replace(_vserver_head(world, vserver), tables=[table, groups_table(world, groups, pk)])


def _bound_by(groups: Groups, binding: VServerServiceBinding) -> dict[str, Any]:
    """The group through which a service is bound, or what can be done with one that is bound by itself."""
    pk, service = binding.vserver_id, binding.service
    member = groups.of_service.get(service.pk)
    if member is not None:
        url = reverse("bindings", args=["servicegroups", member.group_id])
        return {"group": member.group.name, "group_url": url, "actions": []}
    urls = {name: reverse(name, args=[pk, service.pk]) for name in ("set-weight", "unbind-service")}
    actions = [
        Action("Set weight", urls["set-weight"], service.name, "weight", binding.weight),
        Action("Unbind …", urls["unbind-service"], f"service {service.name}", asks=True),
    ]
    return {"group": "", "group_url": "", "actions": actions}


def _monitor(world: World, pk: int) -> Detail:
    monitor: Monitor = row_of(world.monitors, pk)
    checks = [
        health_row(world, binding, vip)
        for service_pk, bindings in world.monitors_of.items()
        for binding in bindings
        if binding.monitor_id == pk
        for vip in world.vips(world.services[service_pk])
    ]
    table = Table("health", "Health checks", _columns("health", drop="monitor"), checks, "It checks nothing.")
    facts = facts_of(monitor) + parameter_facts(monitor)
    return replace(_monitor_head(world, monitor), facts=facts, tables=[table])


def _monitor_head(world: World, monitor: Monitor) -> Detail:
    return Detail(
        row=dict(monitor_row(world, monitor)),
        summary=COLUMNS["monitors"][1:],
        disabled=monitor.state == AdminState.DISABLED,
        built_in=monitor.built_in,
    )


def _monitor_bindings(world: World, pk: int) -> Detail:
    monitor: Monitor = row_of(world.monitors, pk)
    services = [
        service_row(world, binding.service)
        for bindings in world.monitors_of.values()
        for binding in bindings
        if binding.monitor_id == pk
    ]
    table = Table("services", "Services", COLUMNS["services"], services, "Bound to no service.", "services", "patch")
    return replace(_monitor_head(world, monitor), tables=[table])


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
        facts=facts_of(target) + parameter_facts(target),
        disabled=target.state == AdminState.DISABLED,
        tables=[],
        buttons=[Action("Send a test event", reverse("send-test", args=[pk]), target.name)],
        refresh=True,
    )


OVERVIEW: dict[str, Callable[[World, int], Detail]] = {
    "servers": _server,
    "services": _service,
    "servicegroups": group_overview,
    "vservers": _vserver,
    "monitors": _monitor,
    "eventtargets": _event_target,
}
BINDINGS: dict[str, Callable[[World, int], Detail]] = {
    "servers": _server_bindings,
    "services": _service_bindings,
    "servicegroups": group_bindings,
    "vservers": _vserver_bindings,
    "monitors": _monitor_bindings,
}

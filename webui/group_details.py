"""What the tabs of a service group show, and its row on the page of a virtual server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.urls import reverse

from webui.choices import AdminState
from webui.detail import Detail
from webui.effective import is_leaving
from webui.facts import facts_of
from webui.groups import Groups, group_row, load_groups
from webui.models import ServiceGroup, ServiceGroupMember, ServiceGroupMonitorBinding
from webui.rows import monitor_row, service_row, vserver_row
from webui.tables import COLUMNS, Action, Column, Table
from webui.world import World, row_of

NO_MONITOR = "No monitor is bound: each member has the default monitor of its type."


def group_overview(world: World, pk: int) -> Detail:
    """State, members, monitors, virtual servers and configuration; four queries beside the world's."""
    groups = load_groups([pk])
    group: ServiceGroup = row_of(groups.groups, pk)
    members = replace(_members_table(world, groups, pk), source="services", live="patch", with_actions=False)
    others = [_monitors_table(world, pk), _vservers_table(world, groups, pk)]
    tables = [members, *(replace(table, with_actions=False) for table in others)]
    return replace(_head(world, groups, group), facts=facts_of(group), tables=tables)


def group_bindings(world: World, pk: int) -> Detail:
    """Members, monitors and virtual servers, with what changes them; in as many queries."""
    groups = load_groups([pk])
    group: ServiceGroup = row_of(groups.groups, pk)
    columns = [one for one in COLUMNS["group_members"] if one.name != "packets_per_second"]
    members = replace(_members_table(world, groups, pk), columns=columns)
    tables = [members, _monitors_table(world, pk), _vservers_table(world, groups, pk)]
    return replace(_head(world, groups, group), tables=tables)


def groups_table(world: World, groups: Groups, vserver: int) -> Table:
    """The groups of a virtual server, each as one row."""
    rows = []
    for group in sorted(groups.groups.values(), key=lambda one: one.name.casefold()):
        unbind = reverse("unbind-group", args=[vserver, group.pk])
        actions = [Action("Unbind …", unbind, f"service group {group.name}", asks=True)]
        url = reverse("bindings", args=["servicegroups", group.pk])
        rows.append(dict(group_row(world, groups, group)) | {"url": url, "actions": actions})
    nothing = "No service group is bound."
    return Table("groups", "Service groups", COLUMNS["vserver_groups"], rows, nothing, with_actions=True)


def _head(world: World, groups: Groups, group: ServiceGroup) -> Detail:
    services = groups.services(world, group.pk)
    rows = [service_row(world, one) for one in services]
    paths = [f"No path to {row['server']}: {row['path']}" for row in rows if row["path"]]
    disabled = group.state == AdminState.DISABLED
    return Detail(
        row=dict(group_row(world, groups, group)),
        summary=COLUMNS["servicegroups"][1:],
        disabled=disabled,
        leaving=disabled and any(is_leaving(one, world.now) for one in services),
        warnings=list(dict.fromkeys(paths)),
    )


def _members_table(world: World, groups: Groups, pk: int) -> Table:
    known = {one.service_id: one for one in groups.members[pk]}
    rows: list[dict[str, Any]] = [
        dict(service_row(world, service))
        | {"weight": known[service.pk].weight, "actions": _deeds(world, known[service.pk])}
        for service in groups.services(world, pk)
    ]
    return Table(
        "members",
        "Members",
        COLUMNS["group_members"],
        rows,
        "No member yet: the virtual servers of the group get nobody from it.",
        with_actions=True,
    )


def _deeds(world: World, member: ServiceGroupMember) -> list[Action]:
    service = world.services[member.service_id]
    name = f"member {service.name}"
    urls = {
        word: reverse(f"{word}-member", args=[member.group_id, service.pk])
        for word in ("edit", "enable", "disable", "unbind")
    }
    if service.state == AdminState.ENABLED:
        switch = Action("Disable …", urls["disable"], name, asks=True, verb="enable")
    else:
        switch = Action("Enable", urls["enable"], name, verb="enable")
    return [
        Action("Edit …", urls["edit"], name, asks=True),
        switch,
        Action("Remove …", urls["unbind"], name, asks=True),
    ]


def _monitors_table(world: World, pk: int) -> Table:
    rows = []
    for binding in ServiceGroupMonitorBinding.objects.filter(group=pk).order_by("monitor__name"):
        monitor = world.monitors.get(binding.monitor_id)
        if monitor is None:  # made after the world was read
            continue
        urls = {word: reverse(f"{word}-group-monitor", args=[pk, monitor.pk]) for word in ("edit", "unbind")}
        off = monitor.state == AdminState.DISABLED
        rows.append(
            dict(monitor_row(world, monitor))
            | {
                "state": monitor.state if off else binding.state,
                "state_reason": "the monitor is disabled" if off else "",
                "weight": binding.weight,
                "actions": [
                    Action("Edit …", urls["edit"], f"binding of {monitor.name}", asks=True),
                    Action("Unbind …", urls["unbind"], f"monitor {monitor.name}", asks=True),
                ],
            }
        )
    columns = COLUMNS["service_monitors"]
    return Table("monitors", "Monitors", columns, rows, NO_MONITOR, with_actions=True)


def _vservers_table(world: World, groups: Groups, pk: int) -> Table:
    rows = []
    for vserver in groups.bound_to(world, pk):
        unbind = f"{reverse('unbind-group', args=[vserver.pk, pk])}?from=group"
        actions = [Action("Unbind …", unbind, f"from virtual server {vserver.name}", asks=True)]
        rows.append(dict(vserver_row(world, vserver)) | {"actions": actions})
    columns: tuple[Column, ...] = COLUMNS["group_vservers"]
    nothing = "Bound to no virtual server."
    return Table("vservers", "Virtual servers", columns, rows, nothing, "vservers", "patch", with_actions=True)

"""Members, monitors and virtual servers of service groups; the rest about groups is as of the other kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from ninja import Path, Router, Schema, Status
from pydantic import Field

from webui.actions import servicegroups
from webui.actions.base import Actor, find, require
from webui.actions.errors import NotFoundError
from webui.api import schemas, values
from webui.api.auth import may_view
from webui.api.bindings import GONE, LIST, PUT
from webui.api.objects import ERRORS, given
from webui.api.previews import DryRun, Preview, act
from webui.group_states import group_state
from webui.models import Monitor, ServiceGroup, ServiceGroupMember, VServer

of_groups = Router(tags=["Service groups"])
of_vservers = Router(tags=["Virtual servers"])
MEMBER: dict[int, Any] = {200: schemas.Member | Preview, **ERRORS}
NAMES: dict[int, Any] = {200: list[schemas.Named], **ERRORS}
BOUND: dict[int, Any] = {200: schemas.Named | Preview, 201: schemas.Named, **ERRORS}


class Place(Schema):
    """Which member: its server, and its port there."""

    name: str = Field(description="Of the group.")
    server: str = Field(description="Name or address of the server.")
    port: int = Field(ge=0, le=65535, description="0: any port.")

    @property
    def group(self) -> ServiceGroup:
        """The group of that name. Raises NotFoundError."""
        return find(ServiceGroup, self.name)


@of_groups.get("/{name}/members", response={200: list[schemas.Member], **ERRORS}, summary="Members of a service group")
def list_members(request: HttpRequest, name: str) -> Any:
    """With what each has of its own, by server and port."""
    may_view(request, ServiceGroup)
    members = find(ServiceGroup, name).members.select_related("service__server")
    return [_member(one) for one in members.order_by("service__server__name", "service__port")]


@of_groups.get(
    "/{name}/members/states", response={200: list[schemas.MemberState], **ERRORS}, summary="States of the members now"
)
def states_of_members(request: HttpRequest, name: str) -> Any:
    """What the group's own state follows from."""
    may_view(request, ServiceGroup)
    return [
        _place(member) | {"state": verdict.state, "reason": verdict.reason}
        for member, verdict in group_state(find(ServiceGroup, name)).members
    ]


@of_groups.get("/{name}/members/{server}/{port}", response={200: schemas.Member, **ERRORS}, summary="Read one member")
def read_member(request: HttpRequest, at: Path[Place]) -> Any:
    """By its server, and its port there."""
    may_view(request, ServiceGroup)
    return _member(servicegroups.member_of(at.group, at.server, at.port))


@of_groups.put(
    "/{name}/members/{server}/{port}",
    response={200: schemas.Member | Preview, 201: schemas.Member, **ERRORS},
    summary="Make a member, or change it",
)
def put_member(request: HttpRequest, at: Path[Place], body: schemas.GroupMember, dry_run: DryRun = False) -> Any:
    """The same request twice does the same as once. ``server`` may be an address, of which a server is made."""
    group = at.group
    own = {key: value for key, value in given(body).items() if value is not None or key == "hash_id"}
    known = _known(group, at.server, at.port)

    def deed(actor: Actor) -> Any:
        if known:
            return servicegroups.set_member(actor, group, at.server, at.port, own)
        weight, rest = own.get("weight", 1), {key: value for key, value in own.items() if key != "weight"}
        return servicegroups.bind_member(actor, group, at.server, at.port, weight=weight, values=rest)

    service = _changed(request, group, deed, dry_run=dry_run)
    return Status(200 if known else 201, _member(ServiceGroupMember.objects.get(service=service)))


@of_groups.delete("/{name}/members/{server}/{port}", response=GONE, summary="Remove a member")
def remove_member(request: HttpRequest, at: Path[Place], dry_run: DryRun = False) -> Any:
    """Its service is deleted; its clients get another."""
    group, unbind = at.group, servicegroups.unbind_member
    _changed(request, group, lambda actor: unbind(actor, group, at.server, at.port), dry_run=dry_run)
    return Status(204, None)


@of_groups.post("/{name}/members/{server}/{port}/enable", response=MEMBER, summary="Enable one member")
def enable_member(request: HttpRequest, at: Path[Place], dry_run: DryRun = False) -> Any:
    """The others stay as they are."""
    group, enable = at.group, servicegroups.enable
    _changed(request, group, lambda actor: enable(actor, group, server=at.server, port=at.port), dry_run=dry_run)
    return _member(servicegroups.member_of(group, at.server, at.port))


@of_groups.post(
    "/{name}/members/{server}/{port}/disable", response=MEMBER, summary="Disable one member, at once or gracefully"
)
def disable_member(request: HttpRequest, at: Path[Place], body: schemas.Disable, dry_run: DryRun = False) -> Any:
    """The others stay as they are."""
    group = at.group

    def deed(actor: Actor) -> Any:
        return servicegroups.disable(actor, group, body.delay, body.graceful, server=at.server, port=at.port)

    _changed(request, group, deed, dry_run=dry_run)
    return _member(servicegroups.member_of(group, at.server, at.port))


@of_groups.get("/{name}/monitors", response=LIST, summary="Monitors of a service group")
def list_group_monitors(request: HttpRequest, name: str) -> Any:
    """Bound to each member alike, by name; without any, members have their default monitors."""
    may_view(request, ServiceGroup)
    bound = find(ServiceGroup, name).monitor_bindings.select_related("monitor").order_by("monitor__name")
    return [{"name": one.monitor.name, "weight": one.weight, "state": one.state} for one in bound]


@of_groups.put("/{name}/monitors/{monitor}", response=PUT, summary="Bind a monitor to all members, or change that")
def bind_group_monitor(
    request: HttpRequest, name: str, monitor: str, body: schemas.MonitorBinding, dry_run: DryRun = False
) -> Any:
    """The same request twice does the same as once."""
    group, bound = find(ServiceGroup, name), find(Monitor, monitor)
    own = {key: value for key, value in body.model_dump().items() if value is not None}
    known = group.monitor_bindings.filter(monitor=bound).exists()
    deed: Any = servicegroups.set_monitor_binding if known else servicegroups.bind_monitor
    binding = _changed(request, group, lambda actor: deed(actor, group, bound, **own), dry_run=dry_run)
    return Status(200 if known else 201, {"name": bound.name, "weight": binding.weight, "state": binding.state})


@of_groups.delete("/{name}/monitors/{monitor}", response=GONE, summary="Unbind a monitor from all members")
def unbind_group_monitor(request: HttpRequest, name: str, monitor: str, dry_run: DryRun = False) -> Any:
    """Members have their default monitors again when it was the last."""
    group, unbind = find(ServiceGroup, name), servicegroups.unbind_monitor
    _changed(request, group, lambda actor: unbind(actor, group, monitor), dry_run=dry_run)
    return Status(204, None)


@of_groups.get("/{name}/vservers", response=NAMES, summary="Virtual servers of a service group")
def list_group_vservers(request: HttpRequest, name: str) -> Any:
    """By name."""
    may_view(request, ServiceGroup)
    bound = find(ServiceGroup, name).vserver_bindings
    return [{"name": one} for one in bound.order_by("vserver__name").values_list("vserver__name", flat=True)]


@of_groups.put("/{name}/vservers/{vserver}", response=BOUND, summary="Bind a service group to a virtual server")
def bind_vserver(request: HttpRequest, name: str, vserver: str, dry_run: DryRun = False) -> Any:
    """As from the virtual server; If-Match is of the group."""
    group, other = find(ServiceGroup, name), find(VServer, vserver)
    return _bound(request, group, (other, group), other.name, dry_run=dry_run)


@of_groups.delete("/{name}/vservers/{vserver}", response=GONE, summary="Unbind a service group from a virtual server")
def unbind_vserver(request: HttpRequest, name: str, vserver: str, dry_run: DryRun = False) -> Any:
    """As from the virtual server; If-Match is of the group."""
    group, other = find(ServiceGroup, name), find(VServer, vserver)
    return _unbound(request, group, (other, group), dry_run=dry_run)


@of_vservers.get("/{name}/servicegroups", response=NAMES, summary="Service groups of a virtual server")
def list_groups(request: HttpRequest, name: str) -> Any:
    """By name; their members are among its services too."""
    may_view(request, VServer)
    bound = find(VServer, name).group_bindings
    return [{"name": one} for one in bound.order_by("group__name").values_list("group__name", flat=True)]


@of_vservers.put("/{name}/servicegroups/{group}", response=BOUND, summary="Bind a service group")
def bind_group(request: HttpRequest, name: str, group: str, dry_run: DryRun = False) -> Any:
    """All of its members, each with its weight, also those that come later. Twice is as once."""
    vserver, other = find(VServer, name), find(ServiceGroup, group)
    return _bound(request, vserver, (vserver, other), other.name, dry_run=dry_run)


@of_vservers.delete("/{name}/servicegroups/{group}", response=GONE, summary="Unbind a service group")
def unbind_group(request: HttpRequest, name: str, group: str, dry_run: DryRun = False) -> Any:
    """All of its members; their clients get others."""
    vserver, other = find(VServer, name), find(ServiceGroup, group)
    return _unbound(request, vserver, (vserver, other), dry_run=dry_run)


def _bound(
    request: HttpRequest, row: VServer | ServiceGroup, ends: tuple[VServer, ServiceGroup], name: str, *, dry_run: bool
) -> Any:
    """Bind unless it is bound; ``row`` is the end that was asked for, ``name`` that of the other."""
    vserver, group = ends
    known = vserver.group_bindings.filter(group=group).exists()

    def deed(actor: Actor) -> Any:
        if known:  # it stays so, for whoever may have it so
            return require(actor, VServer, "change", vserver.name)
        return servicegroups.bind_to_vserver(actor, vserver, group)

    _changed(request, row, deed, dry_run=dry_run)
    return Status(200 if known else 201, {"name": name})


def _unbound(
    request: HttpRequest, row: VServer | ServiceGroup, ends: tuple[VServer, ServiceGroup], *, dry_run: bool
) -> Any:
    _changed(request, row, lambda actor: servicegroups.unbind_from_vserver(actor, *ends), dry_run=dry_run)
    return Status(204, None)


def _changed(request: HttpRequest, row: VServer | ServiceGroup, deed: Callable[[Actor], Any], *, dry_run: bool) -> Any:
    return values.unless_changed(request, row, lambda: act(request, deed, dry_run=dry_run))


def _known(group: ServiceGroup, server: str, port: int) -> bool:
    try:
        servicegroups.member_of(group, server, port)
    except NotFoundError:
        return False
    return True


def _place(member: ServiceGroupMember) -> dict[str, Any]:
    service = member.service
    return {"server": service.server.name, "port": service.port, "service": service.name}


def _member(member: ServiceGroupMember) -> dict[str, Any]:
    service = member.service
    return _place(member) | {"weight": member.weight, "state": service.state, "hash_id": service.hash_id}

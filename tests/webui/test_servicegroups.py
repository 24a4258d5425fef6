"""Service groups: members have what their group has, and nobody changes that behind its back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from tests import factories
from tests.factories import SYSTEM
from webui.actions import monitors, renaming, servers, servicegroups, services, vservers, wizard
from webui.actions.base import Actor, NotFoundError, PermissionRefused
from webui.actions.wizard import Order
from webui.models import (
    AuditEntry,
    HealthState,
    Installation,
    Monitor,
    Server,
    Service,
    ServiceGroup,
    ServiceGroupMember,
    VServer,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def group() -> ServiceGroup:
    """``g``, TCP, with a member on each of two servers, at port 80."""
    made = servicegroups.create(SYSTEM, {"name": "g", "service_type": "TCP", "comment": "of the group"})
    for number in (1, 2):
        servicegroups.bind_member(SYSTEM, made, factories.server(number), 80)
    return made


@pytest.fixture
def vserver() -> VServer:
    return vservers.create(SYSTEM, {"name": "v", "address": "10.77.0.10", "service_type": "TCP", "port": 80})


def members() -> list[Service]:
    return list(Service.objects.filter(membership__isnull=False).order_by("name"))


def bound_monitors(service: Service) -> list[tuple[str, int, str]]:
    return list(service.monitor_bindings.values_list("monitor__name", "weight", "state"))


def weights(vserver: VServer) -> dict[str, int]:
    return dict(vserver.service_bindings.values_list("service__name", "weight"))


def test_a_member_is_a_service_with_the_groups_options(group: ServiceGroup) -> None:
    first, second = members()
    assert (first.name, second.name) == ("g_Server1_80", "g_Server2_80")
    assert (first.service_type, first.port, first.comment) == ("TCP", 80, "of the group")
    assert bound_monitors(first) == [("tcp-default", 1, "ENABLED")]
    servicegroups.update(SYSTEM, group, {"mon_threshold": 5, "down_state_flush": "DISABLED", "comment": ""})
    for service in members():
        assert (service.mon_threshold, service.down_state_flush, service.comment) == (5, "DISABLED", "")
    made = servicegroups.bind_member(SYSTEM, group, "10.77.0.99", "443", weight=4, values={"hash_id": 9})
    assert (made.name, made.server.address, made.hash_id) == ("g_10.77.0.99_443", "10.77.0.99", 9)
    assert ServiceGroupMember.objects.get(service=made).weight == 4


def test_monitors_of_a_group_take_the_place_of_default_ones_and_give_it_back(group: ServiceGroup) -> None:
    factories.monitor("m")
    servicegroups.bind_monitor(SYSTEM, group, "m", 3)
    later = servicegroups.bind_member(SYSTEM, group, factories.server(3), 80)
    for service in (*members(), later):
        assert bound_monitors(service) == [("m", 3, "ENABLED")]
    servicegroups.set_monitor_binding(SYSTEM, group, "m", weight=7, state="DISABLED")
    assert {bound_monitors(service)[0] for service in members()} == {("m", 7, "DISABLED")}
    with pytest.raises(ValidationError, match="is bound to service group “g” already"):
        servicegroups.bind_monitor(SYSTEM, group, "m")
    servicegroups.unbind_monitor(SYSTEM, group, "m")
    assert {bound_monitors(service)[0][0] for service in members()} == {"tcp-default"}
    with pytest.raises(NotFoundError, match="“m” is not bound to service group “g”"):
        servicegroups.unbind_monitor(SYSTEM, group, "m")


def test_a_monitor_of_a_group_without_members_cannot_be_deleted() -> None:
    group = servicegroups.create(SYSTEM, {"name": "g", "service_type": "TCP"})
    monitor = factories.monitor("m")
    servicegroups.bind_monitor(SYSTEM, group, monitor)
    with pytest.raises(ValidationError, match="“m” is bound to service groups: g"):
        monitors.delete(SYSTEM, monitor)
    assert Monitor.objects.filter(name="m").exists()


def test_all_members_serve_the_groups_vservers_each_with_its_weight(group: ServiceGroup, vserver: VServer) -> None:
    servicegroups.set_member(SYSTEM, group, "Server1", 80, {"weight": 5})
    servicegroups.bind_to_vserver(SYSTEM, vserver, group)
    servicegroups.bind_member(SYSTEM, group, factories.server(3), 80, weight=2)
    assert weights(vserver) == {"g_Server1_80": 5, "g_Server2_80": 1, "g_Server3_80": 2}
    assert HealthState.objects.count() == 3, "each member is checked at the VIP"
    servicegroups.set_member(SYSTEM, group, "server2", 80, {"weight": 9})
    assert weights(vserver)["g_Server2_80"] == 9
    servicegroups.unbind_member(SYSTEM, group, "Server3")
    assert weights(vserver) == {"g_Server1_80": 5, "g_Server2_80": 9}
    servicegroups.unbind_from_vserver(SYSTEM, vserver, group)
    assert weights(vserver) == {}
    assert len(members()) == 2
    with pytest.raises(NotFoundError, match="“g” is not bound to vserver “v”"):
        servicegroups.unbind_from_vserver(SYSTEM, vserver, group)


def test_a_change_that_one_member_cannot_follow_changes_nothing(group: ServiceGroup, vserver: VServer) -> None:
    servicegroups.bind_member(SYSTEM, group, "Server2", 443)
    before = Installation.objects.get().revision
    with pytest.raises(ValidationError, match="Port translation is impossible"):
        servicegroups.bind_to_vserver(SYSTEM, vserver, group)
    assert (weights(vserver), vserver.group_bindings.count()) == ({}, 0)
    assert Installation.objects.get().revision == before
    with pytest.raises(ValidationError, match="several members on “Server2”, at ports 443, 80"):
        servicegroups.unbind_member(SYSTEM, group, "Server2")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"service_type": "UDP"}, "the group needs the same type or ANY"),
        ({"service_type": "TCP", "usip": False}, "has use source IP NO"),
    ],
)
def test_a_group_that_does_not_fit_is_refused_before_it_has_members(
    vserver: VServer, values: dict[str, Any], text: str
) -> None:
    group = servicegroups.create(SYSTEM, {"name": "g"} | values)
    with pytest.raises(ValidationError, match=text):
        servicegroups.bind_to_vserver(SYSTEM, vserver, group)


def test_enabling_and_disabling_is_for_all_members_or_one(group: ServiceGroup) -> None:
    def states() -> list[str]:
        return [service.state for service in members()]

    servicegroups.disable(SYSTEM, group)
    assert (states(), ServiceGroup.objects.get().state) == (["DISABLED", "DISABLED"], "DISABLED")
    assert servicegroups.bind_member(SYSTEM, group, factories.server(3), 80).state == "DISABLED"
    servicegroups.enable(SYSTEM, group, server="Server2")
    assert states() == ["DISABLED", "ENABLED", "DISABLED"]
    servicegroups.enable(SYSTEM, group)
    assert states() == ["ENABLED"] * 3
    servicegroups.disable(SYSTEM, group, 60, "YES")
    assert all(service.out_of_service_at and service.graceful for service in members())
    servicegroups.update(SYSTEM, group, {"state": "ENABLED"})
    services.disable(SYSTEM, members()[0])
    assert states() == ["DISABLED", "ENABLED", "ENABLED"]
    empty = servicegroups.create(SYSTEM, {"name": "empty", "service_type": "TCP"})
    with pytest.raises(ValidationError, match="is not a number of seconds"):
        servicegroups.disable(SYSTEM, empty, "soon")


def test_names_of_members_follow_those_of_group_and_server(group: ServiceGroup) -> None:
    renaming.rename(SYSTEM, group, "h")
    renaming.rename(SYSTEM, Server.objects.get(name="Server1"), "web")
    assert [service.name for service in members()] == ["h_Server2_80", "h_web_80"]
    servicegroups.unbind_member(SYSTEM, ServiceGroup.objects.get(), "web", 80)
    assert [service.name for service in members()] == ["h_Server2_80"]


def test_deleting_a_group_deletes_its_members(group: ServiceGroup, vserver: VServer) -> None:
    alone = services.create(SYSTEM, {"name": "s", "server": "Server1", "service_type": "TCP", "port": 443})
    servicegroups.bind_to_vserver(SYSTEM, vserver, group)
    servicegroups.delete(SYSTEM, group)
    assert list(Service.objects.all()) == [alone]
    assert (weights(vserver), HealthState.objects.count()) == ({}, 0)
    entry = AuditEntry.objects.get(kind="servicegroup", verb="delete")
    assert entry.before is not None
    assert (entry.before["members"], entry.before["vservers"]) == (["g_Server1_80", "g_Server2_80"], ["v"])


OTHER = {"name": "v2", "address": "10.77.0.20", "service_type": "TCP", "port": 80}
OWNED: dict[str, Callable[[Service, VServer], Any]] = {
    "delete": lambda s, _v: services.delete(SYSTEM, s),
    "rename": lambda s, _v: renaming.rename(SYSTEM, s, "other"),
    "comment": lambda s, _v: services.update(SYSTEM, s, {"comment": "x"}),
    "bind a monitor": lambda s, _v: services.bind_monitor(SYSTEM, s, "ping-default"),
    "set a monitor": lambda s, _v: services.set_monitor_binding(SYSTEM, s, "tcp-default", weight=2),
    "unbind a monitor": lambda s, _v: services.unbind_monitor(SYSTEM, s, "tcp-default"),
    "bind": lambda s, _v: vservers.bind_service(SYSTEM, vservers.create(SYSTEM, OTHER), s),
    "weight": lambda s, v: vservers.set_weight(SYSTEM, v, s, 3),
    "weights": lambda s, v: vservers.set_weights(SYSTEM, v, {s.name: 3}),
    "unbind": lambda s, v: vservers.unbind_service(SYSTEM, v, s),
    "wizard": lambda s, _v: wizard.make(SYSTEM, Order(OTHER, [s.server])),
}


@pytest.mark.parametrize("deed", sorted(OWNED))
def test_what_the_group_owns_is_not_changed_at_a_member(deed: str, group: ServiceGroup, vserver: VServer) -> None:
    servicegroups.bind_to_vserver(SYSTEM, vserver, group)
    service, before = members()[0], AuditEntry.objects.count()
    with pytest.raises(ValidationError, match="Service “g_Server1_80” is a member of service group “g”"):
        OWNED[deed](service, vserver)
    service.refresh_from_db()
    assert (service.name, service.comment, weights(vserver)) == (
        "g_Server1_80",
        "of the group",
        {"g_Server1_80": 1, "g_Server2_80": 1},
    )
    assert bound_monitors(service) == [("tcp-default", 1, "ENABLED")]
    made_vserver = 1 if deed == "bind" else 0  # in a change of its own
    assert AuditEntry.objects.count() == before + made_vserver


def test_what_a_member_has_of_its_own_can_be_changed_at_either(group: ServiceGroup) -> None:
    service = members()[0]
    services.update(SYSTEM, service, {"hash_id": 5, "comment": "of the group"})
    servicegroups.set_member(SYSTEM, group, "Server2", 80, {"hash_id": 6})
    assert [one.hash_id for one in members()] == [5, 6]
    with pytest.raises(ValidationError, match="It is the group's, for all of its members alike"):
        servicegroups.set_member(SYSTEM, group, "Server2", 80, {"comment": "x"})


def test_a_service_and_a_group_have_different_names(group: ServiceGroup) -> None:
    with pytest.raises(ValidationError, match="There is a service group “g”"):
        services.create(SYSTEM, {"name": "G", "server": "Server1", "service_type": "UDP", "port": 53})
    with pytest.raises(ValidationError, match="There is a service “g_Server1_80”"):
        renaming.rename(SYSTEM, group, "g_server1_80")
    with pytest.raises(ValidationError, match="fixed when it is made"):
        servicegroups.update(SYSTEM, group, {"service_type": "ANY"})


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5", True, ""])
def test_a_port_that_is_none_is_refused(port: Any, group: ServiceGroup) -> None:
    with pytest.raises(ValidationError, match="is not a port"):
        servicegroups.bind_member(SYSTEM, group, "Server1", port)


def test_a_member_is_bound_once_and_a_group_is_changed_as_one(group: ServiceGroup, vserver: VServer) -> None:
    with pytest.raises(ValidationError, match="“Server1” port 80 is a member of service group “g” already"):
        servicegroups.bind_member(SYSTEM, group, "Server1", "80")
    before, version = Installation.objects.get().revision, vserver.version
    servicegroups.bind_to_vserver(SYSTEM, vserver, group)
    vserver.refresh_from_db()
    assert (Installation.objects.get().revision, vserver.version) == (before + 1, version + 1)
    with pytest.raises(ValidationError, match="is bound to vserver “v” already"):
        servicegroups.bind_to_vserver(SYSTEM, vserver, group)


def test_who_may_not_make_servers_makes_none_by_binding_an_address(group: ServiceGroup) -> None:
    user = factories.outsider()
    user.user_permissions.add(*_permissions("change_servicegroup"))
    actor = factories.actor(type(user).objects.get(pk=user.pk))
    with pytest.raises(PermissionRefused, match="may not add a server"):
        servicegroups.bind_member(actor, group, "10.77.0.88", 80)
    assert isinstance(servicegroups.bind_member(actor, group, "Server1", 443), Service)
    assert AuditEntry.objects.filter(verb="refuse").count() == 1
    assert not Actor(user, actor.interface).may("webui.add_server")


def _permissions(codename: str) -> list[Any]:
    from django.contrib.auth.models import Permission  # noqa: PLC0415 - beside its use

    return list(Permission.objects.filter(codename=codename))


def test_a_server_with_members_is_not_deleted(group: ServiceGroup) -> None:
    with pytest.raises(ValidationError, match="still has services: g_Server1_80"):
        servers.delete(SYSTEM, Server.objects.get(name="Server1"))
    assert group.members.count() == 2

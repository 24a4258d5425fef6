"""Pages of service groups: what they show, what they change, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests import factories
from tests.factories import SYSTEM
from webui import consequences, groups
from webui.actions import servicegroups, services, vservers
from webui.choices import State
from webui.group_states import effective
from webui.models import AuditEntry, HealthState, Service, ServiceGroup, ServiceGroupMember, VServer
from webui.world import load_world

pytestmark = pytest.mark.django_db

Queries = Callable[[int], Any]


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.fixture
def group() -> ServiceGroup:
    """``g``, TCP, with a member on each of two servers at port 80, bound to ``v``."""
    made = servicegroups.create(SYSTEM, {"name": "g", "service_type": "TCP"})
    servicegroups.bind_members(SYSTEM, made, [factories.server(number) for number in (1, 2)], 80)
    vserver = vservers.create(SYSTEM, {"name": "v", "address": "10.77.0.10", "service_type": "TCP", "port": 80})
    servicegroups.bind_to_vserver(SYSTEM, vserver, made)
    return made


def page(answer: Any) -> str:
    return str(answer.content.decode())


def member(number: int = 1) -> Service:
    return Service.objects.get(name=f"g_Server{number}_80")


def test_the_list_shows_what_the_members_come_to(owner: Client, group: ServiceGroup) -> None:
    servicegroups.create(SYSTEM, {"name": "empty", "service_type": "ANY"})
    HealthState.objects.filter(service=member(1)).update(state=State.UP)
    HealthState.objects.filter(service=member(2)).update(state=State.DOWN, response="refused")
    shown = page(owner.get("/servicegroups/"))
    assert 'href="/servicegroups/add/"' in shown
    assert "state-partial-up" in shown
    assert "1 UP, 1 DOWN" in shown
    assert "it has no members" in shown
    narrowed = page(owner.get("/servicegroups/?state=PARTIAL-UP"))
    assert f'href="/servicegroups/{group.pk}/"' in narrowed
    assert ">empty<" not in narrowed
    answer: Any = owner.get("/servicegroups/export.csv?q=g")
    csv = b"".join(answer.streaming_content).decode()
    assert csv.splitlines()[1].startswith("g,PARTIAL-UP,")
    assert csv.splitlines()[1].endswith(",TCP,1/2,1")


def test_a_group_is_found_by_the_servers_of_its_members_and_listed_once(owner: Client, group: ServiceGroup) -> None:
    servicegroups.create(SYSTEM, {"name": "empty", "service_type": "ANY"})
    for query in ("server", "10.77.0.12", "server g", "TCP"):
        rows = owner.get("/servicegroups/", {"q": query}).context["table"].rows
        assert [row["name"] for row in rows] == ["g"], query
    for column in ("name", "-name", "-vservers"):
        assert len(owner.get("/servicegroups/", {"q": "server", "sort": column}).context["table"].rows) == 1


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "DOWN"),
        (["UP", "UP"], "UP"),
        (["UP", "FAIL-OPEN"], "UP"),
        (["UP", "OUT OF SERVICE"], "PARTIAL-UP"),
        (["UP", "DOWN"], "PARTIAL-UP"),
        (["OUT OF SERVICE", "OUT OF SERVICE"], "OUT OF SERVICE"),
        (["UNKNOWN", "OUT OF SERVICE"], "DOWN"),
        (["UNKNOWN", "DOWN"], "DOWN"),
        (["UNKNOWN", "UNKNOWN"], "UNKNOWN"),  # before the first checks nobody knows
        (["GOING OUT OF SERVICE"], "DOWN"),
    ],
)
def test_the_state_of_a_group_follows_from_those_of_its_members(states: list[str], expected: str) -> None:
    assert groups.effective_state(states) == expected


def test_the_command_line_has_the_same_state(group: ServiceGroup) -> None:
    first, second = member(1), member(2)
    for states in (("UP", "UP"), ("UP", "DOWN"), ("UNKNOWN", "UNKNOWN"), ("DOWN", "UNKNOWN")):
        for service, state in zip((first, second), states, strict=True):
            HealthState.objects.filter(service=service).update(state=state)
        world = load_world()
        shown = groups.group_row(world, groups.groups_of(world), group)
        assert shown["state"] == effective(world, group), states


def test_a_group_is_added_edited_copied_renamed_and_deleted(owner: Client) -> None:
    given = {"name": "web", "service_type": "TCP", "usip": "on", "health_monitor": "on", "mon_threshold": "0"}
    given |= {"down_state_flush": "ENABLED", "state": "ENABLED", "comment": ""}
    assert "Service group" in page(owner.post("/servicegroups/add/", given | {"name": "2web"}))
    assert not ServiceGroup.objects.exists()
    preview = owner.post("/servicegroups/add/", given | {"preview": "1"})
    assert "nothing is changed yet" in page(preview)
    assert not ServiceGroup.objects.exists()
    made_at = owner.post("/servicegroups/add/", given).headers["Location"]
    made = ServiceGroup.objects.get(name="web")
    assert made_at == f"/servicegroups/{made.pk}/"
    edited = given | {"comment": "rack 7", "version": str(made.version)}
    assert owner.post(f"/servicegroups/{made.pk}/edit/", edited).status_code == 302
    assert owner.post(f"/servicegroups/{made.pk}/edit/", edited | {"comment": "rack 8"}).status_code == 409
    made.refresh_from_db()
    assert made.comment == "rack 7"
    assert 'value="web_copy"' in page(owner.get(f"/servicegroups/add/?like={made.pk}"))
    assert "change as well" in page(owner.get(f"/servicegroups/{made.pk}/rename/"))
    renamed = {"name": "shop", "version": str(made.version)}
    assert owner.post(f"/servicegroups/{made.pk}/rename/", renamed).status_code == 302
    assert "It has no members" in page(owner.get(f"/servicegroups/{made.pk}/delete/"))
    assert owner.post(f"/servicegroups/{made.pk}/delete/").headers["Location"] == "/servicegroups/"
    assert not ServiceGroup.objects.exists()


def test_a_form_is_checked_while_it_is_filled_in(owner: Client, group: ServiceGroup) -> None:
    answer = page(owner.post("/servicegroups/validate/?field=name", {"name": "g", "service_type": "TCP"}))
    assert "There is a service group “g” already" in answer


def test_the_overview_shows_members_monitors_and_virtual_servers(owner: Client, group: ServiceGroup) -> None:
    servicegroups.bind_monitor(SYSTEM, group, factories.monitor("tcp-80"), weight=3)
    shown = page(owner.get(f"/servicegroups/{group.pk}/"))
    for text in ("g_Server1_80", "10.77.0.11:80", "tcp-80", f'href="/services/{member().pk}/"', "10.77.0.10:80"):
        assert text in shown, text
    assert 'data-patch="services"' in shown
    assert 'data-patch="servicegroups"' in shown
    for tab in ("bindings", "statistics", "history", "audit"):
        assert owner.get(f"/servicegroups/{group.pk}/{tab}/").status_code == 200, tab


def test_members_are_added_several_at_once_in_one_change(owner: Client, group: ServiceGroup) -> None:
    new = [factories.server(number) for number in (3, 4)]
    version = VServer.objects.get().version
    given = {"server": [one.pk for one in new], "port": "80", "weight": "7"}
    preview = page(owner.post(f"/servicegroups/{group.pk}/members/", given | {"preview": "1"}))
    assert "Preview: nothing is changed yet" in preview
    assert ServiceGroupMember.objects.count() == 2
    assert owner.post(f"/servicegroups/{group.pk}/members/", given).status_code == 302
    assert list(ServiceGroupMember.objects.filter(weight=7).values_list("service__name", flat=True)) == [
        "g_Server3_80",
        "g_Server4_80",
    ]
    assert VServer.objects.get().version == version + 1, "one change, one version"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"server": []}, "This field is required"),
        ({"weight": "101"}, "“101” is more than 100."),
        ({"port": "70000"}, "“70000” is not a port"),
        ({"port": "80"}, "port 80 is a member of service group “g” already"),
        ({"port": "443"}, "Port translation is impossible"),
    ],
)
def test_members_that_cannot_be_are_refused_with_the_reason(
    owner: Client, group: ServiceGroup, values: dict[str, Any], text: str
) -> None:
    given = {"server": [member().server_id], "port": "81", "weight": "1"} | values
    answer = owner.post(f"/servicegroups/{group.pk}/members/", given)
    assert answer.status_code == 422
    assert text in page(answer)
    assert ServiceGroupMember.objects.count() == 2


def test_a_members_own_values_are_changed_on_its_page(owner: Client, group: ServiceGroup) -> None:
    address = f"/servicegroups/{group.pk}/members/{member().pk}/edit/"
    HealthState.objects.update(state=State.UP)
    assert 'value="1"' in page(owner.get(address))
    assert "of the clients will move" in page(owner.post(address, {"weight": "9", "hash_id": "", "preview": "1"}))
    assert VServer.objects.get().service_bindings.get(service=member()).weight == 1
    refused = owner.post(address, {"weight": "0", "hash_id": "4"})
    assert (refused.status_code, "“0” is less than 1." in page(refused)) == (422, True)
    assert owner.post(address, {"weight": "9", "hash_id": "4"}).status_code == 302
    assert VServer.objects.get().service_bindings.get(service=member()).weight == 9
    assert member().hash_id == 4
    other = f"/servicegroups/{group.pk}/members/{member(2).pk}/edit/"
    assert "belongs to service" in page(owner.post(other, {"weight": "1", "hash_id": "4"}))


def test_a_member_is_disabled_enabled_and_removed(owner: Client, group: ServiceGroup) -> None:
    address = f"/servicegroups/{group.pk}/members/{member().pk}"
    assert "go to g_Server2_80" in page(owner.get(f"{address}/disable/")) or "get no answer" in page(
        owner.get(f"{address}/disable/")
    )
    late = owner.post(f"{address}/disable/", {"delay": "99999999999", "graceful": ""})
    assert (late.status_code, member().state) == (422, "ENABLED")
    endless = owner.post(f"{address}/disable/", {"delay": "", "graceful": "on"})
    assert (endless.status_code, "sessionless" in page(endless)) == (422, True)
    assert owner.post(f"{address}/disable/", {"delay": "60"}).status_code == 302
    assert member().state == "DISABLED"
    assert member().out_of_service_at is not None
    assert f'action="{address}/enable/"' in page(owner.get(f"/servicegroups/{group.pk}/bindings/"))
    assert owner.post(f"{address}/enable/").status_code == 302
    assert member().state == "ENABLED"
    assert "It is unbound from v" in page(owner.get(f"{address}/unbind/"))
    assert owner.post(f"{address}/unbind/").status_code == 302
    assert not Service.objects.filter(name="g_Server1_80").exists()
    assert owner.get(f"{address}/edit/").status_code == 404


def test_the_whole_group_is_disabled_slowly_and_enabled(owner: Client, group: ServiceGroup) -> None:
    assert "no other service of it is UP" in page(owner.get(f"/servicegroups/{group.pk}/disable-after/"))
    assert owner.post(f"/servicegroups/{group.pk}/disable-after/", {"delay": "60"}).status_code == 302
    assert "Change the delay" in page(owner.get(f"/servicegroups/{group.pk}/"))
    assert {one.state for one in (member(1), member(2))} == {"DISABLED"}
    owner.post(f"/servicegroups/{group.pk}/enable/")
    assert {one.state for one in (member(1), member(2))} == {"ENABLED"}
    assert "At once none of its members serves v" in page(owner.get(f"/servicegroups/{group.pk}/disable/"))
    owner.post(f"/servicegroups/{group.pk}/disable/")
    assert {one.state for one in (member(1), member(2))} == {"DISABLED"}


def test_a_monitor_is_bound_changed_and_unbound_for_all_members(owner: Client, group: ServiceGroup) -> None:
    monitor = factories.monitor("m")
    given = {"monitor": monitor.pk, "weight": "3", "state": "ENABLED"}
    refused = owner.post(f"/servicegroups/{group.pk}/monitors/", given | {"weight": "x"})
    assert (refused.status_code, "“x” is not a whole number." in page(refused)) == (422, True)
    assert owner.post(f"/servicegroups/{group.pk}/monitors/", given).status_code == 302
    assert member().monitor_bindings.get().weight == 3
    twice = owner.post(f"/servicegroups/{group.pk}/monitors/", given)
    assert (twice.status_code, "is not among the choices" in page(twice)) == (422, True)
    address = f"/servicegroups/{group.pk}/monitors/{monitor.pk}"
    assert owner.post(f"{address}/edit/", {"weight": "5", "state": "DISABLED"}).status_code == 302
    assert member(2).monitor_bindings.get().state == "DISABLED"
    assert "101” is more than 100" in page(owner.post(f"{address}/edit/", {"weight": "101", "state": "ENABLED"}))
    assert "default ones again" in page(owner.get(f"{address}/unbind/"))
    assert owner.post(f"{address}/unbind/").status_code == 302
    assert member().monitor_bindings.get().monitor.built_in
    assert owner.get(f"{address}/edit/").status_code == 404


def test_a_group_is_bound_and_unbound_on_either_page(owner: Client, group: ServiceGroup) -> None:
    vserver = VServer.objects.get()
    shown = page(owner.get(f"/vservers/{vserver.pk}/bindings/"))
    bindings = f"/servicegroups/{group.pk}/bindings/"
    assert shown.count(f'href="{bindings}"') == 3, "the group's row and each member leads there"
    assert f"/vservers/{vserver.pk}/services/{member().pk}/unbind/" not in shown
    by_group = f"/vservers/{vserver.pk}/servicegroups/{group.pk}/unbind/?from=group"
    assert "2 members no longer serve" in page(owner.get(by_group))
    assert owner.post(by_group).headers["Location"] == bindings
    assert not vserver.service_bindings.exists()
    bound = owner.post(f"/servicegroups/{group.pk}/vservers/", {"vserver": vserver.pk})
    assert (bound.status_code, vserver.service_bindings.count()) == (302, 2)
    address = f"/vservers/{vserver.pk}/servicegroups"
    assert owner.post(f"{address}/{group.pk}/unbind/").headers["Location"] == f"/vservers/{vserver.pk}/bindings/"
    other = servicegroups.create(SYSTEM, {"name": "other", "service_type": "TCP"})
    servicegroups.bind_members(SYSTEM, other, ["Server1"], 443)
    refused = owner.post(f"{address}/", {"group": other.pk})
    assert (refused.status_code, "Port translation is impossible" in page(refused)) == (422, True)
    assert owner.post(f"{address}/", {"group": group.pk}).status_code == 302
    assert owner.get(f"{address}/{other.pk}/unbind/").status_code == 404


def test_a_members_own_page_leads_to_the_group_and_offers_nothing_that_is_refused(
    owner: Client, group: ServiceGroup
) -> None:
    for part in ("", "bindings/"):
        shown = page(owner.get(f"/services/{member().pk}/{part}"))
        assert "Member of service group" in shown
        for name in ("edit", "rename", "delete", "monitors"):
            assert f"/services/{member().pk}/{name}/" not in shown, (part, name)
        assert f"/services/{member().pk}/disable/" in shown
    asked = page(owner.get(f"/services/bulk/?do=delete&pk={member().pk}"))
    assert "It is a member of service group g: remove it there. Here this is refused." in asked


def test_members_weights_are_shown_and_not_changed_beside_those_of_other_services(
    owner: Client, group: ServiceGroup
) -> None:
    vserver = VServer.objects.get()
    alone = factories.service(factories.server(3), name="alone", service_type="TCP", port=80)
    vservers.bind_service(SYSTEM, vserver, alone)
    vserver.refresh_from_db()
    assert "The weight is set in service group" in page(owner.get(f"/vservers/{vserver.pk}/weights/"))
    given = {f"weight-{alone.pk}": "5", f"weight-{member().pk}": "9", "version": str(vserver.version)}
    assert owner.post(f"/vservers/{vserver.pk}/weights/", given).status_code == 302
    weights = dict(vserver.service_bindings.values_list("service__name", "weight"))
    assert weights == {"alone": 5, "g_Server1_80": 1, "g_Server2_80": 1}


def test_groups_that_go_together_do_not_take_each_others_clients(group: ServiceGroup) -> None:
    other = servicegroups.create(SYSTEM, {"name": "h", "service_type": "TCP"})
    servicegroups.bind_members(SYSTEM, other, [factories.server(3)], 80)
    servicegroups.bind_to_vserver(SYSTEM, VServer.objects.get(), other)
    HealthState.objects.update(state=State.UP)
    world = load_world()
    alone = consequences.of(world, "servicegroups", "delete", group.pk)
    assert alone[1] == "It is unbound from v; its clients go to h_Server3_80."
    both = consequences.of(world, "servicegroups", "delete", group.pk, [other.pk])
    assert both[1].endswith("clients get no answer.")


def test_deleting_a_group_counts_once_for_its_vserver(owner: Client, group: ServiceGroup) -> None:
    version = VServer.objects.get().version
    servicegroups.delete(SYSTEM, group)
    assert VServer.objects.get().version == version + 1


def test_many_groups_are_disabled_at_once_each_with_its_result(owner: Client, group: ServiceGroup) -> None:
    other = servicegroups.create(SYSTEM, {"name": "h", "service_type": "TCP"})
    asked = page(owner.get(f"/servicegroups/bulk/?do=disable&pk={group.pk}&pk={other.pk}"))
    assert "none of its members serves v" in asked
    group.refresh_from_db()
    sent = {"do": "disable", "item": [f"{group.pk}:{group.version}", f"{other.pk}:{other.version + 1}"]}
    result = page(owner.post("/servicegroups/bulk/", sent, follow=True))
    assert "1 disabled, 1 not" in result
    assert {one.state for one in (member(1), member(2))} == {"DISABLED"}


def test_somebody_who_may_look_changes_nothing_and_is_offered_nothing(client: Client, group: ServiceGroup) -> None:
    client.force_login(factories.of_role("read-only"))
    shown = page(client.get(f"/servicegroups/{group.pk}/bindings/"))
    assert "g_Server1_80" in shown
    for text in ("Remove …", "Disable …", "Add members", "Unbind …"):
        assert text not in shown, text
    address = f"/servicegroups/{group.pk}"
    for part in ("edit/", f"members/{member().pk}/edit/", f"members/{member().pk}/unbind/", "disable-after/"):
        assert client.get(f"{address}/{part}").status_code == 403, part
    refusals = AuditEntry.objects.filter(verb="refuse").count()
    joining = {"server": [member().server_id], "port": "81", "weight": "1"}
    assert client.post(f"{address}/members/", joining).status_code == 403
    client.post(f"{address}/members/{member().pk}/disable/", {"delay": ""})
    client.post(f"{address}/members/{member().pk}/unbind/")
    assert AuditEntry.objects.filter(verb="refuse").count() == refusals + 3
    assert member().state == "ENABLED"


def test_an_operator_may_disable_a_member_and_no_more(client: Client, group: ServiceGroup) -> None:
    client.force_login(factories.of_role("operator"))
    shown = page(client.get(f"/servicegroups/{group.pk}/bindings/"))
    assert "Disable …" in shown
    assert "Remove …" not in shown
    assert client.post(f"/servicegroups/{group.pk}/members/{member().pk}/disable/", {"delay": ""}).status_code == 302
    assert member().state == "DISABLED"


@pytest.mark.parametrize("number", [1, 6])
def test_a_page_takes_as_many_queries_for_many_as_for_one(
    owner: Client, number: int, django_assert_num_queries: Queries
) -> None:
    vserver = vservers.create(SYSTEM, {"name": "v", "address": "10.77.0.10", "service_type": "TCP", "port": 80})
    for one in range(number):
        made = servicegroups.create(SYSTEM, {"name": f"g{one}", "service_type": "TCP"})
        servicegroups.bind_members(SYSTEM, made, [factories.server(2 * one + more) for more in (1, 2)], 80)
        servicegroups.bind_to_vserver(SYSTEM, vserver, made)
        servicegroups.bind_monitor(SYSTEM, made, factories.monitor(f"m{one}"))
    pk = ServiceGroup.objects.all()[0].pk
    # Session, user, second factor and what the head of every page tells are five of them.
    for address, expected in (
        ("/servicegroups/", 24),
        (f"/servicegroups/{pk}/", 20),
        (f"/servicegroups/{pk}/bindings/", 29),
        (f"/vservers/{vserver.pk}/bindings/", 22),
        (f"/servicegroups/{pk}/statistics/", 8),
    ):
        with django_assert_num_queries(expected):
            assert owner.get(address).status_code == 200, address


def test_a_service_alone_is_not_told_of_any_group(owner: Client) -> None:
    service = factories.service()
    services.disable(SYSTEM, service)
    assert "Member of service group" not in page(owner.get(f"/services/{service.pk}/"))

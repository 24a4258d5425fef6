"""Service groups from outside: each request, what it leaves behind, who may ask it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests import factories
from tests.api.client import BASE, Api
from tests.factories import SYSTEM
from webui.actions import account, servicegroups
from webui.choices import Role
from webui.models import AuditEntry, Installation, Server, Service, ServiceGroup, ServiceGroupMember, VServer

pytestmark = pytest.mark.django_db
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "", {"name": "h"}),
    ("PATCH", "/g", {"comment": "x"}),
    ("POST", "/g/rename", {"name": "h"}),
    ("PUT", "/g/members/Server2/80", {}),
    ("PUT", "/g/members/Server1/80", {"weight": 2}),
    ("PUT", "/g/monitors/tcp-80", {}),
    ("DELETE", "/g/monitors/ping-default", None),
    ("DELETE", "/g/vservers/v", None),
    ("DELETE", "/g/members/Server1/80", None),
    ("DELETE", "/g", None),
]
SWITCHES: list[tuple[str, str, Any]] = [
    ("POST", "/g/disable", {"delay": 5}),
    ("POST", "/g/enable", None),
    ("POST", "/g/members/Server1/80/disable", {}),
    ("POST", "/g/members/Server1/80/enable", None),
]
READS = ["", "/g", "/g/state", "/g/statistics", "/g/members", "/g/members/states"] + [
    f"/g/{part}" for part in ("members/Server1/80", "monitors", "vservers")
]


@pytest.fixture
def group() -> ServiceGroup:
    """``g``, TCP, with a member on Server1 at port 80, a monitor, and bound to ``v``; Server2 and tcp-80 are there."""
    made = servicegroups.create(SYSTEM, {"name": "g", "service_type": "TCP"})
    servicegroups.bind_member(SYSTEM, made, factories.server(1), 80)
    factories.server(2)
    factories.monitor()
    servicegroups.bind_monitor(SYSTEM, made, "ping-default")
    servicegroups.bind_to_vserver(SYSTEM, factories.vserver(name="v", service_type="TCP", port=80), made)
    made.refresh_from_db()
    return made


def api_of(role: str) -> Api:
    client = Client()
    client.force_login(factories.of_role(role))
    return Api(client)


@pytest.fixture
def api(client: Client) -> Api:
    client.force_login(factories.owner())
    return Api(client)


def test_a_group_is_made_filled_bound_and_removed(api: Api) -> None:
    factories.server(1)
    factories.vserver(name="v", service_type="TCP", port=80)
    made = api("POST", "/servicegroups", {"name": "g", "service_type": "TCP", "comment": "web"})
    assert (api.status, made["name"], made["service_type"], made["version"]) == (201, "g", "TCP", 1)
    assert api.answer.headers["Location"] == f"{BASE}/servicegroups/g"
    for status, weight in ((201, 2), (200, 3)):
        member = api("PUT", "/servicegroups/G/members/server1/80", {"weight": weight})
        assert (api.status, member) == (
            status,
            {
                "server": "Server1",
                "port": 80,
                "service": "g_Server1_80",
                "weight": weight,
                "state": "ENABLED",
                "hash_id": None,
            },
        )
    for status in (201, 200):
        assert api("PUT", "/vservers/v/servicegroups/g") == {"name": "g"}
        assert api.status == status
    assert api("GET", "/vservers/v/services") == [{"name": "g_Server1_80", "weight": 3, "state": None}]
    api("PUT", "/servicegroups/g/members/10.77.0.99/80", {"hash_id": 7})
    assert (api.status, Server.objects.filter(name="10.77.0.99").count()) == (201, 1)
    assert [one["server"] for one in api("GET", "/servicegroups/g/members")] == ["10.77.0.99", "Server1"]
    assert api("GET", "/servicegroups/g/members/10.77.0.99/80")["hash_id"] == 7
    assert api("PUT", "/servicegroups/g/members/10.77.0.99/80", {"hash_id": None})["hash_id"] is None
    api("DELETE", "/servicegroups/g/members/Server1/80")
    assert (api.status, ServiceGroupMember.objects.count()) == (204, 1)
    api("DELETE", "/vservers/v/servicegroups/g")
    assert (api.status, api("GET", "/vservers/v/services")) == (204, [])
    api("DELETE", "/servicegroups/g")
    assert (api.status, ServiceGroup.objects.count(), Service.objects.count()) == (204, 0, 0)


def test_virtual_servers_and_services_tell_their_groups(api: Api, group: ServiceGroup) -> None:
    alone = factories.service(Server.objects.get(name="Server2"))
    assert api("GET", "/vservers/v")["service_groups"] == ["g"]
    assert api("GET", "/vservers/v/servicegroups") == [{"name": "g"}]
    assert api("GET", "/servicegroups/g/vservers") == [{"name": "v"}]
    assert api("GET", "/services/g_Server1_80")["service_group"] == "g"
    assert api("GET", f"/services/{alone.name}")["service_group"] is None
    assert [one["service_group"] for one in api("GET", "/services")["items"]] == ["g", None]
    assert [one["service_groups"] for one in api("GET", "/vservers")["items"]] == [["g"]]


def test_lists_ask_no_question_for_each_row(api: Api, group: ServiceGroup) -> None:
    from django.db import connection  # noqa: PLC0415 - of this test alone

    def asked(path: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            api("GET", path)
        assert api.status == 200
        return len(queries)

    paths = ("/services", "/vservers", "/servicegroups", "/servicegroups/g/members")
    before = [asked(path) for path in paths]
    for number in range(3, 6):
        servicegroups.bind_member(SYSTEM, group, factories.server(number), 80)
        other = servicegroups.create(SYSTEM, {"name": f"g{number}", "service_type": "TCP"})
        values = {"name": f"v{number}", "service_type": "TCP", "port": 80 + number}
        servicegroups.bind_to_vserver(SYSTEM, factories.vserver(**values), other)
    assert [asked(path) for path in paths] == before


def test_groups_are_listed_page_by_page_searched_and_filtered(api: Api) -> None:
    for number in range(5):
        kind, state = ("UDP", "DISABLED") if number % 2 else ("TCP", "ENABLED")
        servicegroups.create(SYSTEM, {"name": f"g{number}", "service_type": kind, "state": state})
    first = api("GET", "/servicegroups?limit=3")
    second = api("GET", f"/servicegroups?limit=3&cursor={first['next']}")
    assert [one["name"] for one in first["items"] + second["items"]] == [f"g{number}" for number in range(5)]
    assert second["next"] is None
    for query in ("type=UDP", "state=DISABLED"):
        assert [one["name"] for one in api("GET", f"/servicegroups?{query}")["items"]] == ["g1", "g3"]
    assert [one["name"] for one in api("GET", "/servicegroups?q=g4")["items"]] == ["g4"]


def test_options_are_changed_for_all_members_but_not_the_type(api: Api, group: ServiceGroup) -> None:
    told = api("PATCH", "/servicegroups/g", {"comment": "new", "mon_threshold": 5})
    assert (api.status, told["comment"], told["mon_threshold"]) == (200, "new", 5)
    assert (Service.objects.get().comment, Service.objects.get().mon_threshold) == ("new", 5)
    told = api("PATCH", "/servicegroups/g", {"service_type": "UDP"})
    assert (api.status, told["errors"][0]["field"]) == (422, "service_type")
    told = api("POST", "/servicegroups/g/rename", {"name": "h"})
    assert (api.status, told["name"], Service.objects.get().name) == (200, "h", "h_Server1_80")


def test_a_change_of_an_older_version_is_refused(api: Api, group: ServiceGroup) -> None:
    api("GET", "/servicegroups/g")
    tag = api.answer.headers["ETag"]
    api("GET", "/servicegroups/g", If_None_Match=tag)
    assert api.status == 304
    api("PUT", "/servicegroups/g/members/Server1/80", {"weight": 9}, If_Match=tag)
    assert api.status == 200
    before = Installation.objects.get().revision
    for method, path, body in (*CHANGES[1:], *SWITCHES, ("PUT", "/g/vservers/v", None)):
        told = api(method, f"/servicegroups{path}", body, If_Match=tag)
        assert (api.status, told["status"]) == (412, 412), (method, path)
    assert Installation.objects.get().revision == before


def test_members_are_switched_together_and_one_by_one(api: Api, group: ServiceGroup) -> None:
    api("PUT", "/servicegroups/g/members/Server2/80", {})
    assert api("POST", "/servicegroups/g/members/Server2/80/disable", {})["state"] == "DISABLED"
    assert [one["state"] for one in api("GET", "/servicegroups/g/members")] == ["ENABLED", "DISABLED"]
    assert api("POST", "/servicegroups/g/disable", {"delay": 60})["state"] == "DISABLED"
    first, second = Service.objects.order_by("name")
    assert first.out_of_service_at is not None
    assert second.state == "DISABLED"
    assert api("POST", "/servicegroups/g/members/Server1/80/enable")["state"] == "ENABLED"
    assert api("POST", "/servicegroups/g/enable")["state"] == "ENABLED"
    assert set(Service.objects.values_list("state", flat=True)) == {"ENABLED"}


def test_the_state_tells_how_many_members_serve(api: Api, group: ServiceGroup) -> None:
    api("PUT", "/servicegroups/g/members/Server2/80", {})
    api("POST", "/servicegroups/g/members/Server2/80/disable", {})
    servicegroups.update(SYSTEM, group, {"health_monitor": False})
    told = api("GET", "/servicegroups/g/state")
    assert (told["state"], told["reason"]) == ("PARTIAL-UP", "of 2 members: 1 OUT OF SERVICE, 1 UP")
    assert (told["figures"]["members_up"], told["figures"]["members_total"]) == (1, 2)
    assert [(one["server"], one["state"]) for one in api("GET", "/servicegroups/g/members/states")] == [
        ("Server1", "UP"),
        ("Server2", "OUT OF SERVICE"),
    ]
    assert api("GET", "/servicegroups/g/statistics?range=24h")["range"] == "24h"
    for number in (1, 2):
        api("DELETE", f"/servicegroups/g/members/Server{number}/80")
    told = api("GET", "/servicegroups/g/state")
    assert (told["state"], told["reason"], told["figures"]["members_total"]) == ("DOWN", "it has no members", 0)
    api("GET", "/servicegroups/g/statistics")
    assert api.status == 200


def test_monitors_are_bound_to_all_members(api: Api, group: ServiceGroup) -> None:
    bound = api("PUT", "/servicegroups/g/monitors/tcp-80", {"weight": 4})
    assert (api.status, bound) == (201, {"name": "tcp-80", "weight": 4, "state": "ENABLED"})
    bound = api("PUT", "/servicegroups/g/monitors/tcp-80", {"state": "DISABLED"})
    assert (api.status, bound) == (200, {"name": "tcp-80", "weight": 4, "state": "DISABLED"})
    assert api("GET", "/services/g_Server1_80/monitors")[1] == bound
    for name in ("tcp-80", "ping-default"):
        api("DELETE", f"/servicegroups/g/monitors/{name}")
        assert api.status == 204
    assert api("GET", "/servicegroups/g/monitors") == []
    assert len(api("GET", "/services/g_Server1_80/monitors")) == 1  # the built-in one stands in


def test_a_dry_run_tells_what_would_be_and_changes_nothing(api: Api, group: ServiceGroup) -> None:
    revision = Installation.objects.get().revision
    state = factories.vserver(name="w", address="10.77.0.20", service_type="TCP", port=80)
    revision = Installation.objects.get().revision
    tried = [one for one in (*CHANGES, *SWITCHES) if not one[1].endswith("enable")]
    for method, path, body in (*tried, ("PUT", "/g/vservers/w", None)):
        told = api(method, f"/servicegroups{path}?dry_run=true", body)
        assert (api.status, told["revision"]) == (200, revision), (path, told)
        assert told["changes"], path
    for method, path in (("PUT", "/vservers/w/servicegroups/g"), ("DELETE", "/vservers/v/servicegroups/g")):
        assert api(method, f"{path}?dry_run=true")["changes"]
    assert Installation.objects.get().revision == revision
    assert (ServiceGroup.objects.get().version, state.group_bindings.count()) == (group.version, 0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field", "words"),
    [
        ("POST", "", {"name": "1g"}, 422, "name", "“1g”"),
        ("POST", "", {"name": "g", "service_type": "TCP"}, 409, "name", "There is a service group “g” already"),
        ("POST", "", {"name": "g_Server1_80"}, 409, "name", "There is a service “g_Server1_80”"),
        ("POST", "", {"name": "h", "service_type": "HTTP"}, 422, "service_type", "HTTP"),
        ("POST", "", {"name": "h", "port": 80}, 422, "port", "80"),
        ("PATCH", "/g", {"usip": False}, 409, "usip", "bound to v"),
        ("POST", "/g/rename", {"name": "g" * 120}, 409, "name", "131 characters"),
        ("PUT", "/g/members/Server2/443", {}, 409, "service", "has port 80"),
        ("PUT", "/g/members/Server2/70000", {}, 422, "port", "70000"),
        ("POST", "/g/rename", {"name": "-bad"}, 422, "name", "“-bad” is not a name: it starts with a letter"),
        ("PUT", "/g/members/Server1/80", {"weight": 101}, 422, "weight", "101"),
        ("PUT", "/g/members/Server1/80", {"state": "OFF"}, 422, "state", "OFF"),
        ("PUT", "/g/members/nobody/80", {}, 404, "", "server “nobody”"),
        ("DELETE", "/g/members/Server2/80", None, 404, "", "no member “Server2” port 80"),
        ("POST", "/g/disable", {"graceful": True}, 409, "graceful", "“v” is sessionless"),
        ("POST", "/g/disable", {"delay": -1}, 422, "delay", "-1"),
        ("PUT", "/g/monitors/nothing", {}, 404, "", "monitor “nothing”"),
        ("DELETE", "/g/monitors/tcp-80", None, 404, "", "is not bound"),
        ("DELETE", "/g/vservers/none", None, 404, "", "vserver “none”"),
        ("GET", "/none", None, 404, "", "No such resource: service group “none”"),
        ("GET", "/g/statistics?range=1y", None, 422, "range", "1y"),
    ],
)
def test_a_refusal_names_field_value_and_rule_and_changes_nothing(  # noqa: PLR0917 - a table
    api: Api, group: ServiceGroup, method: str, path: str, body: Any, status: int, field: str, words: str
) -> None:
    before = Installation.objects.get().revision
    told = api(method, f"/servicegroups{path}", body)
    assert (api.status, told["status"]) == (status, status), told
    assert words in told["detail"]
    assert [one["field"] for one in told["errors"]] == ([field] if field else [])
    assert Installation.objects.get().revision == before


def test_what_is_the_groups_is_not_changed_behind_its_back(api: Api, group: ServiceGroup) -> None:
    for method, path, body in (
        ("PATCH", "/services/g_Server1_80", {"comment": "x"}),
        ("DELETE", "/services/g_Server1_80", None),
        ("DELETE", "/vservers/v/services/g_Server1_80", None),
        ("PUT", "/services/g_Server1_80/monitors/tcp-80", {}),
    ):
        told = api(method, path, body)
        assert (api.status, "member of service group “g”" in told["detail"]) == (409, True), (path, told)


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_what_its_table_says(group: ServiceGroup, role: str) -> None:
    api = api_of(role)
    for path in READS:
        api("GET", f"/servicegroups{path}")
        assert api.status == 200, path
    may_switch, may_change = role != Role.READ_ONLY, role in {Role.NETWORK, Role.SUPERUSER}
    for wanted, requests in ((may_switch, SWITCHES), (may_change, CHANGES)):
        for method, path, body in requests:
            api(method, f"/servicegroups{path}?dry_run=true", body)
            assert (api.status == 200) is wanted, (method, path, api.status)
            assert wanted or api.status == 403, (method, path)
    for method, path in (
        ("PUT", "/servicegroups/g/vservers/v"),
        ("PUT", "/vservers/v/servicegroups/g"),
        ("DELETE", "/vservers/v/servicegroups/g"),
    ):
        api(method, f"{path}?dry_run=true")
        assert (api.status == 200, api.status == 403) == (may_change, not may_change), (method, path)
    assert ServiceGroup.objects.get().members.count() == 1


def test_who_has_no_role_reads_nothing(group: ServiceGroup) -> None:
    client = Client()
    client.force_login(factories.stranger())
    api = Api(client)
    for path in [*(f"/servicegroups{one}" for one in READS), "/vservers/v/servicegroups"]:
        api("GET", path)
        assert api.status == 403, path


def test_a_tokens_scope_limits_what_its_owner_may(group: ServiceGroup) -> None:
    user = factories.owner()
    _row, raw = account.make_token(factories.actor(user), {"name": "t", "scope": "operator", "days": 1})
    api = Api(Client(headers={"Authorization": f"Bearer {raw}"}))
    assert api("POST", "/servicegroups/g/members/Server1/80/disable", {})["state"] == "DISABLED"
    assert api("PUT", "/servicegroups/g/members/Server1/80", {"weight": 2})["status"] == 403
    assert VServer.objects.get().service_bindings.get().weight == 1


def test_every_call_is_in_the_audit_with_what_it_changed(api: Api, group: ServiceGroup) -> None:
    api("PUT", "/servicegroups/g/members/Server1/80", {"weight": 4})
    api("GET", "/servicegroups/g/members")
    read, written = AuditEntry.objects.filter(verb="call").order_by("-pk")[:2]
    assert (read.command, written.command) == (
        f"GET {BASE}/servicegroups/g/members",
        f"PUT {BASE}/servicegroups/g/members/Server1/80",
    )
    change = AuditEntry.objects.get(correlation=written.correlation, kind="servicegroup")
    assert (change.verb, change.interface, change.after) == (
        "update",
        "api",
        {"service": "g_Server1_80", "weight": 4},
    )

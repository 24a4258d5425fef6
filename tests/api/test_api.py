"""The API from outside: what each request answers, and what it leaves behind."""

from __future__ import annotations

import pytest
from django.test import Client

from tests import factories
from tests.api.client import BASE, Api
from tests.factories import SYSTEM
from webui.actions import account, services, vservers
from webui.models import AuditEntry, Installation, Monitor, Server, Service, VServer, VServerServiceBinding

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    client.force_login(factories.owner())
    return Api(client)


def outsiders_api() -> Api:
    client = Client()
    client.force_login(factories.stranger())
    return Api(client)


def test_the_objects_of_the_article_are_made_bound_and_removed(api: Api) -> None:
    made = api("POST", "/servers", {"name": "Server1", "address": "10.0.0.100"})
    assert (api.status, made["name"], made["version"]) == (201, "Server1", 1)
    assert api.answer.headers["Location"] == f"{BASE}/servers/Server1"
    assert api.answer.headers["ETag"] == '"1"'
    made = api("POST", "/services", {"name": "service_Server1_ANY", "server": "server1", "service_type": "ANY"})
    assert (api.status, made["server"]) == (201, "Server1")
    wanted = {"name": "vserver_DSR", "address": "10.0.0.11", "lb_method": "SOURCEIPHASH", "sessionless": "ENABLED"}
    api("POST", "/vservers", wanted)
    assert api.status == 201
    for status, weight in ((201, 2), (200, 3)):
        assert api("PUT", "/vservers/VSERVER_dsr/services/service_Server1_ANY", {"weight": weight})["weight"] == weight
        assert api.status == status
    assert api("GET", "/vservers/vserver_DSR/services") == [{"name": "service_Server1_ANY", "weight": 3, "state": None}]
    state = api("GET", "/services/service_Server1_ANY/state")
    assert state["state"] == "UNKNOWN"
    entry = AuditEntry.objects.get(verb="bind", kind="vserver")
    assert (entry.interface, entry.actor_name) == ("api", "owner")
    api("DELETE", "/vservers/vserver_DSR/services/service_Server1_ANY")
    assert (api.status, VServerServiceBinding.objects.count()) == (204, 0)
    for path in ("/vservers/vserver_DSR", "/services/service_Server1_ANY", "/servers/Server1"):
        api("DELETE", path)
        assert api.status == 204
    assert not Server.objects.exists()


def test_a_change_of_an_older_version_is_refused_and_tells_who_was_faster(api: Api) -> None:
    server = factories.server()
    read = api("GET", "/servers/server1")
    tag = api.answer.headers["ETag"]
    assert read["comment"] == ""
    assert api("PATCH", "/servers/Server1", {"comment": "one"}, If_Match=tag)["comment"] == "one"
    assert api.answer.headers["ETag"] == '"2"'
    told = api("PATCH", "/servers/Server1", {"comment": "two"}, If_Match=tag)
    assert (api.status, told["status"]) == (412, 412)
    assert "which is " in told["detail"]
    for method, path in (("DELETE", ""), ("POST", "/disable"), ("POST", "/rename")):
        api(method, f"/servers/Server1{path}", {"name": "x"} if path == "/rename" else {}, If_Match=tag)
        assert api.status == 412
    server.refresh_from_db()
    assert (server.comment, server.state, server.name) == ("one", "ENABLED", "Server1")
    assert api("GET", "/servers/Server1", If_None_Match='"2"') is None
    assert api.status == 304


def test_every_error_is_a_problem_with_field_value_and_rule(api: Api) -> None:
    factories.server()
    for method, path, body, status, words in (
        ("POST", "/servers", {"name": "x", "address": "999.1.1.1"}, 422, "“999.1.1.1”"),
        ("POST", "/servers", {"name": "x"}, 422, "address"),
        ("POST", "/servers", {"name": "x", "address": "10.0.0.1", "colour": "red"}, 422, "colour"),
        ("PATCH", "/servers/Server1", {"name": "-"}, 422, "name"),
        ("POST", "/vservers", {"name": "v", "address": "10.9.9.9", "lb_method": "TOKEN"}, 422, "lb_method"),
        ("GET", "/servers/nobody", None, 404, "No such resource: server “nobody”"),
        ("GET", "/nothing", None, 404, ""),
        ("PUT", "/servers", None, 405, ""),
        ("GET", "/servers?cursor=xyz", None, 422, "“xyz” is no cursor"),
        ("GET", "/servers?limit=0", None, 422, "limit"),
        ("GET", "/vservers/none/statistics", None, 404, "No such resource"),
        ("GET", "/revisions/0/to/99", None, 404, "There is no revision 99"),
        ("POST", "/revisions/trial", {"minutes": 0}, 422, "minutes"),
        ("POST", "/revisions/trial/confirm", None, 404, "no trial runs"),
        ("GET", "/explain?client=nonsense&vip=10.0.0.1", None, 422, "client"),
    ):
        told = api(method, path, body)
        assert (api.status, told["status"]) == (status, status), (path, told)
        assert api.answer.headers["Content-Type"] == "application/problem+json"
        assert words in api.answer.content.decode()
    answer = api.client.post(f"{BASE}/servers", "{", content_type="application/json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert Server.objects.count() == 1


def test_without_a_session_or_a_token_nothing_is_told() -> None:
    api = Api(Client())
    told = api("GET", "/servers")
    assert (api.status, told["title"]) == (401, "Not authenticated")
    assert api.answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_session_needs_its_csrf_token_for_changes() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(factories.owner())
    api = Api(client)
    api("GET", "/servers")
    assert api.status == 200
    api("POST", "/servers", {"name": "x", "address": "10.0.0.1"})
    assert api.status == 403
    assert not Server.objects.exists()


def test_who_lacks_a_permission_is_refused_and_changes_nothing(db: None) -> None:
    factories.vserver(factories.service())
    api = outsiders_api()
    for method, path, body in (
        ("GET", "/servers", None),
        ("GET", "/vservers/vserver_DSR", None),
        ("GET", "/vservers/vserver_DSR/state", None),
        ("GET", "/revisions", None),
        ("GET", "/problems", None),
        ("POST", "/servers", {"name": "x", "address": "10.0.0.1"}),
        ("PATCH", "/servers/Server1", {"comment": "x"}),
        ("DELETE", "/vservers/vserver_DSR", None),
        ("POST", "/servers/Server1/disable", {}),
        ("POST", "/revisions/1/rollback", {}),
        ("POST", "/revisions/save", None),
    ):
        told = api(method, path, body)
        assert (api.status, told["status"]) == (403, 403), path
    assert Installation.objects.get().revision == 4
    assert Server.objects.get().state == "ENABLED"


def test_pages_follow_each_other_without_loss(api: Api) -> None:
    for number in range(1, 8):
        factories.server(number)
    seen: list[str] = []
    cursor = ""
    while True:
        page = api("GET", f"/servers?limit=3&cursor={cursor}")
        seen += [one["name"] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"Server{number}" for number in range(1, 8)]
    assert [one["name"] for one in api("GET", "/servers?q=server7")["items"]] == ["Server7"]
    assert api("GET", "/servers?state=DISABLED")["items"] == []


def test_secrets_go_in_and_never_out(api: Api) -> None:
    body = {
        "name": "m",
        "monitor_type": "MYSQL",
        "params": {"user_name": "u", "database": "d", "sql_query": "select 1"},
        "secrets": {"password": "not to be seen"},
    }
    made = api("POST", "/monitors", body)
    assert (api.status, made["secrets_set"], made["params"]["user_name"]) == (201, ["password"], "u")
    api("PATCH", "/monitors/m", {"params": {"user_name": "w"}})
    assert Monitor.objects.get(name="m").secret_names == {"password"}
    for path in ("/monitors/m", "/monitors", "/monitors/m/state", "/revisions/0/to/1"):
        api("GET", path)
        assert api.status == 200
        assert "not to be seen" not in api.answer.content.decode()


def test_disabling_takes_a_delay_and_enabling_ends_it(api: Api) -> None:
    factories.vserver(factories.service())
    made = api("POST", "/services/service_Server1_ANY/disable", {"delay": 60})
    assert (api.status, made["state"]) == (200, "DISABLED")
    assert Service.objects.get().out_of_service_at is not None
    assert api("POST", "/services/service_Server1_ANY/enable")["state"] == "ENABLED"
    assert api("POST", "/vservers/vserver_DSR/disable")["state"] == "DISABLED"


def test_monitors_are_bound_and_unbound(api: Api) -> None:
    factories.service()
    api("POST", "/monitors", {"name": "web", "monitor_type": "HTTP", "dest_port": 80})
    bound = api("PUT", "/services/service_Server1_ANY/monitors/web", {"weight": 5})
    assert (api.status, bound) == (201, {"name": "web", "weight": 5, "state": "ENABLED"})
    bound = api("PUT", "/services/service_Server1_ANY/monitors/web", {"state": "DISABLED"})
    assert (api.status, bound) == (200, {"name": "web", "weight": 5, "state": "DISABLED"})
    api("DELETE", "/services/service_Server1_ANY/monitors/web")
    assert [one["name"] for one in api("GET", "/services/service_Server1_ANY/monitors")] == ["ping-default"]


def test_revisions_are_compared_and_brought_back(api: Api) -> None:
    vserver = factories.vserver(factories.service())
    number = Installation.objects.get().revision
    vservers.update(SYSTEM, vserver, {"comment": "new"})
    (change,) = api("GET", f"/revisions/{number}/to/{number + 1}")
    assert change["fields"] == [{"name": "comment", "before": "–", "after": "new"}]
    told = api("POST", f"/revisions/{number}/rollback", {"expected": number})
    assert (api.status, told["changes"]) == (412, ["changed vserver vserver_DSR by tests"])
    assert api("POST", f"/revisions/{number}/rollback", {"expected": number + 1}) == {"revision": number + 2}
    assert VServer.objects.get().comment == ""
    assert api("POST", "/revisions/save") == {"revision": number + 2}
    assert api("GET", "/revisions/standing")["is_saved"] is True
    assert [one["number"] for one in api("GET", "/revisions?limit=2")["items"]] == [number + 2, number + 1]
    api("POST", "/revisions/trial", {"minutes": 5})
    services.disable(SYSTEM, Service.objects.get())
    assert api("POST", "/revisions/trial/end") == {"revision": number + 4}
    assert Service.objects.get().state == "ENABLED"


def test_settings_are_read_and_changed(api: Api) -> None:
    assert api("GET", "/settings") == {"ttl_rule": False, "forwarding_mode": "AUTO"}
    assert api("PATCH", "/settings", {"ttl_rule": True})["ttl_rule"] is True
    assert Installation.objects.get().ttl_rule is True


def test_the_description_is_openapi_3_1_and_names_every_error(api: Api) -> None:
    found = api("GET", "/openapi.json")
    assert found["openapi"].startswith("3.1")
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert "403" in operation["responses"], (method, path)
            assert operation["summary"]


def test_the_page_tells_every_request_of_the_description(api: Api) -> None:
    page = api.client.get("/api/").content.decode()
    for path, methods in api("GET", "/openapi.json")["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page


def test_a_dry_run_tells_what_would_be_and_changes_nothing(api: Api) -> None:
    vserver = factories.vserver(factories.service(factories.server(1)), factories.service(factories.server(2)))
    revision = Installation.objects.get().revision
    for method, path, body in (
        ("POST", "/servers", {"name": "x", "address": "10.0.0.1"}),
        ("PATCH", "/vservers/vserver_DSR", {"comment": "new"}),
        ("POST", "/vservers/vserver_DSR/disable", None),
        ("POST", "/services/service_Server1_ANY/disable", {"delay": 5}),
        ("DELETE", "/vservers/vserver_DSR", None),
        ("PUT", "/vservers/vserver_DSR/weights", {"weights": {"service_Server1_ANY": 9}}),
        ("PUT", "/vservers/vserver_DSR/services/service_Server1_ANY", {"weight": 9}),
        ("DELETE", "/vservers/vserver_DSR/services/service_Server1_ANY", None),
        ("POST", "/servers/Server1/rename", {"name": "other"}),
        ("PATCH", "/settings", {"ttl_rule": True}),
        ("POST", "/revisions/1/rollback", {}),
    ):
        told = api(method, f"{path}?dry_run=true", body)
        assert (api.status, told["revision"]) == (200, revision), path
        assert told["changes"], path
    assert Installation.objects.get().revision == revision
    vserver.refresh_from_db()
    assert (vserver.comment, vserver.state) == ("", "ENABLED")
    told = api("PATCH", "/vservers/vserver_DSR?dry_run=true", {"netmask": "0.0.0.0"})
    assert (api.status, told["errors"][0]["field"]) == (422, "netmask")


def test_weights_are_set_together(api: Api) -> None:
    factories.vserver(factories.service(factories.server(1)), factories.service(factories.server(2)))
    revision = Installation.objects.get().revision
    told = api(
        "PUT", "/vservers/vserver_DSR/weights", {"weights": {"service_Server1_ANY": 4, "service_Server2_ANY": 2}}
    )
    assert [one["weight"] for one in told] == [4, 2]
    assert Installation.objects.get().revision == revision + 1


def test_the_audit_is_reviewed_page_by_page(api: Api) -> None:
    factories.vserver(factories.service())
    api("PATCH", "/servers/Server1", {"comment": "x"})
    (call,) = api("GET", "/audit?verb=call")["items"]
    assert (call["command"], call["outcome"]) == ("PATCH /api/v1/servers/Server1", "success")
    change, *_others = api("GET", f"/audit?correlation={call['correlation']}&verb=update")["items"]
    assert (change["before"], change["after"], change["interface"]) == ({"comment": ""}, {"comment": "x"}, "api")
    assert api("GET", f"/audit/{change['sequence']}")["hash"] == change["hash"]
    first = api("GET", "/audit?interface=system&limit=2")
    second = api("GET", f"/audit?interface=system&limit=2&cursor={first['next']}")
    assert first["items"][-1]["sequence"] == second["items"][0]["sequence"] + 1
    head = api("GET", "/audit/head")
    assert AuditEntry.objects.get(pk=head["sequence"]).hash == head["hash"]
    assert api("GET", "/audit?verb=nonsense")["status"] == 422
    assert api("GET", "/audit/0")["status"] == 404


def test_a_token_asks_with_its_own_role_alone(db: None) -> None:
    user = factories.owner()
    _row, raw = account.make_token(factories.actor(user), {"name": "t", "scope": "operator", "days": 1})
    api = Api(Client(headers={"Authorization": f"Bearer {raw}"}))
    factories.vserver(factories.service())
    assert api("POST", "/services/service_Server1_ANY/disable", {})["state"] == "DISABLED"
    assert api("PATCH", "/servers/Server1", {"comment": "x"})["status"] == 403
    assert api("GET", "/audit")["status"] == 403
    assert Api(Client(headers={"Authorization": "Bearer hp_nonsense"}))("GET", "/servers")["status"] == 401

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from tests import factories
from webui import queries
from webui.actions import servers
from webui.middleware import POLICY
from webui.models import AuditEntry, Monitor, Server, Service, VServer
from webui.views.kinds import KINDS
from webui.views.objects import Difference

pytestmark = pytest.mark.django_db

SERVER = {"name": "Server1", "address": "10.77.0.11", "state": "ENABLED", "comment": ""}


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.fixture
def outsider(client: Client) -> Client:
    client.force_login(factories.outsider())
    return client


def _page(answer: Any) -> str:
    return str(answer.content.decode())


def _messages(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def _every_address() -> list[str]:
    service = factories.service()
    vserver = factories.vserver(service)
    rows = {"servers": service.server, "services": service, "vservers": vserver, "monitors": factories.monitor()}
    addresses = [reverse("dashboard")]
    for kind, row in rows.items():
        addresses += [reverse(name, args=[kind]) for name in ("list", "add")]
        addresses += [reverse(name, args=[kind, row.pk]) for name in ("detail", "edit", "delete")]
    return addresses


def test_every_page_asks_for_a_login(client: Client) -> None:
    for address in _every_address():
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer.headers["Location"] == f"/login/?next={address}"


def test_every_page_is_shown_to_its_owner_under_the_strict_policy(owner: Client) -> None:
    for address in _every_address():
        answer = owner.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["Content-Security-Policy"] == POLICY
        page = _page(answer)
        assert " style=" not in page
        assert "<style" not in page
        assert " onclick=" not in page


def test_changes_by_someone_not_logged_in_are_sent_to_the_login(client: Client) -> None:
    server = factories.server()
    for name in ("delete", "enable", "disable", "edit"):
        answer = client.post(reverse(name, args=["servers", server.pk]), SERVER)
        assert answer.headers["Location"].startswith("/login/")
    assert Server.objects.get().version == server.version


def test_a_form_without_the_token_is_refused() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(factories.owner())
    answer = strict.post("/servers/add/", SERVER)
    assert answer.status_code == 403
    assert "Form not accepted" in _page(answer)
    assert not Server.objects.exists()


def test_a_state_does_not_change_by_a_link(owner: Client) -> None:
    server = factories.server()
    assert owner.get(reverse("disable", args=["servers", server.pk])).status_code == 405


def test_login_and_logout(client: Client) -> None:
    factories.owner()
    wrong = client.post("/login/", {"username": "owner", "password": "wrong"})
    assert wrong.status_code == 200
    assert "Not logged in" in _page(wrong)
    right = client.post("/login/", {"username": "owner", "password": "owner's password", "next": "/servers/"})
    assert right.headers["Location"] == "/servers/"
    assert client.get("/").status_code == 200
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").headers["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_login_sends_nobody_to_another_site(client: Client) -> None:
    factories.owner()
    given = {"username": "owner", "password": "owner's password", "next": "https://evil.example/"}
    assert client.post("/login/", given).headers["Location"] == "/"


def test_health_of_the_console_is_public(client: Client, django_assert_num_queries: Callable[[int], Any]) -> None:
    with django_assert_num_queries(1):
        answer = client.get("/healthz")
    assert (answer.status_code, _page(answer)) == (200, "ok\n")


def test_health_of_the_console_tells_of_a_database_that_is_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("connection refused at 192.0.2.1")

    monkeypatch.setattr(queries, "database_answers", away)
    answer = client.get("/healthz")
    assert (answer.status_code, _page(answer)) == (503, "The database does not answer.\n")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_object_that_is_not_there_is_not_found(owner: Client, kind: str) -> None:
    for name in ("detail", "edit", "delete"):
        answer = owner.get(reverse(name, args=[kind, 987]))
        assert answer.status_code == 404
        assert "Not found" in _page(answer)


def test_an_error_page_does_not_need_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(queries, "overview", broken)
    client.force_login(factories.owner())
    client.raise_request_exception = False
    answer = client.get("/")
    assert answer.status_code == 500
    assert "Traffic is forwarded all the same" in _page(answer)


ADDED: list[tuple[str, dict[str, Any], type[Any]]] = [
    ("servers", SERVER, Server),
    (
        "vservers",
        {
            "name": "web",
            "service_type": "TCP",
            "address": "10.77.0.20",
            "port": "80",
            "lb_method": "SOURCEIPHASH",
            "netmask": "255.255.255.255",
            "v6_netmask_len": "128",
            "mode": "MAC",
            "sessionless": "ENABLED",
            "conn_failover": "DISABLED",
            "persistence_type": "SOURCEIP",
            "timeout": "5",
            "persist_mask": "255.255.255.0",
            "v6_persist_mask_len": "64",
            "clt_timeout": "300",
            "down_state_flush": "DISABLED",
            "syn_rate": "1000",
            "syn_burst": "0",
            "source_syn_rate": "10",
            "source_syn_burst": "20",
            "source_syn_mask": "255.255.255.0",
            "v6_source_syn_mask_len": "64",
            "ping": "ANSWER",
            "when_down": "REJECT",
            "fail_open": "50",
            "backup_vserver": "",
            "state": "ENABLED",
            "comment": "",
        },
        VServer,
    ),
    (
        "monitors",
        {
            "name": "tcp-8080",
            "monitor_type": "TCP",
            "interval": "5",
            "resp_timeout": "2",
            "retries": "3",
            "failure_retries": "0",
            "success_retries": "1",
            "alert_retries": "0",
            "resp_timeout_thresh": "0",
            "deviation": "0",
            "retry_interval": "0",
            "down_time": "30",
            "dest_port": "8080",
            "state": "ENABLED",
        },
        Monitor,
    ),
]


@pytest.mark.parametrize(("kind", "given", "model"), ADDED, ids=[kind for kind, _given, _model in ADDED])
def test_an_object_is_added_through_its_form(owner: Client, kind: str, given: dict[str, Any], model: type[Any]) -> None:
    answer = owner.post(reverse("add", args=[kind]), given)
    made = model.objects.get(name=given["name"])
    assert answer.headers["Location"] == reverse("detail", args=[kind, made.pk])
    entry = AuditEntry.objects.get(kind=model._meta.model_name, object_id=made.pk)
    assert (entry.actor_name, entry.interface, entry.source_address) == ("owner", "page", "127.0.0.1")


def _service_form(server: Server, **values: Any) -> dict[str, Any]:
    return {
        "name": "web1",
        "server": server.pk,
        "service_type": "TCP",
        "port": "80",
        "usip": "on",
        "health_monitor": "on",
        "mon_threshold": "0",
        "hash_id": "",
        "down_state_flush": "ENABLED",
        "state": "ENABLED",
        "comment": "",
    } | values


@pytest.mark.parametrize(("typed", "port"), [("80", 80), ("*", 0), ("", 0), (" 443 ", 443)])
def test_a_service_is_added_and_a_star_or_nothing_is_any_port(owner: Client, typed: str, port: int) -> None:
    answer = owner.post("/services/add/", _service_form(factories.server(), port=typed))
    assert answer.status_code == 302
    assert Service.objects.get().port == port


@pytest.mark.parametrize("typed", ["65536", "-1", "http", "8 0", "１２", "999999999999999999999"])
def test_a_port_that_is_none_is_refused_with_a_reason(owner: Client, typed: str) -> None:
    answer = owner.post("/services/add/", _service_form(factories.server(), port=typed))
    assert answer.status_code == 422
    assert answer.context["form"].errors["port"] == [f"“{typed}” is not a port: use 1 to 65535, or * for any."]
    assert not Service.objects.exists()


def test_a_star_is_shown_where_any_port_is_meant(owner: Client) -> None:
    service = factories.service()
    page = _page(owner.get(reverse("edit", args=["services", service.pk])))
    assert 'name="port" value="*"' in page


def test_what_cannot_change_is_shown_but_not_taken(owner: Client) -> None:
    service = factories.service()
    other = factories.server(2)
    given = _service_form(other, name="renamed", port="99") | {"version": service.version}
    owner.post(reverse("edit", args=["services", service.pk]), given)
    changed = Service.objects.get()
    assert (changed.name, changed.server_id, changed.port) == ("renamed", service.server_id, 0)


def test_refused_input_stays_in_the_form_and_the_reason_stands_at_its_field(owner: Client) -> None:
    factories.server()
    answer = owner.post("/servers/add/", SERVER | {"name": "Server2", "comment": "kept"})
    assert answer.status_code == 422
    page = _page(answer)
    assert answer.context["form"].errors["address"] == ["10.77.0.11 is the address of server “Server1” already."]
    assert 'id="error-summary"' in page
    assert 'href="#id_address"' in page
    assert 'id="id_address_error"' in page
    assert 'value="kept"' in page
    assert "<title>Error: " in page


def test_an_object_is_changed_and_its_version_grows(owner: Client) -> None:
    server = factories.server()
    given = SERVER | {"comment": "rack 7", "version": server.version}
    answer = owner.post(reverse("edit", args=["servers", server.pk]), given, follow=True)
    assert _messages(answer) == ["Server Server1 was saved."]
    changed = Server.objects.get()
    assert (changed.comment, changed.version) == ("rack 7", server.version + 1)


@pytest.mark.parametrize("version", ["", "x", "0"])
def test_a_form_without_its_version_saves_nothing(owner: Client, version: str) -> None:
    server = factories.server()
    given = SERVER | {"comment": "rack 7", "version": version}
    answer = owner.post(reverse("edit", args=["servers", server.pk]), given)
    assert answer.status_code == 409
    assert Server.objects.get().comment == ""


def test_a_change_by_someone_else_meanwhile_is_shown_and_can_be_overruled(owner: Client) -> None:
    server = factories.server()
    colleague = factories.actor(factories.member())
    servers.update(colleague, server, {"comment": "theirs"})
    address = reverse("edit", args=["servers", server.pk])
    given = SERVER | {"comment": "ours", "version": server.version}
    answer = owner.post(address, given)
    assert answer.status_code == 409
    assert answer.context["differences"] == [Difference("Comment", "–", "theirs", "ours", "both")]
    page = _page(answer)
    assert "member" in page
    assert 'value="ours"' in page
    assert Server.objects.get().comment == "theirs"
    again = owner.post(address, given | {"version": answer.context["version"]})
    assert again.status_code == 302
    assert Server.objects.get().comment == "ours"


def test_a_deletion_is_asked_for_first_and_tells_the_consequences(owner: Client) -> None:
    vserver = factories.vserver(factories.service())
    address = reverse("delete", args=["vservers", vserver.pk])
    page = _page(owner.get(address))
    assert "Clients of 10.77.0.10:* get no answer any more, at once." in page
    assert VServer.objects.exists()
    assert owner.post(address).headers["Location"] == "/vservers/"
    assert not VServer.objects.exists()


def test_a_refused_deletion_says_why(owner: Client) -> None:
    service = factories.service()
    answer = owner.post(reverse("delete", args=["servers", service.server_id]), follow=True)
    assert Server.objects.exists()
    assert "still has services: service_Server1_ANY" in _messages(answer)[0]


def test_an_object_is_disabled_and_enabled(owner: Client) -> None:
    server = factories.server()
    answer = owner.post(reverse("disable", args=["servers", server.pk]), follow=True)
    assert Server.objects.get().state == "DISABLED"
    assert _messages(answer) == ["Server1 is disabled."]
    owner.post(reverse("enable", args=["servers", server.pk]))
    assert Server.objects.get().state == "ENABLED"


def test_someone_without_rights_sees_everything_but_no_buttons(outsider: Client) -> None:
    vserver = factories.vserver(factories.service())
    page = _page(outsider.get(reverse("detail", args=["vservers", vserver.pk])))
    for word in ("Disable", "Edit", "Delete", "Unbind", "Set weight"):
        assert f">{word}" not in page
    assert "Add virtual server" not in _page(outsider.get("/vservers/"))


def test_someone_without_rights_is_told_before_filling_in_a_form(outsider: Client) -> None:
    server = factories.server()
    for address in ("/servers/add/", f"/servers/{server.pk}/edit/", f"/servers/{server.pk}/delete/"):
        answer = outsider.get(address)
        assert answer.status_code == 403
        assert "Your account may not" in _page(answer)


def test_changes_of_someone_without_rights_are_refused_and_recorded(outsider: Client) -> None:
    server = factories.server()
    before = Server.objects.values().get()
    added = outsider.post("/servers/add/", SERVER | {"name": "Server9", "address": "10.77.0.19"})
    assert added.status_code == 403
    assert "webui.add_server is missing" in _page(added)
    edited = outsider.post(f"/servers/{server.pk}/edit/", SERVER | {"comment": "x", "version": server.version})
    assert edited.status_code == 403
    for name in ("delete", "enable", "disable"):
        answer = outsider.post(reverse(name, args=["servers", server.pk]), follow=True)
        assert "is missing" in _messages(answer)[0]
    assert Server.objects.values().get() == before
    assert AuditEntry.objects.filter(verb="refuse", actor=User.objects.get(username="outsider")).count() == 5


def test_a_built_in_monitor_offers_no_change(owner: Client) -> None:
    monitor = Monitor.objects.get(name="ping-default")
    page = _page(owner.get(reverse("detail", args=["monitors", monitor.pk])))
    assert ">Edit" not in page
    assert "Delete" not in page


def test_a_list_is_searched_sorted_and_counted(owner: Client) -> None:
    for number in (1, 2, 3):
        factories.server(number)
    page = _page(owner.get("/servers/?q=server2"))
    assert "1 to 1 of 1 that match, of 3 servers" in page
    assert "Server1" not in page
    page = _page(owner.get("/servers/?sort=-name"))
    assert page.index("Server3") < page.index("Server1")
    assert 'aria-sort="descending"' in page
    assert "No server matches." in _page(owner.get("/servers/?q=nothing+like+it"))


def test_what_was_searched_for_is_shown_as_text(owner: Client) -> None:
    page = _page(owner.get("/servers/", {"q": '"><script>alert(1)</script>'}))
    assert "<script>alert" not in page


@pytest.mark.parametrize("asked", ["?sort=nothing", "?state=nothing", "?sort=url", "?sort=--name"])
def test_a_list_ignores_what_it_does_not_know(owner: Client, asked: str) -> None:
    factories.server()
    assert "Server1" in _page(owner.get("/servers/" + asked))


def test_the_dashboard_says_when_all_is_well_and_when_not(owner: Client) -> None:
    assert "No problem" in _page(owner.get("/"))
    factories.vserver()
    page = _page(owner.get("/"))
    assert "<title>(2) Dashboard – Halfpipe</title>" in page
    assert "no service is bound to it" in page

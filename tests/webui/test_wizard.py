"""A new DSR service in one change, from the form to rows, and what is told about bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests import factories
from webui.models import AuditEntry, HealthState, Installation, Monitor, Server, Service, VServer

pytestmark = pytest.mark.django_db

WEB = {
    "name": "web",
    "address": "10.77.0.10",
    "service_type": "TCP",
    "port": "80",
    "lb_method": "SOURCEIPHASH",
    "sessionless": "ENABLED",
    "rows": "3",
    "row1-name": "alpha",
    "row1-address": "10.77.0.21",
    "row2-name": "",
    "row2-address": "fd77::22",
    "monitor": "",
}
HTTP = {
    "monitor": "new:HTTP",
    "monitor-shown": "HTTP",
    "monitor-name": "",
    "monitor-interval": "2",
    "monitor-interval_unit": "SEC",
    "monitor-resp_timeout": "500",
    "monitor-resp_timeout_unit": "MSEC",
    "monitor-dest_port": "",
    "monitor-http_request": "HEAD /health",
    "monitor-resp_code": "200",
    "monitor-trofs_code": "0",
}
TCP = {name: value for name, value in HTTP.items() if not name.endswith(("_code", "_request"))} | {
    "monitor": "new:TCP",
    "monitor-shown": "TCP",
}


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _page(answer: Any) -> str:
    return str(answer.content.decode())


def _errors(answer: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for form in answer.context["wizard"].forms:
        found |= {form.add_prefix(name): list(texts) for name, texts in form.errors.items()}
    return found


def _nothing() -> bool:
    return not VServer.objects.exists() and not Service.objects.exists() and not Server.objects.exists()


def test_the_form_begins_with_sensible_defaults_and_explains_each_field(owner: Client) -> None:
    page = _page(owner.get("/new/"))
    assert 'name="port" value="80"' in page
    for option in ("TCP", "SOURCEIPHASH", "ENABLED"):
        assert f'value="{option}" selected' in page
    for name in ("name", "address", "service_type", "port", "lb_method", "sessionless", "monitor"):
        assert f'id="id_{name}_helptext"' in page


def test_everything_is_made_as_one_revision(owner: Client) -> None:
    before = Installation.objects.get().revision
    answer = owner.post("/new/", WEB | HTTP)
    vserver = VServer.objects.get()
    assert answer.headers["Location"] == f"/vservers/{vserver.pk}/verify/"
    assert Installation.objects.get().revision == before + 1
    assert {(row.name, row.address) for row in Server.objects.all()} == {
        ("alpha", "10.77.0.21"),
        ("fd77::22", "fd77::22"),
    }
    bound = {
        (row.name, row.service_type, row.port) for row in Service.objects.filter(vserver_bindings__vserver=vserver)
    }
    assert bound == {("web_alpha", "TCP", 80), ("web_fd77::22", "TCP", 80)}
    monitor = Monitor.objects.get(built_in=False)
    assert (monitor.name, monitor.params["http_request"], monitor.interval) == ("web_http", "HEAD /health", 2)
    assert (monitor.resp_timeout, monitor.resp_timeout_unit) == (500, "MSEC")
    assert HealthState.objects.filter(monitor=monitor, target__vip="10.77.0.10").count() == 2
    assert HealthState.objects.count() == 2
    entries = AuditEntry.objects.filter(actor_name="owner")
    assert {entry.revision for entry in entries.exclude(verb="login")} == {before + 1}
    assert sorted(entries.values_list("verb", flat=True)).count("create") == 6


def test_servers_that_are_there_are_ticked_or_named_and_keep_services_that_fit(owner: Client) -> None:
    one, two, three = (factories.server(number) for number in (1, 2, 3))
    there = factories.service(one, service_type="TCP", port=80)
    given = {name: value for name, value in WEB.items() if not name.startswith("row")}
    rows = {"rows": "3", "row1-name": "SERVER2", "row1-address": "", "row2-name": "", "row2-address": three.address}
    owner.post("/new/", given | rows | {"servers": [one.pk]})
    vserver = VServer.objects.get()
    bound = Service.objects.filter(vserver_bindings__vserver=vserver)
    assert {row.server for row in bound} == {one, two, three}
    assert there in bound
    assert Server.objects.count() == 3
    assert there.version == Service.objects.get(pk=there.pk).version


def test_a_range_gets_services_of_any_port_and_the_default_is_a_ping(owner: Client) -> None:
    owner.post("/new/", WEB | {"port": "8000-8010"})
    assert set(Service.objects.values_list("port", flat=True)) == {0}
    assert set(_monitors()) == {"ping-default"}


def _monitors() -> list[str]:
    return list(Service.objects.values_list("monitor_bindings__monitor__name", flat=True))


def test_a_monitor_that_is_there_checks_the_new_services(owner: Client) -> None:
    monitor = factories.monitor()
    owner.post("/new/", WEB | {"monitor": str(monitor.pk)})
    assert set(_monitors()) == {monitor.name}


def test_what_it_would_make_is_told_and_nothing_is_made(owner: Client) -> None:
    before = Installation.objects.get().revision
    answer = owner.post("/new/", WEB | HTTP | {"show": "1"})
    assert answer.status_code == 200
    page = _page(answer)
    assert "Virtual server web: TCP at 10.77.0.10:80, Source IP hash, sessionless enabled." in page
    assert "Service web_alpha: TCP port 80 of alpha, checked by web_http." in page
    assert "ip addr add 10.77.0.10/32 dev lo" in page
    assert "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2" in page
    assert _nothing()
    assert Installation.objects.get().revision == before
    assert not AuditEntry.objects.filter(verb="create").exists()


def test_a_vip_of_ipv6_has_its_own_commands(owner: Client) -> None:
    page = _page(owner.post("/new/", WEB | {"address": "fd77::10", "show": "1"}))
    assert "ip -6 addr add fd77::10/128 dev lo nodad" in page
    assert "arp_ignore" not in page


@pytest.mark.parametrize(
    ("changed", "field", "text"),
    [
        ({"name": ""}, "name", "required"),
        ({"name": "-x"}, "name", "“-x” is not a name"),
        ({"address": "10.77.0.999"}, "address", "“10.77.0.999” is not an IPv4 or IPv6 address."),
        ({"address": "127.0.0.1"}, "address", "127.0.0.1 cannot be the address of a vserver"),
        ({"port": "99999"}, "port", "“99999” is neither a port nor a range"),
        ({"lb_method": "LEASTCONNECTION"}, "lb_method", "LEASTCONNECTION counts flows"),
        ({"row1-address": "10.77.0.10"}, "row1-address", "10.77.0.10 is the VIP of vserver “web”"),
        ({"row2-address": "10.77.0.21"}, "row2-address", "10.77.0.21 is the address of server “alpha” already."),
        ({"row2-name": "Alpha"}, "row2-name", "There is a server “alpha” already"),
        ({"row1-address": ""}, "row1-address", "There is no server “alpha” yet: give its address."),
        ({"row1-address": "x"}, "row1-address", "“x” is not an IPv4 or IPv6 address."),
        ({"row1-name": "", "row1-address": "", "row2-address": ""}, "servers", "tick one or add one"),
        ({"monitor": "new:NONSENSE"}, "monitor", "“new:NONSENSE” is none of"),
        ({"monitor": "987"}, "monitor", "987"),
        (HTTP | {"monitor-interval": "1", "monitor-resp_timeout": "5000"}, "monitor-resp_timeout", "interval"),
        (HTTP | {"monitor-resp_code": "nonsense"}, "monitor-resp_code", "nonsense"),
        (
            TCP | {"port": "*"},
            "monitor-dest_port",
            "has no port to connect to",
        ),
        ({"name": "1web"}, "name", "starts with a digit"),
    ],
)
def test_bad_input_names_field_value_and_rule_and_makes_nothing(
    owner: Client, changed: dict[str, str], field: str, text: str
) -> None:
    given = WEB | changed
    answer = owner.post("/new/", given)
    assert answer.status_code == 422
    assert text in " ".join(_errors(answer).get(field, [])), _errors(answer)
    page = _page(answer)
    assert 'id="error-summary"' in page
    for name, value in given.items():
        if value and name not in {"monitor", "rows"}:
            assert f'value="{value}"' in page, name
    assert _nothing()


def test_all_that_is_wrong_is_told_at_once(owner: Client) -> None:
    factories.server(1)
    wrong = {"address": "127.0.0.1", "row1-address": "10.77.0.11", "row2-address": "224.0.0.1"}
    assert {"address", "row1-address", "row2-address"} <= _errors(owner.post("/new/", WEB | wrong)).keys()
    assert not VServer.objects.exists()


def test_a_server_that_is_chosen_twice_is_refused(owner: Client) -> None:
    server = factories.server()
    given = WEB | {"servers": [server.pk], "row1-name": server.name, "row1-address": ""}
    assert _errors(owner.post("/new/", given)) == {"row1-name": ["Server “Server1” is chosen already."]}


def test_a_service_that_cannot_be_bound_is_told_at_the_servers(owner: Client) -> None:
    service = factories.service(service_type="TCP", port=80, usip=False)
    answer = owner.post("/new/", WEB | {"servers": [service.server_id]})
    assert "has use source IP NO" in _errors(answer)["servers"][0]
    assert not VServer.objects.exists()


def test_more_rows_and_the_parameters_of_a_kind_come_without_errors_and_keep_what_was_typed(owner: Client) -> None:
    answer = owner.post("/new/", WEB | {"name": "", "more": "1"})
    assert answer.status_code == 200
    page = _page(answer)
    assert 'name="row6-address"' in page
    assert 'value="10.77.0.21"' in page
    assert "errorlist" not in page
    page = _page(owner.post("/new/", WEB | {"monitor": "new:HTTP", "choose": "1"}))
    assert 'name="monitor-http_request"' in page
    assert 'name="monitor-shown" value="HTTP"' in page
    assert "errorlist" not in page
    assert _nothing()


def test_parameters_that_nobody_saw_are_shown_before_anything_is_made(owner: Client) -> None:
    answer = owner.post("/new/", WEB | {"monitor": "new:HTTP"})
    assert answer.status_code == 200
    assert 'name="monitor-http_request"' in _page(answer)
    assert _nothing()


@pytest.mark.parametrize("rows", ["", "x", "-1", "9999999", "٣", "999"])
def test_a_number_of_rows_that_cannot_be_is_bounded(owner: Client, rows: str) -> None:
    page = _page(owner.post("/new/", WEB | {"rows": rows, "more": "1"}))
    assert 'name="row3-address"' in page
    assert 'name="row51-address"' not in page


def test_many_servers_are_not_all_listed_but_all_can_be_named(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.wizard_form.OFFERED", 2)
    third = [factories.server(number) for number in (1, 2, 3)][2]
    page = _page(owner.get("/new/"))
    assert "Only the first 2 by name are listed" in page
    assert "Server3" not in page
    owner.post("/new/", WEB | {"row1-name": third.name, "row1-address": ""})
    assert Service.objects.filter(server=third).exists()


def _user(*names: str) -> User:
    user = User.objects.create_user("some", password="some password")
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="webui", codename__in=names))
    return user


@pytest.mark.parametrize(
    ("names", "given", "missing"),
    [
        (("add_service", "add_server"), WEB, "webui.add_vserver"),
        (("add_vserver", "add_server"), WEB, "webui.add_service"),
        (("add_vserver", "add_service"), WEB, "webui.add_server"),
        (("add_vserver", "add_service", "add_server"), WEB | HTTP, "webui.add_monitor"),
    ],
)
def test_it_takes_the_permission_to_add_each_object(
    client: Client, names: tuple[str, ...], given: dict[str, str], missing: str
) -> None:
    client.force_login(_user(*names))
    answer = client.post("/new/", given)
    assert answer.status_code == 403
    assert f"the permission {missing} is missing" in _page(answer)
    assert AuditEntry.objects.filter(verb="refuse", actor_name="some").count() == 1
    assert _nothing()


def test_who_may_add_makes_it_without_the_permission_to_change(client: Client) -> None:
    client.force_login(_user("add_vserver", "add_service", "add_server", "add_monitor"))
    assert client.post("/new/", WEB | HTTP).status_code == 302
    assert VServer.objects.exists()


def test_who_may_not_is_told_before_filling_it_in_and_finds_no_link(client: Client) -> None:
    client.force_login(factories.outsider())
    assert client.get("/new/").status_code == 403
    assert client.post("/new/", WEB | {"show": "1"}).status_code == 403
    assert set(AuditEntry.objects.filter(verb="refuse").values_list("kind", flat=True)) == {"page"}
    for address in ("/", "/vservers/", "/servers/"):
        assert "/new/" not in _page(client.get(address))


def test_empty_pages_lead_to_it(owner: Client) -> None:
    for address in ("/", "/vservers/", "/services/", "/servers/"):
        assert 'href="/new/"' in _page(owner.get(address)), address
    factories.vserver(factories.service())
    assert 'href="/new/"' not in _page(owner.get("/"))
    assert 'href="/new/"' in _page(owner.get("/vservers/"))


def test_the_form_takes_as_many_queries_for_many_servers_as_for_one(
    owner: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    for number in range(1, 9):
        factories.server(number)
    with django_assert_max_num_queries(7):
        owner.get("/new/")

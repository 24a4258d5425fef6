from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests import factories
from webui import consequences
from webui.actions import servers, services, vservers
from webui.choices import State
from webui.models import AuditEntry, HealthState, Monitor, Server, Service, VServer
from webui.world import load_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _page(answer: Any) -> str:
    return str(answer.content.decode())


def _items(*rows: Any) -> list[str]:
    return [f"{row.pk}:{row.version}" for row in rows]


def _results(answer: Any) -> list[tuple[str, bool, str]]:
    return [(one["name"], one["ok"], one["text"]) for one in answer.context["outcome"]["results"]]


def _asked(**given: Any) -> dict[str, Any]:
    """What a query string is made of."""
    return given


def _pair() -> list[Service]:
    bound = [factories.service(factories.server(number)) for number in (1, 2)]
    factories.vserver(*bound)
    HealthState.objects.update(state=State.UP)
    return bound


def test_what_happens_is_asked_first_and_nothing_changes_by_asking(owner: Client) -> None:
    one, two = _pair()
    page = _page(owner.get("/services/bulk/", _asked(do="disable", pk=[one.pk])))
    assert "vserver_DSR: clients of service_Server1_ANY go to service_Server2_ANY, at once." in page
    page = _page(owner.get("/services/bulk/", _asked(do="disable", pk=[one.pk, two.pk])))
    assert "Disable these 2 services?" in page
    assert page.count("get no answer: no other service is UP, at once.") == 2
    assert not Service.objects.filter(state="DISABLED").exists()


def test_each_is_done_by_itself_with_a_result_and_an_audit_entry(owner: Client) -> None:
    one, two = _pair()
    given = {"do": "disable", "item": _items(one, two), "back": "?q=service&sort=-name"}
    answer = owner.post("/services/bulk/", given, follow=True)
    assert _results(answer) == [(row.name, True, "It is disabled.") for row in (one, two)]
    assert 'href="/services/?q=service&amp;sort=-name"' in _page(answer)
    assert Service.objects.filter(state="DISABLED").count() == 2
    entries = AuditEntry.objects.filter(verb="disable")
    assert {entry.object_id for entry in entries} == {one.pk, two.pk}
    assert len({entry.revision for entry in entries}) == 2
    again = owner.get(answer.redirect_chain[-1][0])  # a reload does nothing twice
    assert _results(again) == _results(answer)
    assert AuditEntry.objects.filter(verb="disable").count() == 2


def test_what_is_refused_leaves_the_others_done(owner: Client) -> None:
    service = factories.service()
    other = factories.server(2)
    answer = owner.post("/servers/bulk/", {"do": "delete", "item": _items(service.server, other)}, follow=True)
    (first, second) = _results(answer)
    assert first[:2] == ("Server1", False)
    assert "still has services: service_Server1_ANY" in first[2]
    assert second == ("Server2", True, "It is deleted.")
    assert [row.name for row in Server.objects.all()] == ["Server1"]


def test_what_someone_changed_or_deleted_meanwhile_stays_as_it_is(owner: Client) -> None:
    one, two = factories.server(1), factories.server(2)
    given = {"do": "delete", "item": _items(one, two)}
    servers.update(factories.SYSTEM, one, {"comment": "keep this one"})
    servers.delete(factories.SYSTEM, two)
    answer = owner.post("/servers/bulk/", given, follow=True)
    assert [ok for _name, ok, _text in _results(answer)] == [False, False]
    assert [text for _name, _ok, text in _results(answer)] == [
        "Someone changed it meanwhile, so nothing was done; look at it again.",
        "It was deleted meanwhile.",
    ]
    assert Server.objects.get().comment == "keep this one"


def test_a_backup_is_deleted_after_what_it_stands_in_for(owner: Client) -> None:
    backup = factories.vserver(name="a_backup", address="10.77.0.30")
    primary = factories.vserver(name="web", backup_vserver=backup)
    told = consequences.of(load_world(), "vservers", "delete", backup.pk)
    assert told == ["It is the backup of web. Give them another or none first."]
    page = _page(owner.get("/vservers/bulk/", _asked(do="delete", pk=[backup.pk, primary.pk])))
    assert "It is the backup" not in page
    answer = owner.post("/vservers/bulk/", {"do": "delete", "item": _items(backup, primary)}, follow=True)
    assert [one[:2] for one in _results(answer)] == [("web", True), ("a_backup", True)]
    assert not VServer.objects.exists()


def test_a_backup_gets_the_clients_of_services_that_go() -> None:
    one, two = _pair()
    backup = factories.vserver(factories.service(factories.server(3)), name="standby", address="10.77.0.30")
    vservers.update(factories.SYSTEM, VServer.objects.get(name="vserver_DSR"), {"backup_vserver": backup})
    HealthState.objects.update(state=State.UP)
    (told,) = consequences.of(load_world(), "services", "disable", one.pk, [one.pk, two.pk])
    assert told.endswith("go to service_Server3_ANY of its backup standby, at once.")


def test_servers_that_go_together_do_not_take_each_others_clients() -> None:
    one, two = _pair()
    (told,) = consequences.of(load_world(), "servers", "disable", one.server_id, [one.server_id, two.server_id])
    assert "get no answer" in told
    (told,) = consequences.of(load_world(), "servers", "disable", one.server_id)
    assert "go to service_Server2_ANY" in told


@pytest.mark.parametrize("deed", ["enable", "disable", "delete"])
def test_every_deed_is_told_for_every_kind(owner: Client, deed: str) -> None:
    one, _two = _pair()
    rows: dict[str, Any] = {
        "servers": one.server,
        "services": one,
        "vservers": VServer.objects.get(),
        "monitors": factories.monitor(),
    }
    for kind, row in rows.items():
        page = _page(owner.get(f"/{kind}/bulk/", _asked(do=deed, pk=row.pk)))
        assert row.name in page
        told = consequences.of(load_world(), kind, deed, row.pk)
        assert told
        assert all(line.endswith(".") for line in told)


def test_what_would_change_nothing_or_is_refused_is_told_beforehand() -> None:
    service = services.disable(factories.SYSTEM, factories.service())
    assert consequences.of(load_world(), "services", "disable", service.pk) == [
        "It is disabled already: nothing changes."
    ]
    built_in = Monitor.objects.get(name="ping-default").pk
    for deed in ("disable", "delete"):
        (told,) = consequences.of(load_world(), "monitors", deed, built_in)
        assert "built in" in told


def test_nothing_selected_is_said_kindly(owner: Client) -> None:
    assert "Tick the boxes of the servers first." in _page(owner.get("/servers/bulk/?do=delete"))
    assert "What was selected is no more." in _page(owner.get("/servers/bulk/?do=delete&pk=99"))


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "?do=explode",
        "?do=delete&pk=x",
        "?do=delete&pk=" + "9" * 30,
        "?do=delete&" + "&".join(f"pk={n}" for n in range(300)),
    ],
)
def test_nonsense_is_a_bad_request_with_a_reason(owner: Client, asked: str) -> None:
    answer = owner.get("/servers/bulk/" + asked)
    assert answer.status_code == 400
    assert "Nothing was changed." in _page(answer)


def test_someone_without_rights_changes_nothing_and_it_is_recorded(client: Client) -> None:
    client.force_login(factories.outsider())
    server = factories.server()
    assert client.get("/servers/bulk/", _asked(do="disable", pk=server.pk)).status_code == 403
    answer = client.post("/servers/bulk/", {"do": "disable", "item": _items(server)}, follow=True)
    assert "is missing" in _results(answer)[0][2]
    assert Server.objects.get().state == "ENABLED"
    assert AuditEntry.objects.filter(verb="refuse", object_id=server.pk).count() == 1


def test_the_way_back_leads_to_the_list_and_nowhere_else(owner: Client) -> None:
    page = _page(owner.get("/servers/bulk/", {"do": "delete", "back": "//evil.example/?q=x"}))
    assert "evil" not in page


def test_a_result_of_somebody_elses_session_is_not_found(owner: Client) -> None:
    server = factories.server()
    answer = owner.post("/servers/bulk/", {"do": "disable", "item": _items(server)})
    other = Client()
    other.force_login(factories.outsider())
    gone = other.get(answer.headers["Location"])
    assert gone.status_code == 404
    assert "not kept any more" in _page(gone)

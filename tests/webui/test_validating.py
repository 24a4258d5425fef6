"""Forms are checked while they are filled in, by the rules of saving, and nothing changes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from tests import factories
from tests.webui.test_wizard import HTTP, WEB
from webui import dryrun, wake
from webui.actions import monitors, servers
from webui.models import AuditEntry, Installation, Monitor, Server, VServer

pytestmark = pytest.mark.django_db

SERVER = {"name": "Server1", "address": "10.77.0.11", "state": "ENABLED", "comment": ""}


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _told(answer: Any) -> dict[str, str]:
    """Texts by field; an empty one takes back what was told before."""
    assert answer.status_code == 200
    found = re.findall(r'<div id="id_(.*?)_live" hx-swap-oob="innerHTML">(.*?)</div>', answer.content.decode(), re.S)
    return {name: " ".join(re.findall(r"<li>(.*?)</li>", html)) for name, html in found}


def test_what_is_typed_is_judged_and_empty_fields_are_left_alone(owner: Client) -> None:
    factories.server()
    told = _told(owner.post("/servers/validate/?field=address", SERVER | {"name": ""}))
    assert told["address"] == "10.77.0.11 is the address of server “Server1” already."
    assert "name" not in told
    told = _told(owner.post("/servers/validate/?field=address", {"address": "10.77.0.999"}))
    assert told == {"address": "“10.77.0.999” is not an IPv4 or IPv6 address."}
    assert _told(owner.post("/servers/validate/?field=name", {"name": ""})) == {"name": "This field is required."}
    assert _told(owner.post("/servers/validate/?field=name", SERVER | {"name": "a", "address": "10.77.0.12"})) == {
        "name": "",
        "address": "",
        "state": "",
    }


def test_nothing_is_changed_told_or_written(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(wake, "wake_dataplane", lambda: calls.append("wake"))
    server = factories.server(comment="as it was")
    revision, entries = Installation.objects.get().revision, AuditEntry.objects.count()
    owner.post("/servers/validate/", SERVER | {"name": "Server2", "address": "10.77.0.12"})
    owner.post(f"/servers/{server.pk}/validate/", SERVER | {"comment": "another"})
    owner.post("/new/validate/", WEB | HTTP)
    assert Server.objects.get().comment == "as it was"
    assert not VServer.objects.exists()
    assert (Installation.objects.get().revision, AuditEntry.objects.count()) == (revision, entries)
    assert calls == []


def test_fields_are_judged_together_and_against_the_object(owner: Client) -> None:
    vserver = factories.vserver()
    values = {"lb_method": "LEASTCONNECTION", "sessionless": "ENABLED", "name": vserver.name}
    told = _told(owner.post(f"/vservers/{vserver.pk}/validate/?field=lb_method", values))
    assert told["lb_method"].startswith("LEASTCONNECTION counts flows")
    assert told["name"] == ""


def test_the_parameters_of_a_monitor_are_judged_and_a_secret_never_comes_back(owner: Client) -> None:
    given = {"name": "x", "monitor_type": "FTP", "user_name": "probe", "password": "very secret", "interval": "1"}
    answer = owner.post("/monitors/validate/?field=resp_timeout", given | {"resp_timeout": "9", "file_name": ""})
    assert _told(answer)
    assert "very secret" not in answer.content.decode()
    assert not Monitor.objects.filter(name="x").exists()
    assert _told(owner.post("/monitors/validate/", {"monitor_type": "NONSENSE"})) == {}


def test_it_takes_the_permission_of_the_change_and_is_not_in_the_audit(client: Client) -> None:
    server = factories.server()
    entries = AuditEntry.objects.count()
    assert client.post("/servers/validate/", SERVER).status_code == 302
    client.force_login(factories.outsider())
    for address in ("/servers/validate/", f"/servers/{server.pk}/validate/", "/new/validate/"):
        assert client.post(address, SERVER).status_code == 403
        assert client.get(address).status_code == (403 if "new" in address else 405)
    client.force_login(factories.member())
    assert client.post("/servers/validate/", SERVER).status_code == 403
    assert client.post(f"/servers/{server.pk}/validate/", SERVER).status_code == 200
    assert AuditEntry.objects.exclude(verb__in=["login", "logout"]).exclude(kind="page").count() == entries
    assert client.post("/servers/987/validate/", SERVER).status_code == 404


def test_what_was_typed_is_text(owner: Client) -> None:
    answer = owner.post("/servers/validate/?field=address", {"address": "<script>"})
    assert "<script>" not in answer.content.decode()


def test_forms_ask_for_it_field_by_field(owner: Client) -> None:
    server = factories.server()
    assert 'hx-post="/servers/validate/?field=address"' in owner.get("/servers/add/").content.decode()
    page = owner.get(f"/servers/{server.pk}/edit/").content.decode()
    assert f'hx-post="/servers/{server.pk}/validate/?field=address"' in page
    assert 'id="id_address_live"' in page
    assert "hx-post" not in owner.get("/monitors/add/").content.decode().split("<main")[1]
    assert 'hx-post="/new/validate/?field=row1-address"' in owner.get("/new/").content.decode()


def test_the_wizard_is_judged_as_a_whole(owner: Client) -> None:
    told = _told(owner.post("/new/validate/?field=row1-address", WEB | {"row1-address": "10.77.0.10"}))
    assert told["row1-address"].startswith("10.77.0.10 is the VIP of vserver “web”")
    told = _told(owner.post("/new/validate/?field=address", {"address": "x", "rows": "3"}))
    assert told["address"] == "“x” is not an IPv4 or IPv6 address."
    assert "name" not in told


def test_a_rehearsal_returns_what_was_made_and_undoes_it_within_a_transaction_too() -> None:
    with transaction.atomic():
        made = dryrun.rehearse(lambda: servers.create(factories.SYSTEM, SERVER))
        kept = monitors.create(factories.SYSTEM, {"name": "kept", "monitor_type": "PING"})
    assert made.name == "Server1"
    assert not Server.objects.exists()
    assert Monitor.objects.filter(pk=kept.pk).exists()

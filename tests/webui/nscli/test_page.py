"""The command line in the browser: by the form alone, by its script's requests, and import and export."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from tests import factories
from webui.models import AuditEntry, Server
from webui.nscli.export import document

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.fixture
def outsider(client: Client) -> Client:
    client.force_login(factories.outsider())
    return client


def test_a_line_is_run_as_who_is_logged_in_without_any_script(owner: Client) -> None:
    page = owner.post(reverse("cli"), {"line": "add server a 10.0.0.1"}).content.decode()
    assert '<p class="cli-line">add server a 10.0.0.1</p><pre> Done' in page
    entry = AuditEntry.objects.get(object_name="a")
    assert (entry.actor_name, entry.interface, entry.source_address) == ("owner", "cli", "127.0.0.1")
    page = owner.post(reverse("cli"), {"line": "add <b> 10.0.0.1"}).content.decode()
    assert 'class="cli-error">ERROR: No such command [add &lt;b&gt;]' in page
    assert 'value="add &lt;b&gt; 10.0.0.1"' in page


def test_the_script_gets_json_in_which_secrets_are_hidden(owner: Client) -> None:
    line = "add lb monitor m FTP -userName u -password secret"
    answer = owner.post(reverse("cli"), {"line": line}, headers={"Accept": "application/json"}).json()
    assert answer == {
        "line": line.replace("secret", "•••"),
        "lines": [" Done"],
        "ok": True,
        "secret": True,
        "closes": False,
    }
    page = owner.post(reverse("cli"), {"line": line}).content.decode()
    assert "secret" not in page
    assert "ERROR" in page


def test_completion_is_a_post_and_names_objects(owner: Client) -> None:
    factories.server()
    answer = owner.post(reverse("cli-complete"), {"line": "show server S"}).json()
    assert answer == {"found": [{"text": "Server1", "length": 1, "about": "name"}]}
    assert owner.get(reverse("cli-complete")).status_code == 405


def test_pages_are_for_who_is_logged_in_and_permissions_hold(client: Client, outsider: Client) -> None:
    assert outsider.get(reverse("cli")).status_code == 200
    answer = outsider.post(reverse("cli"), {"line": "add server a 10.0.0.1"})
    assert "Not authorized to execute this command: outsider may not add a server" in answer.content.decode()
    assert outsider.get(reverse("cli-export")).status_code == 403
    assert "Export ns.conf" not in outsider.get(reverse("cli")).content.decode()
    page = outsider.post(reverse("cli-import"), {"text": "add server a 10.0.0.1", "do": "apply"})
    assert page.status_code == 403
    assert not Server.objects.exists()
    client.logout()
    for name in ("cli", "cli-import", "cli-export"):
        assert client.get(reverse(name)).status_code == 302


def test_an_import_is_shown_line_by_line_before_it_is_applied(owner: Client) -> None:
    text = "add server a 10.0.0.1\nadd ssl certKey x\n"
    page = owner.post(reverse("cli-import"), {"text": text, "do": "try"}).content.decode()
    assert "1 applied, 1 ignored, 0 refused: nothing was changed." in page
    assert 'value="apply"' in page
    assert not Server.objects.exists()
    page = owner.post(reverse("cli-import"), {"text": text, "do": "apply"}).content.decode()
    assert "the applied lines are in the running configuration" in page
    assert Server.objects.get().name == "a"
    again = owner.post(reverse("cli-import"), {"text": text, "do": "apply"})
    assert again.status_code == 422
    assert 'state-no">refused' in again.content.decode()
    assert owner.post(reverse("cli-import"), {"text": text, "do": "apply", "skip": "on"}).status_code == 200


def test_a_file_can_be_uploaded_and_what_is_wrong_with_it_is_told(owner: Client) -> None:
    def upload(data: bytes) -> str:
        return owner.post(reverse("cli-import"), {"file": SimpleUploadedFile("ns.conf", data)}).content.decode()

    assert "1 applied" in upload(b"add server a 10.0.0.1\r\n")
    assert "no UTF-8 text" in upload(b"\xff\xfe")
    assert "larger than 1024 KiB" in upload(b"#" * (1024 * 1024 + 1))
    assert "Choose a file" in owner.post(reverse("cli-import"), {}).content.decode()


def test_the_export_is_a_file_that_can_be_imported(owner: Client) -> None:
    factories.vserver(factories.service())
    answer = owner.get(reverse("cli-export"))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ns.conf"'
    assert answer.content.decode() == document()

"""No secret is ever written to the audit."""

from __future__ import annotations

import json

import pytest

from tests import factories
from tests.factories import SYSTEM
from webui import auditing
from webui.actions import eventtargets, monitors
from webui.actions.base import Actor
from webui.audit import masking
from webui.choices import AuditVerb, Interface
from webui.models import AuditEntry

pytestmark = pytest.mark.django_db

SECRET = "s3cr3t-Value"
SIGNING = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def written() -> str:
    rows = AuditEntry.objects.values("before", "after", "reason", "command", "object_name")
    return json.dumps(list(rows), ensure_ascii=False)


@pytest.mark.parametrize(
    "command",
    [
        f"add lb monitor m MYSQL -userName u -password {SECRET} -sqlQuery 'SELECT 1'",
        f'add lb monitor m MYSQL -PASSWORD "{SECRET} and \\" more" -interval 5',
        f"add lb monitor m RADIUS -radKey {SECRET}",
        f"add lb monitor m USER -secureArgs '{SECRET}'",
        f"set lb monitor m SNMP -snmpCommunity {SECRET}",
        f"add eventtarget hook WEBHOOK -signing-secret {SECRET}",
        f"set system user nsroot {SECRET}",
        f"add system user 'a b' \"{SECRET}\"",
        f"login nsroot {SECRET}",
        f"POST /api/v1/login?password={SECRET}&next=/",
        f"GET /api/v1/servers/?api_key={SECRET}",
        f"curl https://admin:{SECRET}@host/path",
        f'POST /api/v1/login {{"username": "u", "password": "{SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        f"X-NITRO-PASS: {SECRET}",
    ],
)
def test_a_command_is_written_without_its_secrets(command: str) -> None:
    actor = Actor(factories.owner(), Interface.CLI, None, command)
    auditing.note(actor, AuditVerb.CALL, reason="" if command.startswith("login") else f"refused: {command}")
    assert SECRET not in written()
    assert masking.HIDDEN in AuditEntry.objects.get().command


@pytest.mark.parametrize(
    "command",
    [
        "add server Server1 10.0.0.100",
        "add service service_Server1_ANY server1 ANY 80 -usip Yes",
        "bind lb vserver vserver_DSR service_Server1_ANY",
        "set system user nsroot -timeout 900",
        "add lb monitor m HTTP -httpRequest 'HEAD /health?deep=1' -respCode 200-299",
        "show ns ns.conf",
        "set lb monitor tokens TCP -interval 5",
    ],
)
def test_a_command_without_secrets_stays_as_typed(command: str) -> None:
    assert masking.command(command, auditing.secret_names()) == command


def test_fields_that_hold_secrets_are_hidden_however_deep() -> None:
    given = {"password": SECRET, "nested": {"apiKey": SECRET, "list": [{"token": SECRET}]}, "keep": "value"}
    given |= {"secrets": [SECRET], "radkey": SECRET, "comment": f"see https://u:{SECRET}@host/?token={SECRET}"}
    auditing.note(SYSTEM, AuditVerb.UPDATE, kind="monitor", before=given, after={"password": "changed"})
    assert SECRET not in written()
    entry = AuditEntry.objects.get()
    assert (entry.before or {})["keep"] == "value"
    assert entry.after == {"password": "changed"}


def test_secrets_of_monitors_and_targets_stay_out() -> None:
    given = {"name": "db", "monitor_type": "MYSQL", "user_name": "u", "sql_query": "SELECT 1", "password": SECRET}
    monitor = monitors.create(SYSTEM, given)
    monitors.update(SYSTEM, monitor, {"password": SECRET + "2"})
    monitors.delete(SYSTEM, monitor)
    url = f"https://hooks.example/services/T0000000000/abcdefghij0123456789XYZ?token={SECRET}"
    hook = {"name": "hook", "target_type": "WEBHOOK", "url": url, "signing_secret": SIGNING}
    target = eventtargets.create(SYSTEM, hook)
    eventtargets.update(SYSTEM, target, {"url": url.replace("hooks", "other")})
    eventtargets.delete(SYSTEM, target)
    text = written()
    assert SECRET not in text
    assert "abcdefghij0123456789XYZ" not in text
    assert SIGNING not in text
    assert "https://hooks.example/services/T0000000000/•••?•••" in text


def test_what_was_typed_as_a_name_is_masked_too() -> None:
    auditing.note(SYSTEM, AuditVerb.REFUSE, kind="server", object_name=f"https://a:{SECRET}@host")
    assert SECRET not in written()

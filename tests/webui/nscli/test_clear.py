"""clear ns config: everything goes at once, when it may and when that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests import factories
from tests.factories import SYSTEM
from webui.actions import revisions
from webui.actions.base import Actor
from webui.choices import Interface, Role
from webui.models import AuditEntry, EventTarget, Monitor, ProbeTarget, Server
from webui.nscli.conf import import_configuration
from webui.nscli.export import configuration
from webui.nscli.prompt import history_path, interact
from webui.nscli.session import Answer, Session
from webui.revisions import standing

pytestmark = pytest.mark.django_db


def filled() -> None:
    """A configuration with everything that refers to something else."""
    text = """
add lb monitor m TCP
add server s1 10.1.0.1
add server s2 10.1.0.2
add service a s1 TCP 80
bind service a -monitorName m
add serviceGroup g TCP
bind serviceGroup g s2 80
bind serviceGroup g -monitorName m
add lb vserver backup TCP 10.2.0.2 80
add lb vserver v TCP 10.2.0.1 80 -backupVServer backup
bind lb vserver v a
bind lb vserver v g
add eventTarget t SYSLOG -host 192.0.2.1
"""
    assert import_configuration(SYSTEM, text, apply=True).done


def test_clear_ns_config_deletes_what_clients_are_balanced_by_as_one_revision() -> None:
    filled()
    before, number = configuration(), standing().revision
    answer = Session(SYSTEM).run("clear config basic -force")
    assert answer.lines == ("8 objects were deleted.", " Done")
    assert not Server.objects.exists()
    assert not ProbeTarget.objects.exists()
    assert set(Monitor.objects.values_list("name", flat=True)) == {"ping-default", "tcp-default"}
    assert EventTarget.objects.exists()
    assert standing().revision == number + 1
    assert Session(SYSTEM).run("clear ns config full -force").lines == ("There was nothing to delete.", " Done")
    assert standing().revision == number + 1
    revisions.rollback(SYSTEM, number)
    assert configuration() == before


@pytest.mark.parametrize("missing", ["vserver", "servicegroup", "service", "server", "monitor"])
def test_clear_ns_config_takes_the_permission_to_delete_each_kind(missing: str) -> None:
    filled()
    user = factories.of_role(Role.NETWORK)
    user.groups.clear()
    wanted = [f"delete_{kind}" for kind in ("vserver", "servicegroup", "service", "server", "monitor")]
    user.user_permissions.set(Permission.objects.filter(codename__in={*wanted} - {f"delete_{missing}"}))
    answer = Session(Actor(user, Interface.CLI)).run("clear ns config basic -force")
    kind = {"servicegroup": "service group"}.get(missing, missing)
    assert answer.lines[0].startswith(
        f"ERROR: Not authorized to execute this command: network may not delete a {kind}:"
    )
    assert Server.objects.count() == 2
    assert AuditEntry.objects.filter(verb="refuse", kind=missing, object_name="*").count() == 1


def test_clear_ns_config_asks_first_or_wants_force() -> None:
    filled()
    session = Session(SYSTEM)
    asked: list[str] = []
    assert "clear ns config -force does it without asking" in session.run("clear ns config basic").lines[0]
    answers = [False, True]

    def confirm(question: str) -> bool:
        asked.append(question)
        return answers.pop(0)

    session.confirm = confirm
    assert session.run("clear ns config extended").lines == ("Nothing was cleared.", " Done")
    assert Server.objects.count() == 2
    assert session.run("clear ns config extended").ok
    assert not Server.objects.exists()
    assert asked == ["Are you sure you want to clear the configuration (Y/N)? [N]: "] * 2
    assert "it is one of basic, extended, full" in session.run("clear ns config some -force").lines[0]


def test_the_interactive_shell_asks_and_keeps_the_answer_out_of_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    factories.server()
    answers: list[Answer] = []
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("clear config basic\nN\nclear config basic\nyes\nclear config basic -force\nexit\n")
        assert interact(Session(SYSTEM), answers.append)
    first = [one.lines[0] for one in answers[:3]]
    assert first == ["Nothing was cleared.", "1 object was deleted.", "There was nothing to delete."]
    assert "+yes" not in history_path().read_text()


def test_an_import_cannot_clear() -> None:
    factories.server()
    report = import_configuration(SYSTEM, "clear ns config basic -force", apply=True)
    assert report.lines[0].why == "it is no line of a saved configuration: clear first, and import then"
    assert Server.objects.exists()

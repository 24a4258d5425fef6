"""manage.py ns, and what it keeps of what was typed."""

from __future__ import annotations

import os
import pwd
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests import factories
from webui.actions.base import Actor
from webui.choices import Interface
from webui.management.commands.ns import actor_named
from webui.models import AuditEntry, Server
from webui.nscli.prompt import FromDatabase, PrivateHistory, history_path, interact
from webui.nscli.session import Answer, Session

pytestmark = pytest.mark.django_db


def run(
    *arguments: str, stdin: str | None = None, monkeypatch: pytest.MonkeyPatch | None = None
) -> tuple[str, str, int]:
    out, err = StringIO(), StringIO()
    if stdin is not None and monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", StringIO(stdin))
    status = 0
    try:
        call_command("ns", *arguments, stdout=out, stderr=err, no_color=True)
    except SystemExit as end:
        status = int(end.code or 0)
    return out.getvalue(), err.getvalue(), status


def test_lines_of_options_run_in_order_and_stop_at_an_error() -> None:
    assert run("-c", "add server a 10.0.0.1", "-c", "show server a") == (
        " Done\nName:    a\tState:ENABLED\nIPAddress:    10.0.0.1\n Done\n",
        "",
        0,
    )
    out, err, status = run("-c", "add server a 10.0.0.2", "-c", "add server b 10.0.0.3")
    assert (out, status) == ("", 1)
    assert err.startswith("ERROR: Invalid argument value [name] There is a server “a” already")
    assert run("-k", "-c", "fly", "-c", "add server b 10.0.0.3")[2] == 1
    assert Server.objects.filter(name="b").exists()
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.actor_name, entry.interface) == (pwd.getpwuid(os.getuid()).pw_name, "cli")


def test_files_and_standard_input_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.conf"
    path.write_text("# first\nadd server a 10.0.0.1\n")
    assert run(str(path)) == (" Done\n", "", 0)
    lines = "add server b 10.0.0.1\nadd server c 10.0.0.3\nexit\nadd server d 10.0.0.4\n"
    assert run(stdin=lines, monkeypatch=monkeypatch)[2] == 1
    assert not Server.objects.filter(name="c").exists()
    assert run("batch", stdin=lines, monkeypatch=monkeypatch)[2] == 1
    assert set(Server.objects.values_list("name", flat=True)) == {"a", "c"}
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run(str(tmp_path / "none"))


def test_a_user_of_the_console_has_the_permissions_of_that_user() -> None:
    factories.outsider()
    out, err, status = run("--user", "outsider", "-c", "add server a 10.0.0.1")
    assert (out, status) == ("", 1)
    assert "outsider may not add a server" in err
    with pytest.raises(CommandError, match="no active user “nobody”"):
        run("--user", "nobody", "-c", "whoami")
    User.objects.filter(username="outsider").update(is_active=False)
    with pytest.raises(CommandError, match="no active user"):
        actor_named("outsider")
    assert not Actor(None, Interface.CLI, command="x").may("webui.add_server")


def test_import_is_dry_until_it_is_applied_and_export_gives_it_back(tmp_path: Path) -> None:
    path, copy = tmp_path / "ns.conf", tmp_path / "copy.conf"
    path.write_text("add server a 10.0.0.1\nadd ssl certKey x\n")
    out, _err, status = run("import", str(path))
    assert status == 0
    assert out.splitlines()[0] == "    1 applied  add server a 10.0.0.1"
    assert out.splitlines()[-1] == "1 applied, 1 ignored, 0 refused: nothing was changed."
    assert not Server.objects.exists()
    assert run("import", str(path), "--apply")[2] == 0
    assert run("import", str(path), "--apply")[2] == 1
    assert run("import", str(path), "--apply", "--skip-refused")[2] == 0
    assert run("export", str(copy)) == ("", "", 0)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert run("export")[0] == copy.read_text()
    assert "add server a 10.0.0.1\n" in copy.read_text()
    for wrong in (["import"], ["export", "a", "b"], ["export", str(tmp_path)]):
        with pytest.raises(CommandError):
            run(*wrong)


def test_the_history_is_the_users_alone_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history"
    history = PrivateHistory(path)
    assert path.stat().st_mode & 0o777 == 0o600
    history.append_string("show server")
    history.append_string("set lb monitor m FTP -password secret")
    assert "show server" in path.read_text()
    assert "secret" not in path.read_text()
    assert history.get_strings() == ["show server"]
    path.chmod(0o644)
    PrivateHistory(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_prompt_runs_lines_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_path() == tmp_path / "halfpipe" / "ns-history"
    answers: list[Answer] = []
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("whoami\nfly\n\nset lb monitor m FTP -password secret\nexit\n")
        assert interact(Session(Actor(None, Interface.CLI, operator="ada")), answers.append)
    assert [one.ok for one in answers] == [True, False, True, False, True]
    assert answers[0].lines[0] == "User: ada"
    text = history_path().read_text()
    assert "whoami" in text
    assert "secret" not in text


def test_completions_come_from_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.nscli.prompt.connections.close_all", lambda: None)  # the test's own is in use
    factories.server()
    found = FromDatabase().get_completions(Document("show server Ser"), CompleteEvent())
    assert [(one.text, one.start_position) for one in found] == [("Server1", -3)]

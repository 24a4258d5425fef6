"""The commands for a first start."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from tests import factories
from webui.models import AuditEntry, HealthState, Installation, Monitor, ProbeTarget, VServer

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_the_example_is_one_vserver_three_servers_and_two_monitors_each() -> None:
    assert "10.77.0.10" in run("load_example")
    vserver = VServer.objects.get()
    assert (vserver.name, vserver.port, vserver.lb_method) == ("vserver_DSR", 0, "SOURCEIPHASH")
    assert vserver.service_bindings.count() == 3
    assert ProbeTarget.objects.count() == 3
    assert HealthState.objects.count() == 6
    assert set(HealthState.objects.values_list("monitor__name", flat=True)) == {"ping", "tcp-80"}
    assert set(AuditEntry.objects.values_list("actor_name", flat=True)) == {"load_example"}


def test_loading_the_example_again_or_over_a_configuration_changes_nothing() -> None:
    factories.server(9)
    before = Installation.objects.get().revision
    assert "left alone" in run("load_example")
    assert Installation.objects.get().revision == before
    assert not VServer.objects.exists()


def test_the_first_start_makes_an_admin_with_a_password_only_the_caller_reads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin-password"
    assert str(path) in run("ensure_admin", "--password-file", str(path))
    password = path.read_text().strip()
    admin = User.objects.get(username="admin")
    assert (admin.is_superuser, admin.check_password(password)) == (True, True)
    assert len(password) >= 20
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_admin_who_exists_is_left_alone_and_a_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "admin-password"
    first = run("ensure_admin", "--password-file", str(path))
    password = path.read_text()
    assert password.strip() not in first
    assert "exists" in run("ensure_admin", "--password-file", str(path))
    assert path.read_text() == password
    path.unlink()
    assert "changepassword admin" in run("ensure_admin", "--password-file", str(path))
    assert not path.exists()


def test_a_link_left_in_the_place_of_the_password_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "admin-password"
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    run("ensure_admin", "--password-file", str(path))
    assert elsewhere.read_text() == "precious"
    assert not path.is_symlink()


def test_without_a_place_for_the_password_there_is_no_admin(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="Cannot write the password file"):
        run("ensure_admin", "--password-file", str(tmp_path / "file" / "x"))
    assert not User.objects.exists()


def test_every_installation_has_its_row_and_both_built_in_monitors() -> None:
    assert Installation.objects.get().revision == 0
    assert set(Monitor.objects.values_list("name", "monitor_type", "built_in")) == {
        ("ping-default", "PING", True),
        ("tcp-default", "TCP", True),
    }

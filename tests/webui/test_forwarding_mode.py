"""The setting of the forwarding mode, and what pages and terminals tell of the modes in use."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from dataplane import snapshot
from dataplane.forwarding import Mode
from tests import factories
from tests.webui.test_vserver_options import refusal
from webui import queries
from webui.actions import installation
from webui.actions.base import Actor
from webui.models import AuditEntry, DataplaneStatus, Installation

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


def report(**interface: Any) -> None:
    shown = {"ifindex": 2, "name": "eth0", "mac": "02:00:00:00:00:02", "up": True, "addresses": [], "attached": True}
    DataplaneStatus.objects.create(
        director="lb1", heartbeat_at=timezone.now(), mode=interface["mode"], interfaces=[shown | interface]
    )


def test_the_mode_is_auto_until_somebody_changes_it_on_the_settings_page(client: Client) -> None:
    assert snapshot.read()[1].mode is Mode.AUTO
    client.force_login(factories.owner())
    page = client.get("/settings/").content.decode()
    assert "auto: XDP where that is safe, else tc" in page
    answer = client.post("/settings/", {"forwarding_mode": "XDP"}, follow=True)
    assert "The settings were saved." in answer.content.decode()
    assert snapshot.read()[1].mode is Mode.XDP
    entry = AuditEntry.objects.get(kind="installation")
    assert (entry.before, entry.after) == ({"forwarding_mode": "AUTO"}, {"forwarding_mode": "XDP"})


@pytest.mark.parametrize("value", ["xdp generic", "", None, "TCX"])
def test_other_modes_are_refused_by_name(value: object) -> None:
    assert list(refusal(installation.update, SYSTEM, {"forwarding_mode": value})) == ["forwarding_mode"]
    assert Installation.objects.get().forwarding_mode == "AUTO"


def test_the_director_shows_each_interfaces_mode_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    report(mode="tc", mode_reason="the driver tg3 has no native XDP", mode_refused=False)
    seen = queries.overview()
    [row] = seen["directors"]
    assert (row["mode"], row["mode_reason"]) == ("tc", "eth0 tc: the driver tg3 has no native XDP")
    assert not [problem for problem in seen["problems"] if "XDP" in problem["text"]]
    call_command("halfpipe_status")
    assert "lb1: eth0 tc: the driver tg3 has no native XDP" in capsys.readouterr().out


def test_xdp_that_was_demanded_and_cannot_be_had_is_a_problem() -> None:
    report(mode="tc", mode_reason="the driver tg3 has no native XDP", mode_refused=True)
    [problem] = [problem for problem in queries.overview()["problems"] if "XDP" in problem["text"]]
    assert problem["what"] == "director lb1"
    assert problem["text"].endswith("cannot be had: eth0 tc: the driver tg3 has no native XDP")


def test_reports_from_before_there_were_modes_are_shown() -> None:
    DataplaneStatus.objects.create(director="old", heartbeat_at=timezone.now(), interfaces=[{"name": "eth0"}])
    [row] = queries.overview()["directors"]
    assert (row["mode"], row["mode_reason"]) == ("tc", "")

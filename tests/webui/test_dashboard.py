"""What the dashboard tells besides states and rates: the last hour, the checks, the directors, and what to do first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests import factories
from webui import auditing, freshness, queries, recent
from webui.actions import servers, services
from webui.choices import State
from webui.models import (
    CheckLease,
    DataplaneStatus,
    DirectorEvent,
    HealthState,
    HealthTransition,
    Installation,
    Server,
    Service,
    VServer,
)
from webui.models.health import SHARDS
from webui.watch import settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> Service:
    """Bound to a virtual server, and so checked by ping-default at its VIP."""
    made = factories.service()
    factories.vserver(made)
    return made


def _recent() -> list[Any]:
    return queries.overview()["recent"]


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _transition(service: Service, **values: Any) -> HealthTransition:
    told = {"monitor_name": "tcp", "vip": "10.77.0.10", "old": State.UP, "new": State.DOWN, "reason": "refused"}
    return HealthTransition.objects.create(service=service, service_name=service.name, **told | values)


def test_the_last_hour_has_changes_transitions_and_alarms_newest_first_with_links(service: Service) -> None:
    vserver = VServer.objects.get()
    now = timezone.now()
    _transition(service, at=now + timedelta(seconds=1))
    settle({f"fail-open {vserver.pk}": "virtual server x: fail-open keeps 1 of 1", "checks": "2 stalled"}, "w1", now)
    found = _recent()
    assert [row["at"] for row in found] == sorted((row["at"] for row in found), reverse=True)
    newest = found[0]
    assert (newest["what"], newest["state"], newest["note"]) == (
        f"service {service.name} at 10.77.0.10",
        State.DOWN,
        "was UP: refused",
    )
    assert (newest["url"], newest["who"]) == (f"/services/{service.pk}/", "monitor tcp")
    alarms = {row["what"]: (row["state"], row["url"], row["who"]) for row in found if row["key"].startswith("event")}
    assert alarms == {
        f"virtual server {vserver.name}": ("ALARM", f"/vservers/{vserver.pk}/", "w1"),
        "checks": ("ALARM", "#part-checks", "w1"),
    }
    changes = {row["what"]: (row["state"], row["url"], row["who"]) for row in found if row["key"].startswith("change")}
    assert changes[f"created vserver {vserver.name}"] == (
        "CHANGED",
        f"/vservers/{vserver.pk}/",
        "tests (system)",
    )


def test_an_alarm_that_is_over_says_so(service: Service) -> None:
    now = timezone.now()
    settle({"checks": "2 stalled"}, "w1", now)
    settle({}, "w1", now)
    states = [row["state"] for row in _recent() if row["key"].startswith("event")]
    assert sorted(states) == ["ALARM", "OVER"]


def test_what_is_older_than_an_hour_is_left_out(service: Service) -> None:
    long_ago = timezone.now() - timedelta(minutes=61)
    _transition(service, at=long_ago)
    DirectorEvent.objects.create(at=long_ago, director="d1", text="The SYN filter ended.")
    entry = auditing.draft(factories.SYSTEM, "create", kind="server", object_name="old")
    entry.at = long_ago
    auditing.append([entry])
    assert {row["key"].partition("-")[0] for row in _recent()} == {"change"}
    assert not any("old" in row["what"] for row in _recent())


def test_the_last_hour_is_bounded(service: Service) -> None:
    for number in range(2 * recent.MOST):
        _transition(service, vip=f"10.77.1.{number}")
    found = _recent()
    assert len(found) == recent.MOST
    assert found[0]["what"].endswith(f"10.77.1.{2 * recent.MOST - 1}")


def test_a_deleted_object_has_no_link() -> None:
    server = factories.server(1)
    pk = server.pk
    servers.delete(factories.SYSTEM, server)
    assert [row["url"] for row in _recent()] == ["", ""]
    assert not Server.objects.filter(pk=pk).exists()


def test_logins_are_no_changes() -> None:
    auditing.note(factories.SYSTEM, "login", kind="user", object_name="ada")
    assert _recent() == []


def _lease(seconds_ago: float = 0, owner: str = "worker1") -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    CheckLease.objects.all().delete()
    CheckLease.objects.bulk_create(CheckLease(shard=shard, owner=owner, renewed_at=at) for shard in range(SHARDS))


def _checks() -> list[Any]:
    return queries.overview()["checks"]


def test_a_worker_whose_results_come_in_time_runs(service: Service) -> None:
    _lease()
    at = timezone.now() - timedelta(seconds=2)
    HealthState.objects.update(checked_at=at, state=State.UP)
    (row,) = _checks()
    interval = HealthState.objects.get().monitor.seconds("interval")
    assert (row["worker"], row["state"], row["total"], row["fresh"], row["stale"], row["waiting"]) == (
        *("worker1", "RUNNING"),
        *(1, 1, 0, 0),
    )
    assert row["per_second"] == round(1 / interval, 2)
    assert row["renewed_at"] is not None


def test_checks_without_a_result_in_time_are_stale_and_new_ones_wait(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "_ask", lambda _pks: {})  # Redis is there, and knows of none
    _lease()
    assert [(row["waiting"], row["stale"]) for row in _checks()] == [(1, 0)]
    long_ago = timezone.now() - timedelta(hours=1)
    HealthState.objects.update(checked_at=long_ago, since=long_ago, state=State.UP)
    for model in (type(HealthState.objects.get().monitor), Service, Server):
        model.objects.update(updated_at=long_ago)
    (row,) = _checks()
    assert (row["state"], row["stale"], row["fresh"], row["per_second"]) == ("STALE", 1, 0, 0.0)


def test_a_worker_that_fell_silent_and_checks_of_nobody_are_told_apart(service: Service) -> None:
    _lease(seconds_ago=20)
    assert [row["state"] for row in _checks()] == ["SILENT"]
    _lease(owner="")
    assert [(row["worker"], row["state"]) for row in _checks()] == [("nobody", "ERROR")]
    CheckLease.objects.all().delete()
    assert [(row["worker"], row["state"]) for row in _checks()] == [("nobody", "ERROR")]


def test_what_is_not_to_run_is_no_check(service: Service) -> None:
    _lease()
    services.disable(factories.SYSTEM, service)
    assert _checks() == []


def test_a_director_says_which_revision_it_has_applied_since_when_and_whether_it_is_the_current_one() -> None:
    factories.server(1)
    newest, at = Installation.objects.get(pk=1).revision, timezone.now()
    DataplaneStatus.objects.create(
        director="d1", applied_revision=newest, wanted_revision=newest, applied_at=at, heartbeat_at=at, mode="xdp"
    )
    (row,) = queries.overview()["directors"]
    assert (row["revision"], row["revision_note"], row["applied_at"], row["mode"]) == (
        *(str(newest), "the current one"),
        *(at.isoformat(), "xdp"),
    )
    factories.server(2)
    (row,) = queries.overview()["directors"]
    assert row["revision_note"] == f"the current one is {newest + 1}"


def test_servers_that_cannot_be_reached_come_first(service: Service) -> None:
    factories.server(2).paths.create(director="d1", eligible=False, reason="no answer to ARP")
    assert [row["name"] for row in queries.overview()["servers"]] == ["Server2", "Server1"]


def test_an_empty_dashboard_says_what_to_do_to_those_who_may(client: Client, owner: Client) -> None:
    page = owner.get("/").content.decode()
    for address in ("/vservers/add/", "/services/add/", "/servers/add/", "/docs/monitors/"):
        assert f'href="{address}"' in page
    client.force_login(factories.outsider())
    seen = client.get("/").content.decode()
    assert "No virtual server yet." in seen
    assert "/vservers/add/" not in seen

"""Checks that stall: services keep their verdict, are shown as stale, and an alarm says so once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests import factories
from webui import details, freshness, queries, watch
from webui.actions import monitors, services
from webui.choices import EventKind, State
from webui.models import Alarm, DirectorEvent, HealthState, Monitor, Server, Service, ServiceMonitorBinding, VServer
from webui.stale import patience

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=1)


def age(**of: timedelta) -> None:
    """Let everything have been configured a day ago, and checked so long ago."""
    now = timezone.now()
    for model in (Server, Service, VServer, Monitor):
        model._default_manager.update(updated_at=now - LONG_AGO)
    HealthState.objects.update(since=now - LONG_AGO, checked_at=now - of["checked"])


@pytest.fixture
def service() -> Service:
    made = factories.service()
    factories.vserver(made)
    HealthState.objects.update(state=State.UP, response="echo")
    return made


def row() -> Any:
    (found,) = queries.overview()["services"]
    return found


def test_the_patience_is_two_intervals_and_the_response_timeout() -> None:
    monitor = Monitor(interval=5, resp_timeout=2, down_time=30)
    assert patience(monitor, State.UP) == timedelta(seconds=12)
    assert patience(monitor, State.DOWN) == timedelta(seconds=62)


def test_a_service_without_new_results_keeps_its_state_and_is_stale(service: Service) -> None:
    age(checked=timedelta(seconds=11))
    assert (row()["state"], row()["checks"]) == (State.UP, "CURRENT")
    age(checked=timedelta(seconds=13))
    assert (row()["state"], row()["checks"], row()["checks_note"]) == (State.UP, "STALE", "1 of 1 without a new result")
    seen = queries.overview()
    assert seen["vservers"][0]["state_reason"] == "1 of 1 services UP, 1 stale"
    (problem,) = [one for one in seen["problems"] if one["what"] == "checks"]
    assert problem["text"].startswith("1 of 1 checks have no new result (the last came at ")
    (table,) = [one for one in details.detail("services", service.pk).tables if one.name == "health"]
    assert [one["freshness"] for one in table.rows] == ["STALE"]


def test_a_check_that_was_never_run_is_stale_after_the_same_time(service: Service) -> None:
    age(checked=timedelta(0))
    HealthState.objects.update(checked_at=None)
    assert row()["checks"] == "STALE"
    assert "none ever came" in str(queries.overview()["problems"])


def test_a_change_of_what_is_checked_starts_the_time_anew(service: Service) -> None:
    age(checked=timedelta(hours=1))
    services.update(factories.SYSTEM, service, {"comment": "back from repair"})
    assert row()["checks"] == "CURRENT"


@pytest.mark.parametrize("off", ["monitor", "binding", "health_monitor", "service"])
def test_a_check_that_is_not_to_run_is_never_stale(off: str, service: Service) -> None:
    monitor = factories.monitor()
    services.bind_monitor(factories.SYSTEM, service, monitor)
    if off == "monitor":
        monitors.disable(factories.SYSTEM, monitor)
    elif off == "binding":
        ServiceMonitorBinding.objects.update(state="DISABLED")
    elif off == "health_monitor":
        services.update(factories.SYSTEM, service, {"health_monitor": False})
    else:
        services.disable(factories.SYSTEM, service)
    age(checked=timedelta(hours=1))
    assert row()["checks"] == ""
    assert watch.watch("console") == []


def test_the_alarm_begins_once_and_ends_once_whoever_watches(service: Service) -> None:
    age(checked=timedelta(hours=1))
    for who in ("console", "checks", "console"):
        watch.watch(who)
    (event,) = DirectorEvent.objects.all()
    assert (event.kind, event.raised, event.director) == (EventKind.ALARM, True, "console")
    assert event.text.startswith("Alarm: 1 of 1 checks have no new result")
    age(checked=timedelta(0))
    for who in ("checks", "console"):
        watch.watch(who)
    assert [(one.raised, one.director) for one in DirectorEvent.objects.order_by("pk")] == [
        (True, "console"),
        (False, "checks"),
    ]
    assert not Alarm.objects.exists()


def test_a_watcher_that_is_second_raises_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    age(checked=timedelta(hours=1))
    watch.watch("console")
    # It read the alarms before the first one wrote.
    monkeypatch.setattr(Alarm.objects, "values_list", lambda *_names: [])
    assert watch.settle({watch.CHECKS: "again"}, "checks", timezone.now()) == []
    assert DirectorEvent.objects.count() == 1


@pytest.mark.parametrize("number", [1, 501])
def test_latest_results_come_by_row_in_one_query(
    number: int, service: Service, django_assert_num_queries: Callable[..., Any]
) -> None:
    age(checked=timedelta(0))
    (state,) = HealthState.objects.all()
    with django_assert_num_queries(1):
        found = freshness.last_checked([state.pk, *range(10_000, 10_000 + number)])
    assert set(found) == {state.pk}
    assert isinstance(found[state.pk], datetime)


def test_the_pages_show_it(service: Service, client: Client) -> None:
    age(checked=timedelta(hours=1))
    client.force_login(factories.owner())
    for address in ("/", f"/services/{service.pk}/", "/services/"):
        assert 'class="state state-stale"' in client.get(address).content.decode(), address

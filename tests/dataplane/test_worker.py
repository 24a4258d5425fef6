"""The worker's loop over fake ports and real rows: what it reports, and what it survives."""

from __future__ import annotations

import math
import queue
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django import db
from django.utils import timezone

from dataplane import report, snapshot, worker
from dataplane.reconcile import Reconciler
from dataplane.tables import Count, Reason
from tests import factories
from tests.dataplane.network import ETH0, mac_of
from tests.dataplane.test_reconcile import CLIENT, SERVERS
from tests.fakes import FakeLinks, FakeMaps, FakeNeighbours, where
from webui import live, queries
from webui.actions import services, vservers
from webui.models import (
    DataplaneStatus,
    DirectorCounters,
    DirectorEvent,
    HealthState,
    Installation,
    ServerPath,
    Service,
    VServer,
)

pytestmark = pytest.mark.django_db


class FakeKernel:
    def __init__(self) -> None:
        self.maps = FakeMaps()
        self.links = FakeLinks(present=[ETH0])
        self.neighbours = FakeNeighbours(hosts={(2, address): mac_of(address) for address in SERVERS})
        self.removals = 0

    def remove_old(self) -> list[Path]:
        self.removals += 1
        return []


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[live.Event]:
    sent: list[live.Event] = []
    monkeypatch.setattr(live, "publish", sent.append)
    return sent


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def running(kernel: FakeKernel, events: list[live.Event]) -> worker.Worker:
    bound = [factories.service(factories.server(number, address=f"10.77.0.2{number}")) for number in (1, 2, 3)]
    factories.vserver(*bound)
    HealthState.objects.update(state="UP")
    reconciler = Reconciler(kernel.maps, kernel.links, kernel.neighbours, None, ())
    return worker.Worker(kernel, "director", reconciler)  # type: ignore[arg-type]  # a fake of the same shape


def test_a_look_applies_the_rows_and_reports_the_revision(
    running: worker.Worker, kernel: FakeKernel, events: list[live.Event]
) -> None:
    running.look()
    status = DataplaneStatus.objects.get()
    assert where(kernel.maps.tables, CLIENT).reason is Reason.FORWARDED
    assert status.applied_revision == status.wanted_revision == Installation.objects.get().revision
    assert status.last_error == ""
    assert status.interfaces[0]["addresses"] == ["10.77.0.1/24", "fd77::1/64"]
    assert status.interfaces[0]["attached"] is True
    assert "vserver" in status.round_summary
    assert ServerPath.objects.filter(eligible=True).count() == 3
    assert {"type": "live.changed", "what": "director"} in events


def test_a_look_without_news_writes_nothing(
    running: worker.Worker, events: list[live.Event], django_assert_num_queries: Any
) -> None:
    running.look()
    running.look()
    events.clear()
    with django_assert_num_queries(2):  # revision and newest transition
        running.look()
    assert events == []


def test_maps_of_an_older_layout_go_once_and_only_after_a_round_that_worked(
    running: worker.Worker, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = OSError(7, "Argument list too long")
    with monkeypatch.context() as patched:
        patched.setattr(kernel.maps, "apply", Mock(side_effect=refused))
        running.look()
        assert kernel.removals == 0
    running.look()
    running.look()
    assert kernel.removals == 1


def test_maps_of_an_older_layout_that_cannot_be_removed_are_tried_again(
    running: worker.Worker, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(kernel, "remove_old", Mock(side_effect=OSError(16, "Device or resource busy")), raising=True)
        running.look()
    assert "stay for now" in caplog.text
    running.look()
    assert kernel.removals == 1


def test_interfaces_that_cannot_be_read_for_the_report_end_nothing_and_are_reported_by_the_next_round(
    running: worker.Worker, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [(ETH0,), OSError(105, "No buffer space available")]  # for the round, and for its report
    with monkeypatch.context() as patched:
        patched.setattr(FakeLinks, "interfaces", Mock(side_effect=answers))
        running.look()
    assert where(kernel.maps.tables, CLIENT).reason is Reason.FORWARDED
    assert "the next round reports" in caplog.text
    assert not DataplaneStatus.objects.exists()
    running.look()
    assert DataplaneStatus.objects.get().applied_revision == Installation.objects.get().revision


def test_a_verdict_reaches_the_tables(running: worker.Worker, kernel: FakeKernel) -> None:
    running.look()
    HealthState.objects.update(state="DOWN")
    running.mark = None  # as a transition row would move it
    running.look()
    assert where(kernel.maps.tables, CLIENT).reason is Reason.DROP_NO_SERVICE


def test_counters_become_a_row_and_an_event(
    running: worker.Worker, kernel: FakeKernel, events: list[live.Event]
) -> None:
    running.look()
    kernel.maps.send(CLIENT)
    running.count()
    payload = DirectorCounters.objects.get().payload
    assert [item["packets"] for item in payload["vservers"].values()] == [1]
    assert payload["reasons"]["FORWARDED"]["packets"] == 1
    assert events[-1]["type"] == "live.counters"
    heartbeat = DataplaneStatus.objects.get().heartbeat_at
    assert heartbeat is not None
    assert (timezone.now() - heartbeat).total_seconds() < 5


def test_the_database_going_away_leaves_the_tables_alone(
    running: worker.Worker, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running.look()

    def gone() -> Any:
        raise db.OperationalError("the database is away")

    monkeypatch.setattr(snapshot, "mark", gone)
    kernel.neighbours.silent.add((2, SERVERS[0]))  # what the network says is still followed
    running.look()
    assert "forwarding goes on" in caplog.text
    assert len(kernel.maps.tables.services) == 2
    assert where(kernel.maps.tables, CLIENT).reason is Reason.FORWARDED


def test_a_kernel_that_refuses_to_answer_is_reported(
    running: worker.Worker, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Any:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(FakeLinks, "interfaces", lambda _self: refuse())
    running.look()
    assert "Operation not permitted" in DataplaneStatus.objects.get().last_error


@pytest.mark.parametrize(
    ("heard", "same_network"), [(("netlink",), False), ((worker.WAKE,), True), ((worker.WAKE, "netlink"), False)]
)
def test_many_events_make_one_round_and_stop_ends_the_loop(
    running: worker.Worker, monkeypatch: pytest.MonkeyPatch, heard: tuple[str, ...], same_network: bool
) -> None:
    looks = []
    stop = threading.Event()

    def look(_self: worker.Worker, *, same_network: bool) -> None:
        looks.append(same_network)
        stop.set()

    monkeypatch.setattr(worker.Worker, "look", look)
    monkeypatch.setattr(worker.Worker, "count", lambda _self: None)
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    for _ in range(50):
        for event in heard:
            events.put(event)
    started = time.monotonic()
    worker.run(running, events, stop)
    assert looks == [same_network]
    assert events.empty()
    assert time.monotonic() - started < 5


def test_a_delay_that_ends_changes_the_tables_without_any_change_of_rows(
    running: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.look()
    assert running.reconciler.last is not None
    for service in Service.objects.all()[:2]:
        services.disable(factories.SYSTEM, service, 60)
    running.look()
    assert 59 < running.seconds_left() <= 60
    assert report.eligible_count(running.reconciler.last) == (3, 3)
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr("dataplane.worker.timezone.now", lambda: later)
    assert running.seconds_left() == math.inf  # over: nothing to wait for but the next tick
    running.look()
    assert report.eligible_count(running.reconciler.last) == (1, 3)
    assert running.good_until is None


def test_flows_are_counted_by_rows_where_a_vserver_keeps_some(running: worker.Worker, kernel: FakeKernel) -> None:
    vserver = VServer.objects.get()
    running.look()
    kernel.maps.flow_counts = {(vserver.pk, 1): 5, (vserver.pk, 99): 7}
    running.count()
    assert "flows" not in DirectorCounters.objects.get().payload["vservers"][str(vserver.pk)]
    vservers.update(factories.SYSTEM, vserver, {"sessionless": "DISABLED"})
    running.look()
    running.counted_at = running.flows_due = 0.0
    running.count()
    payload = DirectorCounters.objects.get().payload
    first = kernel.maps.tables.services[1].config_id
    flows = {int(row): entry["flows"] for row, entry in payload["services"].items()}
    assert flows == {service.pk: 5 if service.pk == first else 0 for service in Service.objects.all()}
    assert payload["vservers"][str(vserver.pk)]["flows"] == 5


def shares_of(running: worker.Worker) -> dict[str, int]:
    assert running.reconciler.last is not None
    return {service.name: service.share for service in running.reconciler.last.vservers[0].services}


def test_with_least_connections_shares_follow_the_flows(running: worker.Worker, kernel: FakeKernel) -> None:
    vserver = VServer.objects.get()
    vservers.update(factories.SYSTEM, vserver, {"sessionless": "DISABLED", "lb_method": "LEASTCONNECTION"})
    running.look()
    assert set(shares_of(running).values()) == {0}  # nothing is measured yet: by weight
    kernel.maps.flow_counts = {(vserver.pk, 1): 100, (vserver.pk, 2): 200, (vserver.pk, 3): 300}
    running.count()
    running.look()
    first, second, third = (shares_of(running)[name] for name in sorted(shares_of(running)))
    assert 100 == first > second > third >= 1
    vservers.update(factories.SYSTEM, vserver, {"lb_method": "ROUNDROBIN"})
    running.look()
    running.counted_at = 0.0
    running.count()
    running.look()
    assert set(shares_of(running).values()) == {0}


def test_with_lrtm_shares_follow_the_response_times_of_monitors_that_are_up(running: worker.Worker) -> None:
    vservers.update(factories.SYSTEM, VServer.objects.get(), {"lb_method": "LRTM"})
    slow, fast, down = Service.objects.order_by("pk")
    HealthState.objects.filter(service=slow).update(response_time=0.3)
    HealthState.objects.filter(service=fast).update(response_time=0.1)
    HealthState.objects.filter(service=down).update(response_time=0.001, state="DOWN")
    running.look()
    running.count()
    running.look()
    assert shares_of(running) == {slow.name: 33, fast.name: 100, down.name: 0}


def test_a_flood_of_syns_becomes_an_event(running: worker.Worker, kernel: FakeKernel, events: list[live.Event]) -> None:
    running.look()
    running.count()
    events.clear()
    kernel.maps.reason_counts[Reason.DROP_SYN_RATE] = Count(40, 0)
    running.counted_at = 0.0
    running.count()
    event = DirectorEvent.objects.get()
    assert (event.director, event.text) == ("director", "The SYN filter began to drop: 40 SYNs at first.")
    assert {"type": "live.changed", "what": "director"} in events
    assert event.text in [row["what"] for row in queries.overview()["recent"]]

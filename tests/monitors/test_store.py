from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from monitors import store
from monitors.check import Check, Known, Plan, Verdict
from monitors.spec import ProbeResult, ProbeSpec
from tests.monitors import rows
from webui.freshness import Figures
from webui.models import CheckLease, HealthState, HealthTransition, Service, ServiceMonitorBinding
from webui.models.health import SHARDS

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
BAD = ProbeResult(success=False, message="connection refused", duration=0.0002)
SECOND = timedelta(seconds=1)
ALL = range(SHARDS)
ME = "worker 1"


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was told to whom after a commit."""
    heard: list[str] = []
    monkeypatch.setattr(store, "wake_dataplane", lambda: heard.append("dataplane"))
    monkeypatch.setattr(store, "publish", lambda event: heard.append(f"{event['type']} {event['what']}"))
    return heard


@pytest.fixture(autouse=True)
def _mine() -> None:
    CheckLease.objects.bulk_create(CheckLease(shard=n, owner=ME) for n in ALL)


def loaded(now: datetime = NOW) -> list[int]:
    return [plan.pk for plan, _known in store.load(ALL, now)]


def only_check() -> Check:
    ((plan, known),) = store.load(ALL, NOW)
    return Check(plan, known, due=0.0, first=False)


def judge(check: Check, result: ProbeResult, at: datetime = NOW) -> Verdict:
    step, figures = check.take(result, at)
    return Verdict(check, check.plan, step, figures, at)


def test_a_plan_holds_what_the_probe_and_the_machine_need() -> None:
    monitor = rows.monitor(dest_port=8080, resp_timeout=3, interval=7, retries=4, success_retries=2, reverse=True)
    state = rows.health(by=monitor, state="UP", recent="PF", checked_at=NOW, probes=7, failures=2)
    ((plan, known),) = store.load(ALL, NOW)
    assert plan.spec == ProbeSpec("TCP", state.target.address, rows.VIP, 8080, 3.0)
    assert known == Known("UP", "PF", None, 7, 2, NOW)
    assert (plan.thresholds.interval, plan.thresholds.retries, plan.thresholds.success_retries) == (7, 4, 2)
    assert plan.thresholds.reverse
    assert (plan.pk, plan.edition, plan.ends) == (state.pk, state.edition, None)


def test_the_port_is_the_monitors_or_else_the_services_and_none_for_ping() -> None:
    rows.health(of=rows.service(port=69), by=rows.monitor(dest_port=0))
    rows.health(of=rows.service(port=69), by=rows.monitor(monitor_type="PING", dest_port=80))
    assert [plan.spec.port for plan, _known in store.load(ALL, NOW)] == [69, 0]


@pytest.mark.parametrize("shard", [0, 1, SHARDS - 1])
def test_only_the_wanted_shards_are_read(shard: int) -> None:
    pks = {rows.health().pk for _ in range(2 * SHARDS)}
    wanted = {pk for pk in pks if pk % SHARDS == shard}
    assert {plan.pk for plan, _known in store.load([shard], NOW)} == wanted == store.rows_of(shard)
    assert store.load([], NOW) == []


def _disable(thing: Any) -> None:
    thing.state = "DISABLED"
    thing.save()


def _health_monitor_off(state: HealthState) -> None:
    state.service.health_monitor = False
    state.service.save()


@pytest.mark.parametrize(
    "switch_off",
    [
        lambda state: _disable(state.monitor),
        lambda state: _disable(state.service),
        lambda state: _disable(state.service.server),
        lambda state: _disable(state.service.monitor_bindings.get()),
        lambda state: state.service.monitor_bindings.get().delete(),
        _health_monitor_off,
    ],
    ids=["monitor", "service", "server", "binding", "no binding", "health monitoring off"],
)
def test_what_is_switched_off_is_not_checked(switch_off: Callable[[HealthState], object]) -> None:
    state, other = rows.health(), rows.health()
    switch_off(state)
    assert loaded() == [other.pk]
    assert store.rows_of(state.pk % SHARDS) >= {state.pk}  # its figures are kept for when it is switched on


def test_what_is_going_out_of_service_is_checked_until_it_is_out() -> None:
    state = rows.health()
    Service.objects.update(state="DISABLED", out_of_service_at=NOW + 60 * SECOND)
    ((plan, _known),) = store.load(ALL, NOW)
    assert (plan.pk, plan.ends) == (state.pk, NOW + 60 * SECOND)
    assert loaded(NOW + 60 * SECOND) == []


def test_a_binding_of_another_service_does_not_count() -> None:
    monitor = rows.monitor()
    state = rows.health(by=monitor, binding="DISABLED")
    ServiceMonitorBinding.objects.create(service=rows.service(), monitor=monitor)
    assert loaded() == []
    ServiceMonitorBinding.objects.filter(service=state.service).update(state="ENABLED")
    assert loaded() == [state.pk]


@pytest.mark.parametrize("count", [1, 40])
def test_the_configuration_is_read_with_the_same_few_queries_for_any_number_of_rows(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monitor = rows.monitor(monitor_type="ARP", dest_port=0)  # which asks for the server's address too
    for _ in range(count):
        rows.health(by=monitor)
    with django_assert_num_queries(4):
        found = store.load(ALL, NOW)
    assert len({plan.spec.server for plan, _known in found}) == count


def test_a_change_of_state_is_a_row_and_is_told_after_the_commit(
    told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    service = rows.service(name="web")
    state = rows.health(of=service, by=rows.monitor(name="tcp-80"), state="UP", recent="PFF", probes=10, failures=2)
    verdict = judge(only_check(), BAD, NOW + SECOND)
    with django_capture_on_commit_callbacks(execute=True):
        assert store.write([verdict], ME) == [verdict]
        assert told == []
    assert told == ["dataplane", "live.changed health"]
    state.refresh_from_db()
    assert (state.state, state.since, state.checked_at) == ("DOWN", NOW + SECOND, NOW + SECOND)
    assert (state.recent, state.response, state.response_time) == ("PFFF", "connection refused", 0.0002)
    assert (state.probes, state.failures) == (11, 3)
    row = HealthTransition.objects.get()
    assert str(row) == f"web at {rows.VIP}: UP → DOWN (3 checks in a row failed, the last: connection refused)"
    assert (row.at, row.service, row.monitor_name) == (NOW + SECOND, service, "tcp-80")


def test_failures_in_a_row_are_an_alert_once_and_change_no_state(
    told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    since = NOW - 60 * SECOND
    state = rows.health(state="UP", recent="P", since=since, by=rows.monitor(retries=9, alert_retries=2))
    check = only_check()
    verdicts = [judge(check, BAD) for _ in range(4)]
    assert [len(verdict.events()) for verdict in verdicts] == [0, 1, 0, 0]
    with django_capture_on_commit_callbacks(execute=True):
        store.write([verdicts[1]], ME)
    row = HealthTransition.objects.get()
    assert (row.old, row.new) == ("UP", "UP")
    assert row.reason == "alert: 2 checks in a row failed, the last: connection refused"
    assert told == ["live.changed health"]  # the data plane has nothing to do
    state.refresh_from_db()
    assert (state.since, state.recent) == (since, "PFF")


def test_long_words_are_cut_to_the_column() -> None:
    state = rows.health(state="UP", by=rows.monitor(retries=1))
    store.write([judge(only_check(), replace(BAD, message="x" * 300))], ME)
    state.refresh_from_db()
    assert len(state.response) == 255
    assert len(HealthTransition.objects.get().reason) == 255


def test_a_verdict_of_a_worker_that_lost_its_lease_is_not_written() -> None:
    state = rows.health(state="UP", by=rows.monitor(retries=1))
    verdict = judge(only_check(), BAD)
    CheckLease.objects.filter(shard=state.pk % SHARDS).update(owner="another")
    assert store.write([verdict], ME) == []
    state.refresh_from_db()
    assert (state.state, HealthTransition.objects.count()) == ("UP", 0)
    assert store.write([verdict], "another") == [verdict]


def test_a_verdict_on_what_no_longer_counts_is_not_written() -> None:
    state = rows.health(state="UP", by=rows.monitor(retries=1))
    verdict = judge(only_check(), BAD)
    HealthState.objects.update(edition=state.edition + 1)
    assert store.write([verdict], ME) == []
    state.refresh_from_db()
    assert (state.state, HealthTransition.objects.count()) == ("UP", 0)


def test_a_row_that_vanished_is_passed_over_and_the_others_are_written() -> None:
    gone, stays = rows.health(), rows.health()
    verdicts = [judge(Check(plan, known, 0.0, first=True), GOOD) for plan, known in store.load(ALL, NOW)]
    gone.service.delete()
    assert [verdict.plan.pk for verdict in store.write(verdicts, ME)] == [stays.pk]
    assert HealthTransition.objects.get().service == stays.service
    assert not HealthState.objects.filter(pk=gone.pk).exists()


def test_many_verdicts_are_one_transaction(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for _ in range(40):
        rows.health()
    verdicts = [judge(Check(plan, known, 0.0, first=True), GOOD) for plan, known in store.load(ALL, NOW)]
    with django_assert_num_queries(1 + 40 + 1 + 2):  # the leases, rows, transitions; begin and end of a savepoint
        assert len(store.write(verdicts, ME)) == 40


def test_a_monitor_that_learns_averages_what_passed_and_shortens_the_response_timeout() -> None:
    rows.health(by=rows.monitor(lrtm=True, deviation=1, resp_timeout=3), state="UP", recent="P")
    check = only_check()
    assert check.spec.timeout == 3.0
    check.take(replace(GOOD, duration=0.8), NOW)
    assert (check.known.average, check.spec.timeout) == (0.8, 1.8)
    check.take(replace(BAD, duration=1.8), NOW)
    assert check.known.average == 0.8  # a failure says nothing about response times
    _step, figures = check.take(replace(GOOD, duration=1.6), NOW)
    assert figures.average_time == check.known.average == pytest.approx(0.9)
    longer = Check(
        replace(check.plan, learning=replace(check.plan.learning, deviation=9)), check.known, 0.0, first=True
    )
    assert longer.spec.timeout == 3.0


def test_a_monitor_that_does_not_learn_keeps_no_average() -> None:
    rows.health(state="UP", average_time=0.5)
    check = only_check()
    assert check.spec.timeout == 2.0
    check.take(GOOD, NOW)
    assert check.known.average is None


def test_damaged_parameters_of_one_monitor_stop_no_other_check() -> None:
    rows.health(by=rows.monitor(params={"send": ["not", "a", "text"]}))
    rows.health()
    problems = [plan.spec.problem for plan, _known in store.load(ALL, NOW)]
    assert problems == ["The stored parameters are damaged: save the monitor anew.", ""]


FIGURES = Figures(7, NOW, "PF", "refused", 0.1, None, probes=20, failures=1)
ROW = Known("UP", "P", None, 12, 0, NOW - 60 * SECOND)


@pytest.mark.parametrize(
    ("figures", "edition", "recent"),
    [(FIGURES, 7, "PF"), (None, 7, "P"), (FIGURES, 8, "P"), (replace(FIGURES, probes=11), 7, "P")],
    ids=["newer", "Redis was away", "of another question", "older than the row"],
)
def test_redis_tells_where_a_check_stands_if_it_knows_more_than_the_row(
    figures: Figures | None, edition: int, recent: str
) -> None:
    known = store.known_of(ROW, figures, edition)
    assert (known.state, known.recent) == ("UP", recent)


def test_the_revision_is_that_of_the_configuration(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        assert store.revision() == 0


def test_a_plan_that_is_the_same_is_equal() -> None:
    rows.health()
    ((first, _known),) = store.load(ALL, NOW)
    ((second, _known),) = store.load(ALL, NOW)
    assert isinstance(first, Plan)
    assert first == second

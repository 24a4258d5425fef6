from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from monitors import store
from monitors.spec import ProbeResult, ProbeSpec
from monitors.store import Answer, Claim
from tests.monitors import rows
from webui.models import HealthState, HealthTransition, Service, ServiceMonitorBinding

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
BAD = ProbeResult(success=False, message="connection refused", duration=0.0002)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was told to whom after a commit."""
    heard: list[str] = []
    monkeypatch.setattr(store, "wake_dataplane", lambda: heard.append("dataplane"))
    monkeypatch.setattr(store, "publish", lambda event: heard.append(f"{event['type']} {event['what']}"))
    return heard


def only_claim(now: datetime = NOW) -> Claim:
    (claim,) = store.claim(now, 10)
    return claim


def test_a_claim_holds_what_the_probe_and_the_machine_need() -> None:
    monitor = rows.monitor(dest_port=8080, resp_timeout=3, interval=7, retries=4, success_retries=2, reverse=True)
    state = rows.health(NOW, by=monitor, state="UP", recent="PF", checked_at=NOW)
    claim = only_claim()
    assert claim.spec == ProbeSpec("TCP", state.target.address, rows.VIP, 8080, 3.0)
    assert claim.until == NOW + timedelta(seconds=3) + store.MARGIN
    assert (claim.state, claim.recent, claim.first) == ("UP", "PF", False)
    assert (claim.parameters.interval, claim.parameters.retries, claim.parameters.success_retries) == (7, 4, 2)
    assert claim.parameters.reverse
    state.refresh_from_db()
    assert state.claimed_until == claim.until


def test_the_port_is_the_monitors_or_else_the_services_and_none_for_ping() -> None:
    rows.health(NOW, of=rows.service(port=69), by=rows.monitor(dest_port=0))
    assert only_claim().spec.port == 69
    rows.health(NOW, of=rows.service(port=69), by=rows.monitor(monitor_type="PING", dest_port=80))
    assert only_claim().spec.port == 0


def test_a_claimed_row_is_left_until_the_claim_expires() -> None:
    rows.health(NOW)
    claim = only_claim()
    assert store.claim(NOW, 10) == []
    assert store.claim(claim.until - timedelta(microseconds=1), 10) == []
    again = only_claim(claim.until)
    assert again.pk == claim.pk
    assert again.until > claim.until


def test_rows_due_later_are_left_unless_looked_ahead() -> None:
    rows.health(NOW + SECOND)
    assert store.claim(NOW, 10) == []
    (claim,) = store.claim(NOW, 10, ahead=SECOND)
    assert claim.due_at == NOW + SECOND
    assert claim.until == NOW + SECOND + timedelta(seconds=2) + store.MARGIN


def test_those_due_first_come_first_and_no_more_than_the_limit() -> None:
    late, early, middle = (rows.health(NOW - n * SECOND) for n in (1, 3, 2))
    assert [claim.pk for claim in store.claim(NOW, 2)] == [early.pk, middle.pk]
    assert [claim.pk for claim in store.claim(NOW, 2)] == [late.pk]
    assert store.claim(NOW, 0) == []


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
    state = rows.health(NOW)
    other = rows.health(NOW)
    switch_off(state)
    assert [claim.pk for claim in store.claim(NOW, 10)] == [other.pk]


def test_a_binding_of_another_service_does_not_count() -> None:
    monitor = rows.monitor()
    state = rows.health(NOW, by=monitor, binding="DISABLED")
    ServiceMonitorBinding.objects.create(service=rows.service(), monitor=monitor)
    assert store.claim(NOW, 10) == []
    ServiceMonitorBinding.objects.filter(service=state.service).update(state="ENABLED")
    assert only_claim().pk == state.pk


def test_a_result_is_written_with_its_words_and_counts() -> None:
    state = rows.health(NOW, state="UP", recent="P", probes=10, failures=2, since=NOW - 60 * SECOND, checked_at=NOW)
    at = NOW + timedelta(seconds=0.5)
    assert store.record([Answer(only_claim(), BAD, at)]) == []
    state.refresh_from_db()
    assert (state.state, state.recent, state.response) == ("UP", "PF", "connection refused")
    assert (state.probes, state.failures, state.response_time) == (11, 3, 0.0002)
    assert (state.checked_at, state.since, state.claimed_until) == (at, NOW - 60 * SECOND, None)
    assert state.due_at == NOW + 5 * SECOND
    store.record([Answer(only_claim(state.due_at), GOOD, state.due_at)])
    state.refresh_from_db()
    assert (state.probes, state.failures, state.recent) == (12, 3, "PFP")
    assert not HealthTransition.objects.exists()


def test_the_second_check_is_at_the_questions_own_place() -> None:
    state = rows.health(NOW)
    store.record([Answer(only_claim(), GOOD, NOW)])
    state.refresh_from_db()
    assert 2.5 <= (state.due_at - NOW).total_seconds() <= 7.5
    assert state.due_at != NOW + 5 * SECOND


def test_a_change_of_state_is_a_row_and_is_told_after_the_commit(
    told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    monitor = rows.monitor(name="tcp-80")
    service = rows.service(name="web")
    state = rows.health(NOW, of=service, by=monitor, state="UP", recent="PFF", checked_at=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        (transition,) = store.record([Answer(only_claim(), BAD, NOW + SECOND)])
        assert told == []
    assert told == ["dataplane", "live.changed health"]
    assert (transition.old, transition.new) == ("UP", "DOWN")
    state.refresh_from_db()
    assert (state.state, state.since) == ("DOWN", NOW + SECOND)
    assert state.due_at == NOW + 30 * SECOND
    row = HealthTransition.objects.get()
    assert str(row) == f"web at {rows.VIP}: UP → DOWN (3 checks in a row failed, the last: connection refused)"
    assert (row.at, row.service, row.monitor_name) == (NOW + SECOND, service, "tcp-80")


def test_nothing_is_told_when_no_state_changed(
    told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    rows.health(NOW, state="UP")
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        store.record([Answer(only_claim(), GOOD, NOW)])
    assert (told, callbacks) == ([], [])


def test_long_words_are_cut_to_the_column() -> None:
    state = rows.health(NOW, state="UP", by=rows.monitor(retries=1))
    store.record([Answer(only_claim(), replace(BAD, message="x" * 300), NOW)])
    state.refresh_from_db()
    assert len(state.response) == 255
    assert len(HealthTransition.objects.get().reason) == 255


def test_a_result_after_the_claim_expired_and_was_taken_again_is_dropped() -> None:
    state = rows.health(NOW, state="UP", by=rows.monitor(retries=1))
    mine = only_claim()
    others = only_claim(mine.until)
    assert store.record([Answer(mine, BAD, mine.until)]) == []
    state.refresh_from_db()
    assert (state.state, state.probes, state.claimed_until) == ("UP", 0, others.until)
    assert len(store.record([Answer(others, BAD, others.until)])) == 1
    assert store.record([Answer(others, BAD, others.until)]) == []  # once
    assert HealthTransition.objects.count() == 1


def test_a_row_that_vanished_is_passed_over_and_the_others_are_written() -> None:
    gone = rows.health(NOW)
    stays = rows.health(NOW)
    claims = store.claim(NOW, 10)
    gone.service.delete()
    (transition,) = store.record([Answer(claim, GOOD, NOW) for claim in claims])
    assert transition.new == "UP"
    assert HealthTransition.objects.get().service == stays.service
    assert not HealthState.objects.filter(pk=gone.pk).exists()
    assert not Service.objects.filter(pk=gone.service_id).exists()


def test_released_claims_are_free_at_once_unless_another_worker_has_them() -> None:
    rows.health(NOW)
    mine = only_claim()
    store.release([mine])
    others = only_claim()
    store.record([Answer(others, GOOD, NOW)])
    taken = only_claim(NOW + timedelta(minutes=1))
    store.release([mine, others])
    assert HealthState.objects.get().claimed_until == taken.until
    store.release([])


@pytest.mark.parametrize("count", [1, 40])
def test_a_sweep_without_transitions_takes_the_same_few_queries_for_any_number_of_rows(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    slow = rows.monitor(resp_timeout=4)
    fast = rows.monitor()
    for number in range(count):
        rows.health(NOW, state="UP", by=slow if number % 2 else fast)
    with django_assert_num_queries(1):
        assert store.claim(NOW - SECOND, 100) == []  # nothing is due: one read, no write lock
    with django_assert_num_queries(3 + 2):  # look, read, take; begin and end of a savepoint
        claims = store.claim(NOW, 100)
    assert len(claims) == count
    with django_assert_num_queries(2 + 2):  # lock, write
        assert store.record([Answer(claim, GOOD, NOW) for claim in claims]) == []
    assert HealthState.objects.filter(probes=1).count() == count


def test_transitions_take_one_more_query_for_any_number_of_rows(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(40):
        rows.health(NOW)
    claims = store.claim(NOW, 100)
    with django_assert_num_queries(3 + 2):
        assert len(store.record([Answer(claim, GOOD, NOW) for claim in claims])) == 40


def test_failures_in_a_row_are_an_alert_once_and_change_no_state(
    told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    state = rows.health(NOW, state="UP", recent="P", by=rows.monitor(retries=9, alert_retries=2), checked_at=NOW)
    at = NOW
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(4):
            state.refresh_from_db()
            at = max(at, state.due_at)
            assert store.record([Answer(only_claim(at), BAD, at)]) == []
    row = HealthTransition.objects.get()
    assert (row.old, row.new) == ("UP", "UP")
    assert row.reason == "alert: 2 checks in a row failed, the last: connection refused"
    assert told == ["live.changed health"]  # the data plane has nothing to do


def test_a_monitor_that_learns_averages_what_passed_and_shortens_the_response_timeout() -> None:
    monitor = rows.monitor(lrtm=True, deviation=1, resp_timeout=3)
    state = rows.health(NOW, by=monitor, state="UP", recent="P", checked_at=NOW)
    claim = only_claim()
    assert claim.spec.timeout == 3.0
    store.record([Answer(claim, replace(GOOD, duration=0.8), NOW)])
    state.refresh_from_db()
    assert state.average_time == 0.8
    claim = only_claim(state.due_at)
    assert claim.spec.timeout == 1.8
    store.record([Answer(claim, replace(BAD, duration=1.8), state.due_at)])
    state.refresh_from_db()
    assert state.average_time == 0.8  # a failure says nothing about response times
    store.record([Answer(only_claim(state.due_at), replace(GOOD, duration=1.6), state.due_at)])
    state.refresh_from_db()
    assert state.average_time == pytest.approx(0.9)
    monitor.deviation = 9
    monitor.save()
    assert only_claim(state.due_at).spec.timeout == 3.0


def test_a_monitor_that_does_not_learn_keeps_no_average() -> None:
    state = rows.health(NOW, state="UP", average_time=0.5)
    claim = only_claim()
    assert claim.spec.timeout == 2.0
    store.record([Answer(claim, GOOD, NOW)])
    state.refresh_from_db()
    assert state.average_time is None


def test_damaged_parameters_of_one_monitor_stop_no_other_check() -> None:
    rows.health(NOW, by=rows.monitor(params={"send": ["not", "a", "text"]}))
    rows.health(NOW)
    problems = [claim.spec.problem for claim in store.claim(NOW, 10)]
    assert problems == ["The stored parameters are damaged: save the monitor anew.", ""]

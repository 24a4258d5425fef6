from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from monitors import schedule
from monitors.spec import ProbeSpec

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
spacings = st.integers(1, 20940) | st.sampled_from([0.2, 0.35, 1.5])


def spec(number: int = 1, timeout: float = 2.0) -> ProbeSpec:
    return ProbeSpec("TCP", str(IPv4Address("198.18.0.0") + number), "10.0.0.10", 80, timeout)


@given(number=st.integers(1, 60000), spacing=spacings, now=moments)
def test_the_second_check_is_at_the_questions_place_half_to_one_and_a_half_intervals_away(
    number: int, spacing: float, now: datetime
) -> None:
    due = schedule.first_due(spec(number), spacing, now)
    step = timedelta(seconds=spacing)
    assert step / 2 - timedelta(microseconds=1) <= due - now <= step * 1.5
    place = (due - datetime(1970, 1, 1, tzinfo=UTC)) % step
    assert place == schedule.phase(spec(number), spacing)
    assert place < step


def test_rows_with_one_question_fall_due_together() -> None:
    first = schedule.first_due(spec(7), 5, NOW)
    second = schedule.first_due(spec(7), 5, NOW + timedelta(seconds=1))
    assert (second - first) % timedelta(seconds=5) == timedelta(0)


def test_places_are_spread_over_the_interval() -> None:
    tenths = [0] * 10
    for number in range(1, 1001):
        tenths[int(schedule.phase(spec(number), 5) / timedelta(seconds=0.5))] += 1
    assert min(tenths) > 60  # 100 each if perfectly even; 60 is more than four standard deviations away
    assert max(tenths) < 140


def test_places_are_the_same_in_every_process() -> None:
    assert schedule.phase(spec(1), 5) == timedelta(seconds=1, microseconds=615419)


@given(due=moments, spacing=spacings, late=st.floats(0, 1e6))
def test_the_next_check_is_whole_intervals_after_the_due_time_and_the_first_in_the_future(
    due: datetime, spacing: float, late: float
) -> None:
    now = due + timedelta(seconds=late)
    after = schedule.next_due(due, spacing, now)
    step = timedelta(seconds=spacing)
    assert (after - due) % step == timedelta(0)
    assert now < after <= now + step


def test_lateness_does_not_add_up() -> None:
    due = NOW
    for _ in range(100):
        due = schedule.next_due(due, 2, due + timedelta(seconds=0.3))
    assert due == NOW + timedelta(seconds=200)


def test_a_check_that_ran_before_its_due_time_is_not_repeated() -> None:
    assert schedule.next_due(NOW, 5, NOW - timedelta(milliseconds=80)) == NOW + timedelta(seconds=5)


def test_waiting_ends_at_the_due_time() -> None:
    assert schedule.wait(NOW + timedelta(seconds=1.5), NOW) == 1.5
    assert schedule.wait(NOW - timedelta(seconds=1.5), NOW) == 0

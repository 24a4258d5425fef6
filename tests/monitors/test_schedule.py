from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors import schedule
from monitors.spec import ProbeSpec

CLOSE = 1e-6
moments = st.floats(0, 1e8)
spacings = st.integers(1, 20940) | st.sampled_from([0.2, 0.35, 1.5])


def spec(number: int = 1, timeout: float = 2.0) -> ProbeSpec:
    return ProbeSpec("TCP", str(IPv4Address("198.18.0.0") + number), "10.0.0.10", 80, timeout)


@given(number=st.integers(1, 60000), spacing=spacings, now=moments)
def test_the_second_check_is_at_the_questions_place_half_to_one_and_a_half_intervals_away(
    number: int, spacing: float, now: float
) -> None:
    due = schedule.first_due(spec(number), spacing, now)
    assert spacing / 2 - CLOSE <= due - now <= spacing * 1.5 + CLOSE
    away = (due - schedule.phase(spec(number), spacing)) % spacing
    assert min(away, spacing - away) < CLOSE
    assert 0 <= schedule.phase(spec(number), spacing) < spacing


def test_rows_with_one_question_fall_due_together() -> None:
    first, second = schedule.first_due(spec(7), 5, 1000.0), schedule.first_due(spec(7), 5, 1001.0)
    assert (second - first) % 5 == pytest.approx(0)


def test_places_are_spread_over_the_interval() -> None:
    tenths = [0] * 10
    for number in range(1, 1001):
        tenths[int(schedule.phase(spec(number), 5) / 0.5)] += 1
    assert min(tenths) > 60  # 100 each if perfectly even; 60 is more than four standard deviations away
    assert max(tenths) < 140


def test_places_are_the_same_in_every_process() -> None:
    assert schedule.phase(spec(1), 5) == 1.615419


@given(due=moments, spacing=spacings, late=st.floats(0, 1e6))
def test_the_next_check_is_whole_intervals_after_the_due_time_and_the_first_in_the_future(
    due: float, spacing: float, late: float
) -> None:
    now = due + late
    after = schedule.next_due(due, spacing, now)
    away = (after - due) % spacing
    assert min(away, spacing - away) < CLOSE
    assert now - CLOSE < after <= now + spacing + CLOSE


def test_lateness_does_not_add_up() -> None:
    due = 0.0
    for _ in range(100):
        due = schedule.next_due(due, 2, due + 0.3)
    assert due == 200


def test_a_check_that_ran_before_its_due_time_is_not_repeated() -> None:
    assert schedule.next_due(100.0, 5, 99.92) == 105


@pytest.mark.parametrize(
    ("since", "due"),
    [(None, 100), (0.0, 105), (2.0, 103), (5.0, 100), (3600.0, 100), (-0.5, 100), (-86400.0, 100)],
    ids=["unknown", "just now", "a while ago", "an interval ago", "clock stepped on", "clock stepped back", "a day"],
)
def test_a_check_that_is_taken_over_waits_for_the_rest_of_its_interval_at_most(since: float | None, due: float) -> None:
    assert schedule.resumed_due(since, 5, 100.0) == due

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webui.metrics import chart
from webui.metrics.chart import Time

HOUR = Time(int(datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC).timestamp()), 10, UTC, 900)


@given(st.floats(min_value=1e-6, max_value=1e15))
def test_the_top_of_the_axis_is_a_round_number_not_far_above(top: float) -> None:
    assert top <= chart.nice(top) <= top * 2.5001
    assert float(f"{chart.nice(top):.1e}") == pytest.approx(chart.nice(top))


@example([5e-324])
@given(st.lists(st.none() | st.floats(min_value=0, max_value=1e12), min_size=1, max_size=60))
def test_every_point_is_inside_the_box(values: list[float | None]) -> None:
    drawn = chart.draw(values, [], HOUR, str)
    numbers = [pair.split() for pair in drawn.line.replace("M", "L").replace("h1", "").split("L") if pair]
    assert all(chart.LEFT <= float(x) <= chart.WIDTH and chart.TOP <= float(y) <= 130 for x, y in numbers)
    assert len(numbers) == sum(value is not None for value in values)


def test_one_empty_slot_is_bridged_and_two_are_a_gap() -> None:
    assert chart.draw([1, None, 1, 1], [], HOUR, str).line.count("M") == 1
    assert chart.draw([1, 1, None, None, 1, 1], [], HOUR, str).line.count("M") == 2


def test_labels_of_the_time_stand_at_round_times_of_the_zone() -> None:
    ticks = chart.draw([1.0] * 360, [], HOUR, str).down
    assert [tick.label for tick in ticks] == ["12:15", "12:30", "12:45"]
    berlin = ZoneInfo("Europe/Berlin")
    day = Time(int(datetime(2026, 3, 1, 10, 5, tzinfo=berlin).timestamp()), 300, berlin, 6 * 3600)
    assert [tick.label for tick in chart.draw([1.0] * 288, [], day, str).down] == ["12:00", "18:00", "00:00", "06:00"]
    month = Time(int(datetime(2026, 3, 1, 10, tzinfo=berlin).timestamp()), 7200, berlin, 7 * 86400)
    labels = [tick.label for tick in chart.draw([1.0] * 360, [], month, str).down]
    assert len(labels) == 4
    assert all(label.endswith("Mar") for label in labels)


def test_values_that_are_none_or_do_not_match_their_peaks_are_refused() -> None:
    for values, peaks in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="at least one value"):
            chart.draw(values, peaks, HOUR, str)


def test_the_summary_tells_latest_average_and_most() -> None:
    assert chart.summary([1, None, 3, 2, None], [], "{:g}".format) == "now 2, on average 2, at most 3"
    assert chart.summary([1.0, 2.0], [None, 7.0], "{:g}".format) == "now 2, on average 1.5, at most 7"
    assert chart.summary([None], [], str) == "nothing was counted"

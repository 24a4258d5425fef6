"""Readings, points and roll-ups, without rows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.metrics import series
from webui.metrics.series import NOTHING, Point, Points

numbers = st.integers(min_value=0, max_value=2**63)
points = st.builds(Point, *[numbers] * 10)
keys = st.sampled_from(["1", "2", "64", "900"])
buckets = st.dictionaries(keys, points, max_size=4)
counters = st.lists(numbers, min_size=3, max_size=4)  # new flows are not counted everywhere
readings = st.fixed_dictionaries({kind: st.dictionaries(keys, counters, max_size=4) for kind in series.KINDS})


@given(points, points, points)
def test_points_merge_in_any_order_and_grouping(one: Point, two: Point, three: Point) -> None:
    assert series.merge(one, two) == series.merge(two, one)
    assert series.merge(series.merge(one, two), three) == series.merge(one, series.merge(two, three))
    assert series.merge(one, NOTHING) == one


@given(st.lists(buckets, max_size=12), st.integers(min_value=1, max_value=5))
def test_rolling_up_in_steps_is_rolling_up_at_once(fine: list[Points], size: int) -> None:
    coarse = [series.roll_up(fine[begin : begin + size]) for begin in range(0, len(fine), size)]
    assert series.roll_up(coarse) == series.roll_up(fine)


@given(st.lists(buckets, max_size=6))
def test_rolling_up_loses_and_invents_no_packet(fine: list[Points]) -> None:
    rolled = series.roll_up(fine)
    for name in ("ms", "packets", "bytes", "dropped", "flow_ms", "flow_known_ms", "new_flows", "new_flow_ms"):
        was = sum(getattr(point, name) for found in fine for point in found.values())
        assert sum(getattr(point, name) for point in rolled.values()) == was
    assert all(
        rolled[key].peak_packets == max(found[key].peak_packets for found in fine if key in found) for key in rolled
    )


@given(buckets)
def test_packed_points_come_back(found: Points) -> None:
    assert series.unpack(series.pack(found)) == found
    parts = series.blocks(found)
    assert {key: point for part in parts.values() for key, point in part.items()} == found
    assert all(series.block_of(key) == block for block, part in parts.items() for key in part)


@pytest.mark.parametrize("data", [b"", b"x", series.pack_reading({"1": {}}), series._packed([1])])
def test_bytes_that_are_no_points_are_refused(data: bytes) -> None:
    if data == series.pack_reading({"1": {}}):
        assert series.unpack(data) == {"1": NOTHING}
        return
    with pytest.raises(ValueError, match="bytes are"):
        series.unpack(data)


@given(readings, readings, st.integers(min_value=1, max_value=60_000))
def test_nothing_is_counted_that_no_counter_rose_by(before: series.Reading, after: series.Reading, ms: int) -> None:
    for kind, found in series.between(before, after, ms, {}).items():
        for key, point in found.items():
            was, now = before[kind][key], after[kind][key]
            rose = [b - a for a, b in zip(was, now, strict=False)]
            counted = [point.packets, point.bytes, point.dropped] + [point.new_flows] * (point.new_flow_ms > 0)
            assert counted == rose
            assert min(rose) >= 0
            assert point.new_flow_ms == (ms if len(was) == len(now) == 4 else 0)
        went_back = {
            key
            for key in before[kind].keys() & after[kind].keys()
            if any(b < a for a, b in zip(before[kind][key], after[kind][key], strict=False))
        }
        assert found.keys() == (before[kind].keys() & after[kind].keys()) - went_back


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=2, max_size=8))
def test_readings_in_between_change_no_sum_while_counters_rise(steps: list[list[int]]) -> None:
    total = [0, 0, 0, 0]
    rising = []
    for step in steps:
        total = [a + b for a, b in zip(total, step, strict=True)]
        rising.append({"vservers": {"5": list(total)}})
    parts = [series.between(one, two, 1000, {})["vservers"] for one, two in pairwise(rising)]
    whole = series.between(rising[0], rising[-1], 1000 * len(parts), {})["vservers"]["5"]
    summed = series.roll_up(parts)["5"]
    assert summed[:4] == whole[:4]
    assert (summed.new_flows, summed.new_flow_ms) == (whole.new_flows, whole.new_flow_ms)


def test_two_readings_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="0 ms between"):
        series.between({}, {}, 0, {})


def test_a_reading_is_taken_from_a_directors_payload() -> None:
    payload = {
        "vservers": {"5": {"packets": 10, "bytes": 1000, "dropped": 2, "flows": 4}, "6": {"flows": 1}},
        "services": {"7": {"packets": 3, "bytes": 300}, "8": {"packets": 3, "bytes": 300, "new_flows": 2}},
        "reasons": {"FORWARDED": {"packets": 10, "packets_per_second": 1.0}},
    }
    found = series.reading(payload)
    assert found == {
        "vservers": {"5": [10, 1000, 2]},
        "services": {"7": [3, 300, 0], "8": [3, 300, 0, 2]},
        "reasons": {"FORWARDED": [10, 0, 0]},
    }
    assert series.flows(payload) == {"vservers": {"5": 4, "6": 1}, "services": {}}


@pytest.mark.parametrize(("at_ms", "begin"), [(10_000, 0), (10_001, 10), (19_999, 10), (20_000, 10), (20_001, 20)])
def test_what_ends_with_a_bucket_belongs_to_it(at_ms: int, begin: int) -> None:
    assert series.bucket(at_ms, 10) == begin


def test_rates_are_per_second_and_flows_an_average_of_the_time_in_which_they_were_known() -> None:
    rate = series.rate(Point(2000, 10, 500, 4, 9000, 1000, 7, 3000, 3, 1000))
    assert rate == (5.0, 2000.0, 2.0, 9.0, 7, 3000, 3.0)
    assert series.rate(NOTHING) is None
    assert series.rate(Point(1000, 1)).flows is None  # type: ignore[union-attr]  # there is time


def test_two_directors_at_the_same_time_add_up() -> None:
    one, two = series.rate(Point(1000, 10)), series.rate(Point(2000, 10, 0, 0, 6000, 2000))
    both = series.together([one, two, None])
    assert both is not None
    assert (both.packets, both.flows, both.new_flows) == (15.0, 3.0, None)
    assert series.together([one, series.rate(Point(1000, new_flows=4, new_flow_ms=500))]).new_flows == 8.0  # type: ignore[union-attr]  # there is time
    assert series.together([None, None]) is None

"""Recording, rolling up and trimming, over real rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from webui.celery import app
from webui.metrics import read, series, store, tasks
from webui.metrics.store import FINE, HOUR, MINUTE
from webui.models import DirectorCounters, MetricBlock, MetricCursor, Sparklines

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def count(at: datetime, packets: int, director: str = "a", key: str = "5", **more: int) -> None:
    one = {"packets": packets, "bytes": packets * 100, **more}
    payload = {
        "vservers": {key: one | {"dropped": 0}},
        "services": {"7": one},
        "reasons": {"FORWARDED": {"packets": packets, "packets_per_second": 0.0}},
    }
    DirectorCounters.objects.update_or_create(director=director, defaults={"taken_at": at, "payload": payload})


def run(begin: datetime, seconds: int, per_second: int = 100, director: str = "a", first: int = 1000) -> datetime:
    """Counters that rise evenly, recorded every ten seconds; returns the time at the end."""
    at = begin
    for passed in range(0, seconds + 1, 10):
        at = begin + timedelta(seconds=passed)
        count(at, first + passed * per_second, director)
        store.keep(at)
    return at


def packets(step: int, kind: str = series.VSERVERS, **of: Any) -> list[int]:
    rows = MetricBlock.objects.filter(step=step, kind=kind, **of).order_by("at")
    return [point.packets for row in rows for point in series.unpack(bytes(row.data)).values()]


def test_the_first_reading_counts_nothing_and_the_next_what_came_since() -> None:
    run(START, 20)
    assert packets(FINE) == [1000, 1000]
    assert [row.at for row in MetricBlock.objects.filter(kind="vservers").order_by("at")] == [
        START.timestamp(),
        START.timestamp() + 10,
    ]
    assert packets(FINE, "services") == packets(FINE, "reasons") == [1000, 1000]


def test_the_same_reading_is_recorded_once() -> None:
    at = run(START, 10)
    assert store.record(at) == 0
    assert store.record(at + timedelta(seconds=10)) == 0
    assert packets(FINE) == [1000]


def test_a_process_that_was_overtaken_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run(START, 10)
    count(START + timedelta(seconds=20), 3000)
    mine = MetricCursor.objects.get()
    assert store.record(START + timedelta(seconds=20)) == 1
    row = DirectorCounters.objects.get()
    assert store._record(row, mine, START + timedelta(seconds=20)) is False
    assert packets(FINE) == [1000, 1000]


def test_a_write_that_fails_leaves_the_cursor_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    run(START, 10)
    count(START + timedelta(seconds=20), 3000)

    def full(*_args: Any) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_write", full)
        with pytest.raises(OperationalError):
            store.record(START + timedelta(seconds=20))
    assert store.record(START + timedelta(seconds=20)) == 1
    assert packets(FINE) == [1000, 1000]


def test_a_counter_that_began_anew_is_not_counted_twice() -> None:
    run(START, 20)
    count(START + timedelta(seconds=30), 40)
    store.record(START + timedelta(seconds=30))
    count(START + timedelta(seconds=40), 140)
    store.record(START + timedelta(seconds=40))
    assert packets(FINE) == [1000, 1000, 100]


def test_an_object_that_comes_later_does_not_inherit_what_its_counter_held() -> None:
    run(START, 10)
    count(START + timedelta(seconds=20), 50_000, key="6")
    store.record(START + timedelta(seconds=20))
    count(START + timedelta(seconds=30), 50_300, key="6")
    store.record(START + timedelta(seconds=30))
    assert packets(FINE) == [1000, 300]


def test_two_readings_in_one_bucket_add_up() -> None:
    for second, total in ((0, 0), (3, 30), (7, 90)):
        count(START + timedelta(seconds=second), total)
        store.record(START + timedelta(seconds=second))
    [row] = MetricBlock.objects.filter(kind="vservers")
    [point] = series.unpack(bytes(row.data)).values()
    assert (point.packets, point.ms, point.peak_packets) == (90, 7000, 15)


def test_a_long_silence_is_a_gap_and_not_a_lump() -> None:
    run(START, 10)
    later = START + timedelta(minutes=20)
    count(later, 1_000_000)
    store.keep(later)
    count(later + timedelta(seconds=10), 1_000_500)
    store.keep(later + timedelta(seconds=10))
    assert packets(FINE) == [1000, 500]


@pytest.mark.parametrize("jump", [timedelta(hours=-2), timedelta(days=400)])
def test_a_clock_that_jumps_loses_one_reading_and_history_goes_on(jump: timedelta) -> None:
    at = run(START, 120)
    count(at + jump, 999_999)
    store.keep(at + timedelta(seconds=10))
    run(at + timedelta(seconds=20), 300, first=2_000_000)
    assert sum(packets(FINE)) == 12_000 + 30_000
    assert max(packets(MINUTE)) <= 6000


def test_minutes_and_hours_are_the_sums_of_what_they_are_made_of() -> None:
    run(START, 2 * 3600 + 60)
    assert packets(MINUTE)[:120] == [6000] * 120
    assert packets(HOUR) == [360_000, 360_000]
    assert packets(HOUR, "reasons") == [360_000, 360_000]


def test_rolling_up_again_changes_nothing_and_a_minute_waits_until_it_is_complete() -> None:
    at = run(START, 110)
    assert packets(MINUTE) == [6000]
    before = list(MetricBlock.objects.order_by("pk").values_list())
    assert store.roll_up(at) == 0
    assert list(MetricBlock.objects.order_by("pk").values_list()) == before


def test_a_silent_directors_last_minute_is_rolled_up_too() -> None:
    run(START, 30)
    assert store.roll_up(START + timedelta(minutes=5)) == 0
    assert store.roll_up(START + timedelta(minutes=12)) == 1
    assert packets(MINUTE) == [3000]


def test_nothing_is_kept_longer_than_its_time() -> None:
    at = run(START, 300)
    counted = MetricBlock.objects.count()
    assert store.trim(at) == 0
    assert MetricBlock.objects.count() == counted
    store.trim(at + timedelta(hours=2, minutes=1))
    assert not MetricBlock.objects.filter(step=FINE).exists()
    assert packets(MINUTE)
    store.trim(at + timedelta(hours=30, minutes=10))
    assert not MetricBlock.objects.filter(step=MINUTE).exists()
    store.trim(at + timedelta(days=63))
    assert not MetricBlock.objects.exists()
    assert not MetricCursor.objects.exists()


def test_the_number_of_rows_is_bounded_by_the_time_they_are_kept() -> None:
    at = run(START, 3 * 3600)
    kinds = 3
    assert MetricBlock.objects.filter(step=FINE).count() <= kinds * (2 * 360 + 7)
    assert at - START == timedelta(hours=3)


def test_buckets_of_a_wrong_clock_are_removed() -> None:
    store._write("a", HOUR, int(START.timestamp()) + 10 * HOUR, [(("vservers", 0), {"5": series.Point(1, 1)})])
    store.trim(START)
    assert not MetricBlock.objects.exists()


def test_writing_takes_as_many_queries_for_many_objects_as_for_few(
    django_assert_num_queries: Callable[..., Any],
) -> None:
    run(START, 10)
    for number in (1, 60):
        row = DirectorCounters.objects.get()
        row.taken_at += timedelta(seconds=10)
        row.payload["vservers"] = {str(key): {"packets": key, "bytes": 1} for key in range(number)}
        row.save()
        with django_assert_num_queries(7):  # cursors, counters, savepoint, cursor, old, insert, release
            store.record(row.taken_at)


def test_directors_are_summed_and_kept_apart() -> None:
    for passed in range(0, 61, 10):
        at = START + timedelta(seconds=passed)
        count(at, passed * 100, "a")
        count(at, 5000 + passed * 50, "b")
        store.keep(at)
    found = read.history("vservers", "5", read.SPANS["1h"], at)
    assert set(found.directors) == {"a", "b"}
    assert [found.of(name)[-2].packets for name in ("a", "b", "")] == [100.0, 50.0, 150.0]  # type: ignore[union-attr]
    assert found.of("nobody") == [None] * 360


@pytest.mark.parametrize("name", ["1h", "24h", "30d"])
def test_a_span_counts_each_packet_once_although_finer_buckets_hold_it_too(name: str) -> None:
    at = run(START, 3000)
    found = read.history("vservers", "5", read.SPANS[name], at)
    rates = [rate.packets for rate in found.total if rate is not None]
    assert rates
    assert set(rates) == {100.0}
    expected = {"1h": 300, "24h": 10, "30d": 1}[name]
    assert len(rates) == expected


def test_a_history_takes_three_queries_at_most(django_assert_max_num_queries: Callable[..., Any]) -> None:
    at = run(START, 300)
    with django_assert_max_num_queries(3):
        read.history("vservers", "5", read.SPANS["30d"], at)


def test_the_dashboards_lines_are_made_every_minute() -> None:
    at = run(START, 600)
    found = Sparklines.objects.get()
    assert found.until == at
    line, top = found.lines["5"]
    assert line.endswith("fffff")
    assert top == 100.0


def test_the_task_survives_the_database_going_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_now: datetime) -> int:
        raise OperationalError("the database is away")

    monkeypatch.setattr(store, "keep", gone)
    assert tasks.keep() == 0
    assert "the next tick does it" in caplog.text


def test_every_task_of_the_schedule_is_one_that_workers_know() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
    assert "webui.metrics.tasks.keep" in {entry["task"] for entry in app.conf.beat_schedule.values()}

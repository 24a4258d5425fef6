"""Beat's scheduler under a wall clock that is set: every task goes on at its interval."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from webui.beat import Scheduler
from webui.celery import app as halfpipe

HOUR = 3600.0  # seconds


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, app: Celery) -> None:
        self.now = time.time()
        monkeypatch.setattr(time, "time", lambda: self.now)
        start, at = app.now(), self.now
        monkeypatch.setattr(Celery, "now", lambda _app: start + timedelta(seconds=self.now - at))


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    made = Celery("test", broker="memory://", set_as_current=False)
    made.conf.beat_schedule = {
        "often": {"task": "often", "schedule": 1.0},
        "seldom": {"task": "seldom", "schedule": 30.0},
    }
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, app: Celery) -> Clock:
    return Clock(monkeypatch, app)


def scheduler(app: Celery, folder: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    made = Scheduler(app, schedule_filename=str(folder / "schedule"), lazy=True)
    made.setup_schedule()

    def apply_async(entry: Any, **_options: Any) -> None:
        sent.append(entry.name)

    monkeypatch.setattr(made, "apply_async", apply_async)
    return made


def run(beat: Scheduler, clock: Clock, seconds: float) -> None:
    """As the service does: a round, and then a sleep of as long as it says."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += max(0.01, beat.tick())


def counted(sent: list[str]) -> tuple[int, int]:
    found = sent.count("often"), sent.count("seldom")
    sent.clear()
    return found


def test_tasks_go_on_at_their_interval_when_the_clock_is_set_back_or_forward(
    app: Celery, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    beat = scheduler(app, tmp_path, sent, monkeypatch)
    for step in (0, -HOUR, HOUR, -HOUR / 60, -HOUR):
        clock.now += step
        run(beat, clock, 90)
        often, seldom = counted(sent)
        assert 88 <= often <= 93, step
        assert 2 <= seldom <= 4, step


def test_a_start_after_the_clock_was_set_back_sends_within_an_interval(
    app: Celery, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    beat = scheduler(app, tmp_path, sent, monkeypatch)
    run(beat, clock, 35)
    assert counted(sent) != (0, 0)
    beat.close()
    clock.now -= HOUR
    again = scheduler(app, tmp_path, sent, monkeypatch)
    run(again, clock, 35)
    often, seldom = counted(sent)
    assert often >= 33
    assert seldom == 1
    again.close()


def test_beat_of_this_installation_uses_it() -> None:
    assert halfpipe.conf.beat_scheduler == "webui.beat:Scheduler"

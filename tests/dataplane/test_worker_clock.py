"""The dataplane worker, as a process whose wall clock is set back and forth, looks and reports as before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from tests import factories
from tests.factories import SYSTEM
from tests.monitors.conftest import migrated_database, own_database  # noqa: F401 - fixtures
from tests.redis_server import RedisServer
from tests.stepped_clock import SteppedClock
from webui.actions import services
from webui.models import DataplaneStatus, DirectorCounters, HealthState, Installation, Service

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3600  # seconds
LATE = 5.0  # seconds until a tick, which is due each second, is missed; for slow machines

pytestmark = pytest.mark.timeout(120)


def wait_for(true: Callable[[], object], what: str, seconds: float = LATE) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def status() -> DataplaneStatus:
    return DataplaneStatus.objects.get()


def seconds_between(step: int) -> float:
    """Between the worker's last counting and a clock that is set by ``step`` seconds."""
    return abs((timezone.now() + timedelta(seconds=step) - DirectorCounters.objects.get().taken_at).total_seconds())


@pytest.fixture
def clock(
    own_database: str,  # noqa: F811 - a fixture
    redis_server: RedisServer,
    tmp_path: Path,
) -> Iterator[SteppedClock]:
    """That of a worker which runs, and has two services of a vserver."""
    made = SteppedClock(tmp_path)
    factories.vserver(*[factories.service(factories.server(n, address=f"10.77.0.2{n}")) for n in (1, 2)])
    HealthState.objects.update(state="UP")
    own = {
        "HALFPIPE_DATABASE_URL": own_database,
        "HALFPIPE_REDIS_URL": redis_server.url,
        "HALFPIPE_SECRET_KEY_FILE": str(tmp_path / "secret-key"),
    }
    command = [sys.executable, "-m", "tests.dataplane.looking"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | made.environment() | own, stderr=log)
    try:
        wait_for(DirectorCounters.objects.exists, "it reports", 60)
        yield made
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(30)
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def wait_until_applied() -> None:
    wanted = Installation.objects.get().revision
    wait_for(lambda: status().applied_revision == wanted, f"revision {wanted} is applied")
    assert status().last_error == ""


def wait_until_counted_again() -> None:
    taken = DirectorCounters.objects.get().taken_at
    wait_for(lambda: DirectorCounters.objects.get().taken_at != taken, "it counts again")


@pytest.mark.parametrize("steps", [(HOUR, 0), (-HOUR, 0)], ids=["forth and back", "back and forth"])
def test_steps_of_the_wall_clock_delay_neither_changes_nor_reports(clock: SteppedClock, steps: tuple[int, int]) -> None:
    for step in (0, *steps):
        clock.set(step)
        for _tick in range(3):
            wait_until_counted_again()
        assert seconds_between(step) < LATE, f"the worker does not go by a clock that is set to {step} s"
        services.update(SYSTEM, Service.objects.all()[0], {"comment": f"changed at {step} s"})
        wait_until_applied()


def test_a_service_that_leaves_in_half_an_hour_has_left_when_the_clock_is_set_an_hour_forward(
    clock: SteppedClock,
) -> None:
    services.disable(SYSTEM, Service.objects.all()[0], delay=HOUR // 2)
    wait_until_applied()
    wait_until_counted_again()
    before = status().round_summary
    clock.set(HOUR)
    wait_for(lambda: status().round_summary != before, "another round changes something")
    assert "50.0 % of slots change" in status().round_summary

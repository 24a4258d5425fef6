"""Sweeps against real sockets, a database and a Redis, as workers use them; and what may happen to these."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from monitors import keeper as module
from monitors import lease, registry, store, tasks
from monitors.check import Known
from monitors.keeper import Keeper
from monitors.spec import ProbeResult, ProbeSpec
from tests.monitors import rows
from tests.monitors.kinds.servers import by_hand, drip, flood
from tests.redis_server import RedisServer
from webui import freshness
from webui.models import CheckLease, HealthState, HealthTransition, Installation, Monitor, ProbeTarget
from webui.models.health import SHARDS

GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
BAD = ProbeResult(success=False, message="connection refused", duration=0.0002)
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("own_database")


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wakes of the data plane; browsers are told nothing here."""
    heard: list[str] = []
    monkeypatch.setattr(store, "wake_dataplane", lambda: heard.append("wake"))
    monkeypatch.setattr(store, "publish", lambda _event: None)
    return heard


class Probes:
    """Answers as it is told, and notes when each address was asked, and by whom."""

    def __init__(self) -> None:
        self.result = GOOD
        self.takes = 0.0
        self.asked: list[tuple[float, str, str]] = []
        self.under_way: Counter[str] = Counter()
        self.twice: set[str] = set()

    def of(self, name: str) -> Callable[[ProbeSpec], object]:
        async def probe(spec: ProbeSpec) -> ProbeResult:
            self.asked.append((time.monotonic(), spec.address, name))
            self.under_way[spec.address] += 1
            if self.under_way[spec.address] > 1:
                self.twice.add(spec.address)
            try:
                await asyncio.sleep(self.takes)
            finally:
                self.under_way[spec.address] -= 1
            return self.result

        return probe

    def times(self, address: str) -> list[float]:
        return [at for at, asked, _name in self.asked if asked == address]

    def gaps(self, address: str) -> list[float]:
        times = self.times(address)
        return [later - earlier for earlier, later in pairwise(times)]


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def make_keeper(probes: Probes) -> Iterator[Callable[..., Keeper]]:
    made: list[Keeper] = []

    def make(run: object = None, name: str = "worker") -> Keeper:
        made.append(Keeper(run or probes.of(name), name))  # type: ignore[arg-type]  # fakes of several shapes
        return made[-1]

    yield make
    for keeper in made:
        keeper.stop()


def wait_for(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def quick(**values: Any) -> Monitor:
    return rows.monitor(**({"interval": 1, "resp_timeout": 1, "down_time": 1, "retries": 2} | values))


def revise() -> None:
    """As every change of the configuration does."""
    Installation.objects.get_or_create(pk=1)
    row = Installation.objects.get()
    Installation.objects.update(revision=row.revision + 1)


def test_a_sweep_checks_real_sockets_and_writes_what_it_saw(make_keeper: Callable[..., Keeper]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as closed:
        closed_port = closed.getsockname()[1]
        closed.close()
        service = rows.service()
        here = rows.target(service, "127.0.0.1")
        answering = rows.health(of=service, by=rows.monitor(dest_port=server.getsockname()[1]), at=here)
        refused = rows.health(of=service, by=rows.monitor(dest_port=closed_port, retries=1), at=here)
        assert make_keeper(registry.run).sweep() == 2
        wait_for(lambda: HealthTransition.objects.count() == 2)
    answering.refresh_from_db()
    refused.refresh_from_db()
    assert answering.state == "UP"
    assert answering.response.startswith("connected in ")
    assert (refused.state, refused.response) == ("DOWN", "connection refused")
    assert sorted(HealthTransition.objects.values_list("reason", flat=True)) == [
        f"the check failed: {refused.response}",
        f"the check passed: {answering.response}",
    ]


def test_results_of_no_change_are_in_redis_and_nothing_is_written(
    make_keeper: Callable[..., Keeper], redis_server: RedisServer, probes: Probes, woken: list[str]
) -> None:
    row = rows.health(by=quick(), state="UP", probes=5)
    before = HealthState.objects.values().get()
    make_keeper().sweep()
    wait_for(lambda: freshness.figures([row.pk]) and freshness.figures([row.pk])[row.pk].probes >= 8)
    figures = freshness.figures([row.pk])[row.pk]
    assert figures.recent[:3] == "PPP"
    assert figures.response == GOOD.message
    assert HealthState.objects.values().get() == before
    assert (HealthTransition.objects.count(), woken) == (0, [])


def test_a_verdict_is_told_and_checks_go_on_after_it(
    make_keeper: Callable[..., Keeper], probes: Probes, woken: list[str]
) -> None:
    row = rows.health(by=quick(), state="UP")
    probes.result = BAD
    make_keeper().sweep()
    wait_for(lambda: HealthTransition.objects.count() == 1)
    probes.result = GOOD
    wait_for(lambda: len(woken) == 2)
    row.refresh_from_db()
    assert (row.state, HealthTransition.objects.count()) == ("UP", 2)


def test_without_beat_a_worker_that_has_begun_goes_on(make_keeper: Callable[..., Keeper], probes: Probes) -> None:
    row = rows.health(by=quick())
    make_keeper().sweep()
    time.sleep(lease.FREE + 2)
    assert max(probes.gaps(row.target.address)) < 1.6
    assert time.monotonic() - probes.times(row.target.address)[-1] < 1.6


def test_an_interval_shorter_than_that_of_the_sweep_is_kept(make_keeper: Callable[..., Keeper], probes: Probes) -> None:
    times = {"interval": 200, "interval_unit": "MSEC", "resp_timeout": 100, "resp_timeout_unit": "MSEC"}
    rows.health(by=quick(**times))
    make_keeper().sweep()
    wait_for(lambda: len(probes.asked) >= 5)
    assert probes.asked[4][0] - probes.asked[0][0] < 1.5


def test_changes_of_the_configuration_are_followed(make_keeper: Callable[..., Keeper], probes: Probes) -> None:
    keeper = make_keeper()
    monitor = quick()
    first = rows.health(by=monitor, state="UP")
    assert keeper.sweep() == 1
    second = rows.health(by=monitor, state="UP")
    revise()
    assert keeper.sweep() == 2
    wait_for(lambda: probes.times(second.target.address))
    first.delete()
    revise()
    assert keeper.sweep() == 1
    asked = len(probes.times(first.target.address))
    time.sleep(1.5)
    assert len(probes.times(first.target.address)) == asked


def test_results_that_were_dropped_do_not_count(make_keeper: Callable[..., Keeper], probes: Probes) -> None:
    probes.result = BAD
    row = rows.health(by=quick(interval=600, retries=2), state="UP")
    keeper = make_keeper()
    keeper.sweep()
    wait_for(lambda: len(probes.asked) == 1)
    HealthState.objects.update(edition=row.edition + 1, recent="")
    revise()
    keeper.sweep()
    wait_for(lambda: len(probes.asked) == 2)  # at once, not after ten minutes
    time.sleep(0.2)
    assert HealthTransition.objects.count() == 0


def test_a_service_is_checked_until_the_moment_at_which_it_is_out(
    make_keeper: Callable[..., Keeper], probes: Probes
) -> None:
    service = rows.service(state="DISABLED", out_of_service_at=timezone.now() + timedelta(seconds=1.5))
    rows.health(of=service, by=quick())
    keeper = make_keeper()
    assert keeper.sweep() == 1
    wait_for(lambda: probes.asked)
    time.sleep(1.6)
    assert keeper.sweep() == 0


def test_two_workers_share_and_none_asks_what_the_other_does(
    make_keeper: Callable[..., Keeper], probes: Probes, redis_server: RedisServer
) -> None:
    monitor = quick()
    addresses = [rows.health(by=monitor).target.address for _ in range(2 * SHARDS)]
    probes.takes = 0.3
    workers = [make_keeper(name=name) for name in ("a", "b")]
    for _ in range(4):
        for worker in workers:
            worker.sweep()
        time.sleep(0.5)
    assert [len(worker.leases.held) for worker in workers] == [SHARDS // 2, SHARDS // 2]
    began = time.monotonic()
    time.sleep(1.5)
    by = {name: {address for at, address, who in probes.asked if who == name and at > began} for name in ("a", "b")}
    assert by["a"].isdisjoint(by["b"])
    assert by["a"] | by["b"] == set(addresses)
    assert not probes.twice
    assert max(gap for address in addresses for gap in probes.gaps(address)) < 2


WORKER = """
import sys, time, django
django.setup()
from monitors import tasks
print(tasks.sweep(), flush=True)
time.sleep(30)
"""


def killed_in_a_sweep(database: str, redis_url: str) -> None:
    """A worker of its own process, with a probe under way, is killed."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "webui.settings",
        "HALFPIPE_DATABASE_URL": database,
        "HALFPIPE_REDIS_URL": redis_url,
    }
    command = [sys.executable, "-c", WORKER]
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"HALFPIPE_SECRET_KEY_FILE": f"{folder}/secret-key"},
            cwd=ROOT,
        ) as worker,
    ):
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "1\n"
            time.sleep(0.3)
        finally:
            worker.send_signal(signal.SIGKILL)


def test_what_a_killed_worker_had_begun_is_done_by_the_next_within_an_interval(
    own_database: str,
    make_keeper: Callable[..., Keeper],
    probes: Probes,
    unanswered: int,
    redis_server: RedisServer,
) -> None:
    service = rows.service()
    monitor = rows.monitor(dest_port=unanswered, interval=5, resp_timeout=4)
    row = rows.health(of=service, by=monitor, at=rows.target(service, "127.0.0.1"))
    killed_in_a_sweep(own_database, redis_server.url)
    killed = time.monotonic()
    assert set(CheckLease.objects.values_list("owner", flat=True)) != {""}
    row.refresh_from_db()
    assert row.state == "UNKNOWN"
    keeper = make_keeper()
    while keeper.sweep() == 0:
        assert time.monotonic() - killed < 5
        time.sleep(0.1)
    wait_for(lambda: HealthTransition.objects.count() == 1)
    assert time.monotonic() - killed < 5
    assert len(probes.asked) == 1


def test_a_worker_that_hangs_loses_its_checks_and_notices(
    make_keeper: Callable[..., Keeper], probes: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.health(by=quick())
    hanging, other = make_keeper(name="hanging"), make_keeper(name="other")
    hanging.sweep()
    wait_for(lambda: probes.asked)
    monkeypatch.setattr(hanging, "_sweep_unless_somebody_does", lambda: None)
    wait_for(lambda: other.sweep() == 1)
    wait_for(lambda: probes.asked[-1][2] == "other")
    assert hanging.sweep() == 0
    time.sleep(1.5)
    names = [name for _at, _address, name in probes.asked]
    assert names == sorted(names)  # first the one, then the other
    assert max(probes.gaps(row.target.address)) < lease.FREE + 1


def test_redis_restarts_and_no_check_is_late(
    make_keeper: Callable[..., Keeper], probes: Probes, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    row = rows.health(by=quick(), state="UP")
    keeper = make_keeper()
    keeper.sweep()
    wait_for(lambda: freshness.figures([row.pk]))
    redis_server.kill()
    time.sleep(2)
    probes.result = BAD
    wait_for(lambda: HealthTransition.objects.count() == 1)  # verdicts need no Redis
    redis_server.start()
    wait_for(lambda: freshness.figures([row.pk]))
    assert freshness.figures([row.pk])[row.pk].probes >= 3
    assert max(probes.gaps(row.target.address)) < 1.6
    assert caplog.text.count("Redis is away") <= 3  # not every second


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forward"])
@pytest.mark.usefixtures("redis_server")
def test_the_clock_is_set_and_no_check_is_late_or_early(
    make_keeper: Callable[..., Keeper], probes: Probes, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    row = rows.health(by=quick())
    keeper = make_keeper()
    keeper.sweep()
    wait_for(lambda: len(probes.asked) == 2)
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + step)
    for _ in range(8):
        assert keeper.sweep() == 1
        time.sleep(0.5)
    gaps = probes.gaps(row.target.address)[1:]
    assert len(gaps) >= 3
    assert min(gaps) > 0.7
    assert max(gaps) < 1.6
    # And a worker that begins when it is set once more, with figures of the future or of long ago.
    keeper.stop()
    monkeypatch.setattr(timezone, "now", lambda: real() + 2 * step)
    began = time.monotonic()
    make_keeper(name="other").sweep()
    wait_for(lambda: probes.asked[-1][2] == "other")
    assert time.monotonic() - began < 1.5


def test_streaks_survive_a_worker_as_long_as_redis_does(
    make_keeper: Callable[..., Keeper], probes: Probes, redis_server: RedisServer
) -> None:
    probes.result = BAD
    row = rows.health(by=quick(retries=3, interval=600), state="UP")
    for number in (1, 2):
        keeper = make_keeper(name=f"worker{number}")
        keeper.sweep()
        wait_for(lambda number=number: len(probes.asked) == number)  # type: ignore[misc]
        keeper.stop()
        figures = freshness.figures([row.pk])[row.pk]
        assert figures.recent == "F" * number
        long_ago = figures.checked_at - timedelta(hours=1)  # so that the next worker has something to do
        freshness.save({row.pk: replace(figures, checked_at=long_ago)})
    make_keeper(name="worker3").sweep()
    wait_for(lambda: HealthTransition.objects.count() == 1)
    assert HealthTransition.objects.get().reason.startswith("3 checks in a row failed")


def test_a_database_that_is_away_delays_verdicts_and_loses_none(
    make_keeper: Callable[..., Keeper],
    probes: Probes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows.health(by=quick())
    errors = [OperationalError("database is locked")] * 2
    real = store.write

    def write(*arguments: object) -> object:
        if errors:
            raise errors.pop()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write", write)
    make_keeper().sweep()
    wait_for(lambda: HealthTransition.objects.count() == 1)
    assert "1 verdicts were not written (database is locked); trying again." in caplog.text


def test_a_bug_in_writing_does_not_end_all_later_writing(
    make_keeper: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows.health(by=quick())
    real, errors = store.write, [TypeError("a bug")]

    def write(*arguments: object) -> object:
        if errors:
            raise errors.pop()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write", write)
    keeper = make_keeper()
    keeper.sweep()
    wait_for(lambda: HealthTransition.objects.count() == 1)
    assert "TypeError: a bug" in caplog.text


def test_a_database_that_is_away_leaves_the_sweep_to_the_next(
    make_keeper: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked() -> int:
        raise OperationalError("database is locked")

    rows.health()
    keeper = make_keeper()
    with monkeypatch.context() as patched:
        patched.setattr(store, "revision", locked)
        assert keeper.sweep() == 0
    assert "The leases of the checks were not renewed (database is locked)" in caplog.text
    assert keeper.sweep() == 1


def test_servers_that_drip_or_flood_delay_no_other_check_and_memory_stays_bounded(
    make_keeper: Callable[..., Keeper], public: Path
) -> None:
    with ExitStack() as stack:
        dripping, flooding = stack.enter_context(by_hand(drip)), stack.enter_context(by_hand(flood))
        fine = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        wanted = {"params": {"send": "hello", "recv": "world"}, "monitor_type": "TCP-ECV"}
        service = rows.service()
        address = rows.target(service, "127.0.0.1")
        bad = [
            rows.health(of=service, at=address, by=quick(dest_port=port, retries=1, **wanted))
            for port in [dripping] * 10 + [flooding] * 10
        ]
        good = rows.health(of=service, at=address, by=quick(dest_port=fine.getsockname()[1]))
        asked: list[float] = []

        async def run(spec: ProbeSpec) -> ProbeResult:
            if spec.kind == "TCP":
                asked.append(time.monotonic())
            return await registry.run(spec)

        keeper = make_keeper(run)
        tracemalloc.start()
        try:
            keeper.sweep()
            wait_for(lambda: HealthState.objects.filter(state="DOWN").count() == len(bad))
            wait_for(lambda: len(asked) >= 4)
            _now, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 20 * 512 * 1024
    good.refresh_from_db()
    assert good.state == "UP"
    assert max(later - earlier for earlier, later in pairwise(asked[1:])) < 1.6


def test_nothing_but_its_own_threads_touches_the_database(
    make_keeper: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Django raises SynchronousOnlyOperation in a thread with a running loop; it would be logged."""
    names: list[str] = []
    real = store.write

    def write(*arguments: object) -> object:
        names.append(threading.current_thread().name)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write", write)
    rows.health()
    with caplog.at_level(logging.WARNING, "monitors"):
        make_keeper().sweep()
        wait_for(lambda: HealthState.objects.filter(state="UP").exists())
    assert set(names) == {"verdicts"}
    assert [record.message for record in caplog.records if "Redis" not in record.message] == []


def test_the_task_sweeps_and_a_stopping_worker_gives_its_leases_back(
    monkeypatch: pytest.MonkeyPatch, probes: Probes
) -> None:
    monkeypatch.setattr(tasks, "keeper", Keeper(probes.of("task")))  # type: ignore[arg-type]
    rows.health()
    assert tasks.sweep() == 1
    assert set(CheckLease.objects.values_list("owner", flat=True)) != {""}
    wait_for(lambda: HealthTransition.objects.count() == 1)
    tasks.stop()
    assert set(CheckLease.objects.values_list("owner", flat=True)) == {""}
    assert tasks.sweep() == 0
    connection.close()


@pytest.fixture
def unanswered() -> Iterator[int]:
    """A port where SYNs are dropped, as its queue of connections is full."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_a_check_begins_where_it_stood() -> None:
    row = rows.health(by=rows.monitor(interval=10, down_time=30), state="DOWN", recent="FF")
    ((plan, known),) = store.load(range(SHARDS), timezone.now())
    now = datetime.now(timezone.get_current_timezone())
    assert ProbeTarget.objects.get() == row.target
    known = Known(known.state, known.recent, None, 2, 2, now - timedelta(seconds=12))
    waiting = module.begin(plan, known, now, 1000.0, anew=False)
    assert (waiting.due, waiting.first) == (1018.0, False)  # DOWN: after downTime
    assert module.begin(plan, known, now, 1000.0, anew=True).due == 1000.0

"""Sweeps against real sockets and a database file, as workers use them."""

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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from monitors import machine, registry, store, tasks
from monitors.runner import Runner, jobs_of
from monitors.spec import ProbeResult, ProbeSpec
from monitors.store import Answer, Claim
from tests.monitors import rows
from webui.models import HealthState, HealthTransition

GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
PARAMETERS = machine.Parameters(5, 3, 0, 1, 30, reverse=False)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Redis here."""
    monkeypatch.setattr(store, "wake_dataplane", lambda: None)
    monkeypatch.setattr(store, "publish", lambda _event: None)


@pytest.fixture
def make_runner() -> Iterator[Callable[..., Runner]]:
    made: list[Runner] = []

    def make(run: object = registry.run, record: object = store.record) -> Runner:
        made.append(Runner(run, record))  # type: ignore[arg-type]  # fakes of several shapes
        return made[-1]

    yield make
    for runner in made:
        runner.stop()


def claim(number: int = 1, due_in: float = 0.0, address: str = "198.18.0.1", lasts: float = 10.0) -> Claim:
    now = timezone.now()
    return Claim(
        pk=number,
        spec=ProbeSpec("TCP", address, rows.VIP, 80, 2.0),
        due_at=now + timedelta(seconds=due_in),
        until=now + timedelta(seconds=lasts),
        first=False,
        state="UP",
        recent="",
        parameters=PARAMETERS,
        service_id=number,
        service_name=f"service{number}",
        monitor_name="tcp",
    )


def wait_for(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


class Recorder:
    """Keeps what was recorded, in batches, and when."""

    def __init__(self, errors: Sequence[Exception] = ()) -> None:
        self.batches: list[list[Answer]] = []
        self.errors = list(errors)
        self.tries = 0

    def __call__(self, answers: Sequence[Answer]) -> None:
        if not answers:
            return
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append(list(answers))

    @property
    def answers(self) -> list[Answer]:
        return [answer for batch in self.batches for answer in batch]


async def good(spec: ProbeSpec) -> ProbeResult:
    return GOOD


def test_one_probe_answers_all_rows_that_ask_the_same_at_the_same_time() -> None:
    now = timezone.now()
    claims = [
        claim(1, due_in=-9),
        claim(2, due_in=-3),
        claim(3, due_in=1.0),
        claim(4, due_in=1.05),
        claim(5, due_in=-1, address="198.18.0.2"),
    ]
    jobs = jobs_of(claims, now)
    assert [[claim.pk for claim in job.claims] for job in jobs] == [[1, 2], [5], [3, 4]]
    assert [job.start for job in jobs] == [now, now, claims[2].due_at]


def test_a_probe_starts_when_it_is_due_not_before_and_not_much_later(make_runner: Callable[..., Runner]) -> None:
    started: list[datetime] = []

    async def note(spec: ProbeSpec) -> ProbeResult:
        started.append(timezone.now())
        return GOOD

    recorder = Recorder()
    runner = make_runner(note, recorder)
    wanted = claim(due_in=0.4)
    runner.submit([wanted])
    wait_for(lambda: bool(recorder.batches))
    assert -0.002 <= (started[0] - wanted.due_at).total_seconds() < 0.15


def test_a_fast_answer_does_not_wait_for_a_slow_one(make_runner: Callable[..., Runner]) -> None:
    async def slow_or_fast(spec: ProbeSpec) -> ProbeResult:
        await asyncio.sleep(1.0 if spec.address.endswith(".9") else 0.0)
        return GOOD

    recorder = Recorder()
    runner = make_runner(slow_or_fast, recorder)
    begin = time.monotonic()
    runner.submit([claim(1, address="198.18.0.9"), claim(2)])
    wait_for(lambda: bool(recorder.batches))
    assert time.monotonic() - begin < 0.5
    assert [answer.claim.pk for answer in recorder.answers] == [2]
    assert runner.free() == runner._capacity - 1
    wait_for(lambda: len(recorder.answers) == 2)
    assert runner.free() == runner._capacity


def test_a_broken_probe_is_told_with_its_traceback_and_the_others_go_on(
    make_runner: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(spec: ProbeSpec) -> ProbeResult:
        if spec.address.endswith(".9"):
            raise KeyError("nonsense")
        return GOOD

    recorder = Recorder()
    runner = make_runner(broken, recorder)
    runner.submit([claim(1, address="198.18.0.9"), claim(2)])
    wait_for(lambda: bool(recorder.answers) and runner.free() == runner._capacity)
    wait_for(lambda: "A probe is broken" in caplog.text)
    assert "KeyError: 'nonsense'" in caplog.text
    assert [answer.claim.pk for answer in recorder.answers] == [2]


def test_a_locked_database_delays_recording_and_loses_nothing(
    make_runner: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder([OperationalError("database is locked")])
    runner = make_runner(good, recorder)
    runner.submit([claim(1)])
    wait_for(lambda: bool(recorder.answers))
    assert "Results were not recorded (database is locked); trying 1 of them again." in caplog.text


def test_results_whose_claims_expired_are_not_tried_again(make_runner: Callable[..., Runner]) -> None:
    recorder = Recorder([OperationalError("server closed the connection")])
    runner = make_runner(good, recorder)
    runner.submit([claim(1, lasts=0.01)])
    wait_for(lambda: recorder.tries == 1)
    runner.submit([claim(2)])
    wait_for(lambda: bool(recorder.answers))
    assert [answer.claim.pk for answer in recorder.answers] == [2]


def test_a_bug_in_recording_does_not_end_all_later_recording(
    make_runner: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder([TypeError("a bug")])
    runner = make_runner(good, recorder)
    runner.submit([claim(1)])
    wait_for(lambda: recorder.tries == 1)
    runner.submit([claim(2)])
    wait_for(lambda: bool(recorder.answers))
    assert "TypeError: a bug" in caplog.text


def test_stopping_records_what_is_done_and_returns_what_is_not(make_runner: Callable[..., Runner]) -> None:
    async def slow_or_fast(spec: ProbeSpec) -> ProbeResult:
        await asyncio.sleep(30 if spec.address.endswith(".9") else 0.1)
        return GOOD

    recorder = Recorder()
    runner = make_runner(slow_or_fast, recorder)
    runner.submit([claim(1, address="198.18.0.9"), claim(2)])
    left = runner.stop(patience=0.5)
    assert [claim.pk for claim in left] == [1]
    assert [answer.claim.pk for answer in recorder.answers] == [2]
    assert runner.stop() == []
    runner.submit([claim(3)])
    wait_for(lambda: len(recorder.answers) == 2)


def test_an_interval_shorter_than_that_of_the_sweep_is_kept(
    file_database: Path, make_runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "runner", make_runner(record=tasks.record))
    times = {"interval": 200, "interval_unit": "MSEC", "resp_timeout": 100, "resp_timeout_unit": "MSEC"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        service = rows.service()
        here = rows.target(service, "127.0.0.1")
        fast = rows.monitor(dest_port=server.getsockname()[1], **times)
        health = rows.health(timezone.now(), of=service, by=fast, at=here)
        assert tasks.sweep() == 1
        wait_for(lambda: HealthState.objects.get(pk=health.pk).probes >= 5)  # of one sweep


def test_a_sweep_checks_real_sockets_and_writes_what_it_saw(
    file_database: Path, make_runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    monkeypatch.setattr(tasks, "runner", make_runner())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as closed:
        closed_port = closed.getsockname()[1]
        closed.close()
        up = rows.service()
        here = rows.target(up, "127.0.0.1")
        open_port = rows.health(now, of=up, by=rows.monitor(dest_port=server.getsockname()[1]), at=here)
        refused = rows.health(now, of=up, by=rows.monitor(dest_port=closed_port, retries=1), at=here)
        later = rows.health(now + timedelta(minutes=1))
        assert tasks.sweep() == 2
        assert tasks.sweep() == 0
        wait_for(lambda: HealthState.objects.filter(probes=1).count() == 2)
    open_port.refresh_from_db()
    refused.refresh_from_db()
    later.refresh_from_db()
    assert open_port.state == "UP"
    assert open_port.response.startswith("connected in ")
    assert (refused.state, refused.response) == ("DOWN", "connection refused")
    assert (later.state, later.probes) == ("UNKNOWN", 0)
    assert sorted(HealthTransition.objects.values_list("reason", flat=True)) == [
        f"the check failed: {refused.response}",
        f"the check passed: {open_port.response}",
    ]


def test_two_workers_never_claim_one_row_twice(file_database: Path) -> None:
    now = timezone.now()
    monitor = rows.monitor()
    keys = {rows.health(now, by=monitor).pk for _ in range(60)}
    claimed: list[list[int]] = [[], []]
    start = threading.Barrier(2)

    def work(mine: list[int]) -> None:
        try:
            start.wait(10)
            for _ in range(30):
                mine.extend(claim.pk for claim in store.claim(now, 3))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counts = Counter(claimed[0] + claimed[1])
    assert set(counts) == keys
    assert set(counts.values()) == {1}
    assert all(claimed), "both took part"


def test_a_database_that_is_away_leaves_the_sweep_to_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*_arguments: object) -> list[Claim]:
        raise OperationalError("database is locked")

    monkeypatch.setattr(store, "claim", locked)
    assert tasks.sweep() == 0
    assert "Due checks could not be claimed (database is locked)" in caplog.text


WORKER = """
import sys, time, django
django.setup()
from monitors import tasks
print(tasks.sweep(), flush=True)
time.sleep(30)
"""


def test_the_claims_of_a_killed_worker_expire_and_are_taken_again(file_database: Path, unanswered: int) -> None:
    at = rows.service()
    state = rows.health(
        timezone.now(), of=at, by=rows.monitor(dest_port=unanswered, resp_timeout=2), at=rows.target(at, "127.0.0.1")
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "webui.settings",
        "HALFPIPE_DATABASE_URL": f"sqlite:///{file_database}",
    }
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "1\n"
        finally:
            worker.send_signal(signal.SIGKILL)
    state.refresh_from_db()
    assert state.claimed_until is not None
    assert (state.probes, state.state) == (0, "UNKNOWN")
    assert store.claim(timezone.now(), 10) == []
    (again,) = store.claim(state.claimed_until, 10)
    assert again.pk == state.pk
    store.record([Answer(again, GOOD, timezone.now())])
    state.refresh_from_db()
    assert (state.probes, state.state) == (1, "UP")
    assert store.claim(state.due_at, 10) != []


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


def test_nothing_but_the_recording_thread_touches_the_database(
    file_database: Path, make_runner: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    """Django raises SynchronousOnlyOperation in a thread with a running loop; the runner would log it."""
    names: list[str] = []

    def record(answers: Sequence[Answer]) -> None:
        names.append(threading.current_thread().name)
        store.record(answers)

    rows.health(timezone.now())
    runner = make_runner(good, record)
    with caplog.at_level(logging.WARNING):
        runner.submit(store.claim(timezone.now(), 10))
        wait_for(lambda: HealthState.objects.filter(probes=1).exists())
    assert set(names) == {"probe-results"}
    assert caplog.text == ""

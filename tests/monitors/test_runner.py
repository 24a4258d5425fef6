"""The thread that runs the probes: no rows, no Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from monitors import machine, registry
from monitors.check import Check, Known, Plan, Verdict
from monitors.question import Learning
from monitors.runner import Runner, capacity
from monitors.spec import ProbeResult, ProbeSpec

GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
BAD = ProbeResult(success=False, message="connection refused", duration=0.0002)
SLOW = "198.18.0.9"


def check(
    number: int = 1, due_in: float = 0.0, address: str = "", *, state: str = "UP", interval: int = 1, edition: int = 1
) -> Check:
    plan = Plan(
        pk=number,
        edition=edition,
        spec=ProbeSpec("TCP", address or f"198.18.1.{number % 250}", "10.0.0.10", 80 + number // 250, 2.0),
        thresholds=machine.Parameters(interval, 2, 0, 1, interval, reverse=False),
        learning=Learning(learns=False, deviation=0, longest=2.0),
        ends=None,
        service_id=number,
        service_name=f"service{number}",
        monitor_name="tcp",
    )
    return Check(plan, Known(state, "", None, 0, 0, None), time.monotonic() + due_in, first=False)


class Probes:
    """Counts what was asked and when; answers as it is told."""

    def __init__(self) -> None:
        self.result = GOOD
        self.started: list[tuple[float, str]] = []
        self.under_way: Counter[str] = Counter()
        self.twice: set[str] = set()
        self.slow_for = 30.0

    async def __call__(self, spec: ProbeSpec) -> ProbeResult:
        self.started.append((time.monotonic(), spec.address))
        self.under_way[spec.address] += 1
        if self.under_way[spec.address] > 1:
            self.twice.add(spec.address)
        try:
            await asyncio.sleep(self.slow_for if spec.address == SLOW else 0)
        finally:
            self.under_way[spec.address] -= 1
        return self.result

    @property
    def asked(self) -> list[str]:
        return [address for _at, address in self.started]


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def make_runner(probes: Probes) -> Iterator[Callable[..., Runner]]:
    made: list[Runner] = []

    def make(run: object = probes, judged: object = lambda _verdict: None) -> Runner:
        made.append(Runner(run, judged))  # type: ignore[arg-type]  # fakes of several shapes
        made[-1].lease(time.monotonic() + 60)
        return made[-1]

    yield make
    for runner in made:
        runner.stop()


def wait_for(true: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_check_starts_when_it_is_due_and_again_after_its_interval(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    one = check(due_in=0.3)
    due = one.due
    make_runner().put([one])
    wait_for(lambda: len(probes.started) == 2)
    first, second = (at for at, _address in probes.started)
    assert -0.002 <= first - due < 0.2
    assert -0.002 <= second - due - 1 < 0.2


def test_a_check_that_comes_later_but_is_due_earlier_does_not_wait(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    runner = make_runner()
    runner.put([check(1, due_in=60)])
    runner.put([check(2, due_in=0.1)])
    wait_for(lambda: probes.asked == ["198.18.1.2"])


def test_a_failure_is_confirmed_at_the_retry_interval_and_then_it_goes_on_in_its_turn(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    probes.result = BAD
    verdicts: list[Verdict] = []
    runner = make_runner(judged=verdicts.append)
    one = check(interval=60)
    one.plan = replace(one.plan, thresholds=replace(one.plan.thresholds, retries=4, retry_interval=0.05))
    runner.put([one])
    wait_for(lambda: len(verdicts) == 1)
    assert len(probes.started) == 4
    first, *_others, last = [at for at, _address in probes.started]
    assert 0.15 <= last - first < 30  # three retry intervals, not three intervals
    runner.written([one])
    wait_for(lambda: one.ticket > 0)
    assert 25 < one.due - last < 95  # half to one and a half intervals: its place in the interval


def test_a_retry_waits_for_the_end_of_a_check_that_takes_longer_than_the_retry_interval(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    probes.result, probes.slow_for = BAD, 0.1
    verdicts: list[Verdict] = []
    one = check(interval=60, address=SLOW)
    one.plan = replace(one.plan, thresholds=replace(one.plan.thresholds, retries=3, retry_interval=0.02))
    make_runner(judged=verdicts.append).put([one])
    wait_for(lambda: len(verdicts) == 1)
    assert (len(probes.started), probes.twice) == (3, set())


def test_one_probe_answers_all_rows_that_ask_the_same_at_the_same_time(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    runner = make_runner()
    same = "198.18.0.1"
    runner.put([check(1, 0.2, same, interval=9), check(2, 0.25, same, interval=9), check(3, 0.6, same, interval=9)])
    found: dict[int, object] = {}
    wait_for(lambda: found.update(runner.collect()) or len(found) == 3)
    assert probes.asked == [same, same]


def test_a_result_that_changes_nothing_is_a_figure_and_no_verdict(make_runner: Callable[..., Runner]) -> None:
    verdicts: list[Verdict] = []
    runner = make_runner(judged=verdicts.append)
    runner.put([check(1, interval=9)])
    wait_for(lambda: runner._fresh)
    figures = runner.collect()[1]
    assert (figures.recent, figures.response, figures.probes, figures.failures) == ("P", GOOD.message, 1, 0)
    assert (runner.collect(), verdicts) == ({}, [])


def test_figures_that_could_not_be_stored_are_kept_unless_there_are_newer_ones_or_the_row_went(
    make_runner: Callable[..., Runner],
) -> None:
    runner = make_runner()
    runner.put([check(1), check(2, interval=9), check(3, interval=9)])
    wait_for(lambda: len(runner._fresh) == 3)
    old = runner.collect()
    wait_for(lambda: 1 in runner._fresh)
    runner.remove([3])
    runner.give_back(old)
    new = runner.collect()
    assert {pk: one.probes for pk, one in new.items()} == {1: 2, 2: 1}


def test_a_check_with_a_verdict_waits_until_it_is_written(make_runner: Callable[..., Runner], probes: Probes) -> None:
    verdicts: list[Verdict] = []
    runner = make_runner(judged=verdicts.append)
    probes.result = BAD
    one = check(interval=1)
    runner.put([one])
    wait_for(lambda: verdicts)
    (verdict,) = verdicts
    assert verdict.step.transition == machine.Transition(
        "UP", "DOWN", "2 checks in a row failed, the last: connection refused"
    )
    time.sleep(1.3)
    assert len(probes.started) == 2
    runner.written([one])
    wait_for(lambda: len(probes.started) == 3)


def test_a_slow_answer_delays_no_other_and_is_not_asked_for_twice(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    runner = make_runner()
    runner.put([check(1, address=SLOW), check(2)])
    wait_for(lambda: probes.asked.count("198.18.1.2") == 3)
    assert probes.asked.count(SLOW) == 1
    assert not probes.twice


def test_no_more_run_at_once_than_there_is_room_for_and_all_have_their_turn(
    make_runner: Callable[..., Runner],
) -> None:
    most, now, done = 0, 0, 0

    async def count(_spec: ProbeSpec) -> ProbeResult:
        nonlocal most, now, done
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now, done = now - 1, done + 1
        return GOOD

    runner = make_runner(count)
    runner._capacity = 7
    runner.put([check(n, interval=60) for n in range(1, 101)])
    wait_for(lambda: done == 100)
    assert most == 7


def test_room_is_made_for_thousands_of_probes() -> None:
    assert 512 <= capacity() <= 4096


def test_without_a_lease_nothing_starts_and_what_runs_is_cancelled_and_done_again(
    make_runner: Callable[..., Runner], probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    runner = make_runner()
    runner.lease(time.monotonic() - 1)
    runner.put([check(1)])
    time.sleep(0.1)
    assert probes.asked == []
    runner.lease(time.monotonic() + 0.4)
    runner.put([check(2, address=SLOW)])
    wait_for(lambda: SLOW in probes.asked)
    wait_for(lambda: not probes.under_way[SLOW])
    assert "The leases were not renewed in time: 1 probes are cancelled and done again." in caplog.text
    before = len(probes.asked)
    time.sleep(0.2)
    assert len(probes.asked) == before
    runner.lease(time.monotonic() + 60)
    wait_for(lambda: probes.asked.count(SLOW) == 2)
    assert not probes.twice


def test_what_was_removed_is_not_under_way_any_more(make_runner: Callable[..., Runner], probes: Probes) -> None:
    runner = make_runner()
    runner.put([check(1, address=SLOW), check(2)])
    wait_for(lambda: SLOW in probes.asked)
    runner.remove([1, 2, 3])
    assert not probes.under_way[SLOW]
    before = len(probes.started)
    time.sleep(1.2)
    assert len(probes.started) == before


def test_a_check_that_is_replaced_loses_what_is_under_way(make_runner: Callable[..., Runner], probes: Probes) -> None:
    probes.slow_for = 0.5
    verdicts: list[Verdict] = []
    runner = make_runner(judged=verdicts.append)
    runner.put([check(1, address=SLOW, state="UNKNOWN")])
    wait_for(lambda: probes.asked)
    runner.put([check(1, address="198.18.0.7", state="UNKNOWN", edition=2)])
    wait_for(lambda: verdicts)
    time.sleep(0.6)
    assert [verdict.plan.edition for verdict in verdicts] == [2]


def test_a_changed_plan_is_followed_at_once_and_results_count_on(
    make_runner: Callable[..., Runner], probes: Probes
) -> None:
    runner = make_runner()
    probes.result = BAD
    verdicts: list[Verdict] = []
    runner._judged = verdicts.append
    runner.put([check(1, interval=600)])
    wait_for(lambda: len(probes.started) == 1)
    runner.change([check(1, interval=700).plan, check(2).plan])  # the second is not run here
    wait_for(lambda: verdicts)
    assert verdicts[0].figures.recent == "FF"
    assert len(probes.started) == 2


def test_a_broken_probe_is_told_with_its_traceback_and_the_others_go_on(
    make_runner: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    tries = Counter[str]()

    async def broken(spec: ProbeSpec) -> ProbeResult:
        tries[spec.address] += 1
        if spec.address == SLOW:
            raise KeyError("nonsense")
        return GOOD

    make_runner(broken).put([check(1, address=SLOW), check(2)])
    wait_for(lambda: tries[SLOW] == 2 and tries["198.18.1.2"] == 2)
    assert "A probe is broken" in caplog.text
    assert "KeyError: 'nonsense'" in caplog.text


def test_stopping_waits_for_what_runs_and_starts_nothing(make_runner: Callable[..., Runner], probes: Probes) -> None:
    probes.slow_for = 0.3
    runner = make_runner()
    runner.put([check(1, address=SLOW, interval=9), check(2)])
    wait_for(lambda: SLOW in probes.asked)
    runner.stop(patience=2)
    assert runner.collect().keys() == {1, 2}
    before = len(probes.started)
    time.sleep(1.1)
    assert len(probes.started) == before
    assert "probes" not in {thread.name for thread in threading.enumerate()}


def test_the_probes_of_the_kinds_are_run_as_they_are(make_runner: Callable[..., Runner]) -> None:
    verdicts: list[Verdict] = []
    runner = make_runner(registry.run, verdicts.append)
    runner.put([check(1, address="127.0.0.1", state="UNKNOWN")])
    wait_for(lambda: verdicts or runner._fresh)

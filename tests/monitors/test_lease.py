from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from monitors.lease import FREE, HELD, Leases, new_owner
from webui.models import CheckLease
from webui.models.health import SHARDS

ALL = frozenset(range(SHARDS))


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.django_db
def test_the_first_worker_takes_everything_and_keeps_it(clock: Clock) -> None:
    leases = Leases("a", clock)
    assert leases.renew() == ALL
    assert leases.taken == ALL
    assert leases.until == clock.now + HELD
    clock.now += 1
    assert leases.renew() == ALL
    assert leases.taken == frozenset()


@pytest.mark.django_db
def test_leases_that_were_not_renewed_are_taken_after_a_while_and_not_before(clock: Clock) -> None:
    Leases("killed", clock).renew()
    other = Leases("b", clock)
    assert other.renew() == frozenset()
    clock.now += FREE - 0.01
    assert other.renew() == frozenset()
    clock.now += 0.02
    assert other.renew() == ALL
    assert HELD < FREE


@pytest.mark.django_db
def test_a_worker_that_stops_in_order_leaves_its_leases_to_the_next_at_once(clock: Clock) -> None:
    first = Leases("a", clock)
    first.renew()
    first.release()
    assert first.held == frozenset()
    assert Leases("b", clock).renew() == ALL


@pytest.mark.django_db
def test_a_worker_that_slept_too_long_finds_what_others_took(clock: Clock) -> None:
    sleeper, other = Leases("a", clock), Leases("b", clock)
    sleeper.renew()
    other.renew()
    clock.now += FREE
    assert other.renew() == ALL
    assert sleeper.renew() == frozenset()


@pytest.mark.django_db
def test_a_worker_that_slept_and_whose_leases_nobody_took_goes_on(clock: Clock) -> None:
    sleeper = Leases("a", clock)
    sleeper.renew()
    clock.now += 3600
    assert sleeper.renew() == ALL
    assert sleeper.taken == frozenset()


@pytest.mark.django_db
def test_two_workers_come_to_share_what_there_is(clock: Clock) -> None:
    first, second = Leases("a", clock), Leases("b", clock)
    first.renew()
    assert second.renew() == frozenset()
    first.renew()
    assert len(first.asked_for) == SHARDS // 2
    first.hand_over(first.asked_for)
    assert len(second.renew()) == SHARDS // 2
    assert len(first.renew()) == SHARDS // 2
    assert first.held.isdisjoint(second.held)
    assert (first.asked_for, second.asked_for) == (frozenset(), frozenset())


def test_names_of_workers_are_unlike_each_other_and_fit_their_column() -> None:
    names = {new_owner() for _ in range(50)}
    assert len(names) == 50
    limit = CheckLease._meta.get_field("owner").max_length
    assert limit is not None
    assert max(map(len, names)) <= limit


class AnyOrder(TestCase):
    """Workers that sleep, die and hand over in any order, each by a clock of its own."""

    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        steps=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 2)), min_size=5, max_size=40),
    )
    def test_no_shard_has_two_workers_that_may_run_it(self, seed: int, steps: list[tuple[int, float]]) -> None:
        chance = random.Random(seed)
        time = 5000.0
        clocks = [Clock(chance.uniform(0, 1e6)) for _ in range(3)]  # none of them tells the time of the others
        workers = [Leases(name, clock) for name, clock in zip("abc", clocks, strict=True)]
        for number, passed in steps:
            time += passed
            for clock in clocks:
                clock.now += passed
            worker = workers[number]
            worker.renew()
            if worker.asked_for and chance.random() < 0.7:
                worker.hand_over(worker.asked_for)
            running = [one.held for one in workers if one.until > one.clock()]
            assert sum(map(len, running)) == len(frozenset().union(*running)), steps

"""Shares follow the load: towards equal figures, with hysteresis, and never to nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.balance import LARGEST_SHARE, Balancer, Measure, differs, shares
from dataplane.desired import Configuration, ServiceConfig, VServerConfig, VServerOptions
from dataplane.tables import HashField

VSERVER = 7


def configuration(*weights: int, down: tuple[int, ...] = ()) -> Configuration:
    """One vserver with services 1, 2, … of these weights."""
    services = tuple(
        ServiceConfig(
            number, f"s{number}", ip_address(f"10.77.0.{number}"), weight, str(number), number not in down, ""
        )
        for number, weight in enumerate(weights, start=1)
    )
    options = VServerOptions(sessions=True, rotate=True)
    address, mask = ip_address("10.77.0.10"), ip_address("255.255.255.255")
    vserver = VServerConfig(VSERVER, "v", address, 0, 0, HashField.SOURCE, mask, services, options)
    return Configuration(1, bytes(16), (vserver,), ())


def figures(*values: float | None) -> dict[tuple[int, int], float]:
    return {(VSERVER, number): value for number, value in enumerate(values, start=1) if value is not None}


weights_of = st.dictionaries(st.integers(1, 50), st.integers(1, 100), min_size=1, max_size=8)


@given(st.sampled_from(Measure), weights_of, st.data())
def test_shares_are_from_1_to_100_and_somebody_has_100(
    measure: Measure, weights: dict[int, int], data: st.DataObject
) -> None:
    known = data.draw(st.dictionaries(st.sampled_from(sorted(weights)), st.floats(0, 1e12)))
    found = shares(measure, weights, known)
    assert found.keys() == weights.keys()
    assert max(found.values()) == LARGEST_SHARE
    assert min(found.values()) >= 1


@pytest.mark.parametrize("measure", list(Measure))
def test_equal_figures_for_each_unit_of_weight_give_the_weights(measure: Measure) -> None:
    loads = {1: 50.0, 2: 50.0} if measure is Measure.RESPONSE_TIME else {1: 100.0, 2: 5000.0}
    assert shares(measure, {1: 2, 2: 100}, loads) == {1: 2, 2: 100}


@pytest.mark.parametrize("measure", list(Measure))
def test_who_has_less_gets_more(measure: Measure) -> None:
    found = shares(measure, {1: 1, 2: 1}, {1: 100_000.0, 2: 200_000.0})
    assert found[1] == LARGEST_SHARE
    assert found[2] < LARGEST_SHARE


def test_a_service_without_a_figure_counts_as_average() -> None:
    assert shares(Measure.RESPONSE_TIME, {1: 1, 2: 1}, {1: 0.2}) == {1: 100, 2: 100}
    assert shares(Measure.FLOWS, {1: 1, 2: 2}, {}) == {1: 50, 2: 100}


def test_an_idle_service_is_not_buried() -> None:
    found = shares(Measure.FLOWS, {1: 1, 2: 1, 3: 1}, {1: 0.0, 2: 1000.0, 3: 1000.0})
    unbounded = 1001**2
    assert found[1] / found[2] < 20 < unbounded


def test_small_differences_are_not_worth_a_new_ring() -> None:
    assert not differs({1: 100, 2: 95}, {1: 100, 2: 100})
    assert differs({1: 100, 2: 85}, {1: 100, 2: 100})
    assert not differs({1: 100, 2: 3}, {1: 100, 2: 1})
    assert differs({1: 100, 2: 4}, {1: 100, 2: 1})
    assert differs({1: 100}, {1: 100, 2: 100})


def test_steps_without_news_change_nothing_and_a_service_that_goes_is_left_out() -> None:
    balancer = Balancer()
    measures = {VSERVER: Measure.FLOWS}
    assert balancer.step(configuration(1, 1), measures, figures(100, 300))
    assert not balancer.step(configuration(1, 1), measures, figures(101, 302))
    assert balancer.step(configuration(1, 1, down=(1,)), measures, figures(0, 400))
    assert balancer.shares == {VSERVER: {2: LARGEST_SHARE}}
    assert balancer.step(configuration(1, 1), {}, {})
    assert balancer.applied(configuration(1, 1)) == configuration(1, 1)


def test_a_new_weight_counts_at_once_however_small_the_difference() -> None:
    balancer = Balancer()
    measures = {VSERVER: Measure.FLOWS}
    balancer.step(configuration(100, 100), measures, figures(0, 0))
    assert balancer.step(configuration(100, 95), measures, figures(0, 0))


def test_shares_take_the_place_of_weights_where_they_are_known() -> None:
    balancer = Balancer()
    balancer.step(configuration(1, 1, 1, down=(3,)), {VSERVER: Measure.RESPONSE_TIME}, figures(0.1, 0.3))
    found = balancer.applied(configuration(1, 1, 1, down=(3,)))
    assert [service.share for service in found.vservers[0].services] == [100, 33, 0]
    other = replace(configuration(1).vservers[0], config_id=VSERVER + 1)
    alone = replace(configuration(1), vservers=(other,))
    assert balancer.applied(alone) == alone


def test_bandwidth_of_one_second_counts_in_part() -> None:
    balancer = Balancer()
    measures = {VSERVER: Measure.BANDWIDTH}
    balancer.step(configuration(1, 1), measures, figures(1e6, 1e6))
    balancer.step(configuration(1, 1), measures, figures(1e6, 3e6))
    once = balancer.shares[VSERVER][2]
    for _ in range(20):
        balancer.step(configuration(1, 1), measures, figures(1e6, 3e6))
    assert 33 <= balancer.shares[VSERVER][2] < once < LARGEST_SHARE


@pytest.mark.parametrize(
    ("weights", "lifetimes"), [((1, 1, 1), (20, 20, 20)), ((1, 2, 4), (20, 20, 20)), ((1, 1), (10, 40))]
)
def test_flows_become_equal_for_each_unit_of_weight_and_do_not_swing(
    weights: tuple[int, ...], lifetimes: tuple[int, ...]
) -> None:
    """A simulation: 200 flows a second, each as long as its server takes; the last minute of five is looked at."""
    draw = random.Random(1)
    numbers = range(len(weights))
    balancer, measures = Balancer(), {VSERVER: Measure.FLOWS}
    alive: list[list[float]] = [[] for _ in weights]
    seen: list[list[float]] = []
    for second in range(300):
        alive = [[end for end in flows if end > second] for flows in alive]
        balancer.step(configuration(*weights), measures, figures(*map(len, alive)))
        share = balancer.shares[VSERVER]
        for chosen in draw.choices(numbers, [share[number + 1] for number in numbers], k=200):
            alive[chosen].append(second + draw.expovariate(1 / lifetimes[chosen]))
        if second > 240:
            seen.append([len(flows) / weight for flows, weight in zip(alive, weights, strict=True)])
    columns = list(zip(*seen, strict=True))
    means = [sum(column) / len(column) for column in columns]
    fair = 1.25 if len(set(lifetimes)) == 1 else 1.8  # by turns alone it would be 4
    assert max(means) / min(means) < fair
    for mean, column in zip(means, columns, strict=True):
        assert all(0.7 * mean < value < 1.3 * mean for value in column)

from __future__ import annotations

from array import array

from dataplane.bench import rings


def ring(*ids: int) -> bytes:
    return array("H", ids).tobytes()


def test_the_imbalance_is_what_the_largest_share_is_above_the_mean() -> None:
    assert rings.imbalance(ring(1, 1, 2, 2)) == 0
    # Mean 2, largest 3
    assert rings.imbalance(ring(1, 1, 1, 2)) == 50


def test_the_disruption_counts_slots_of_services_that_stay() -> None:
    before = ring(1, 1, 2, 2, 3, 3)
    assert rings.disruption(before, ring(2, 3, 2, 2, 3, 3), gone=1) == 0
    assert rings.disruption(before, ring(2, 3, 3, 2, 3, 3), gone=1) == 25


def test_each_number_of_services_gives_a_figure_below_the_bound_of_maglev() -> None:
    figures = list(rings.measure(997))
    assert [figure.name for figure in figures] == ["3 services", "10 services", "100 services", "200 services"]
    for figure, services in zip(figures, rings.SERVICES, strict=True):
        # Shares differ by one slot at most when weights are equal
        assert 0 <= figure.value <= 100 * services / 997
        assert 0 <= figure.raw["% of other clients moved as one leaves"] < 50

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.apply import Applied, apply
from dataplane.desired import DesiredState
from dataplane.plan import plan
from dataplane.plan_text import dump
from dataplane.steps import Put, Step, Table
from dataplane.tables import Tables
from tests.dataplane.network import compiled, desired, service, states, vserver
from tests.fakes import FakeMaps, FlakyMaps

S1 = service(1, "10.77.0.21")


def test_all_steps_are_carried_out_in_order() -> None:
    wanted = compiled(desired(vserver(1, S1)))
    maps = FakeMaps()
    steps = plan(wanted, maps.read())
    applied = apply(steps, maps)
    assert applied == Applied(len(steps))
    assert applied.complete
    assert maps.steps == steps
    assert maps.read() == wanted


def test_the_first_refusal_ends_the_round_and_is_named() -> None:
    class NoRings(FakeMaps):
        def apply(self, step: Step) -> None:
            if step.table is Table.RINGS:
                raise OSError(12, "Cannot allocate memory")
            super().apply(step)

    wanted = compiled(desired(vserver(1, S1)))
    maps = NoRings()
    applied = apply(plan(wanted, maps.read()), maps)
    assert applied.done == 4
    assert applied.failed == Put(Table.RINGS, 1, wanted.rings[1])
    assert applied.error == "ring 1: Cannot allocate memory"
    assert not applied.complete
    assert [step.table for step in maps.steps] == [
        Table.SETTINGS,
        Table.INTERFACES,
        Table.INTERFACES,
        Table.SERVICES,
    ]


def test_a_fault_of_ours_is_not_taken_for_a_refusal() -> None:
    class Broken(FakeMaps):
        def apply(self, step: Step) -> None:
            raise TypeError("not a step")

    with pytest.raises(TypeError, match="not a step"):
        apply([Put(Table.SERVICES, 1, None)], Broken())


def test_nothing_to_do_is_complete() -> None:
    assert apply([], FakeMaps()) == Applied(0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(states(), states(), st.integers(0, 2**32), st.floats(0.05, 0.3))
def test_repeated_rounds_over_failing_maps_reach_what_is_wanted(
    before: DesiredState, after: DesiredState, seed: int, failure: float
) -> None:
    maps = FlakyMaps(seed, failure, compiled(before))
    for _ in range(400):
        observed = maps.read()
        steps = plan(compiled(after, observed), observed)
        if not steps:
            break
        applied = apply(steps, maps)
        assert applied.complete or applied.failed == steps[applied.done]
    observed = maps.read()
    assert plan(compiled(after, observed), observed) == []
    assert dump(observed) == dump(compiled(after, observed))


def test_a_restart_finds_its_ids_in_the_maps_and_changes_nothing() -> None:
    state = desired(vserver(1, S1), vserver(2, S1, port=80))
    maps = FakeMaps(compiled(desired(vserver(2, S1, port=80)), Tables()))
    apply(plan(compiled(state, maps.read()), maps.read()), maps)
    before = dump(maps.read())
    observed = maps.read()
    assert plan(compiled(state, observed), observed) == []
    assert dump(observed) == before

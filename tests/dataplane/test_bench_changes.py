"""The changes of the loss measurement: each changes something, and none takes a VIP's last service away."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.bench import configurations
from dataplane.bench.changes import USED_VIPS, Script, kinds, script
from dataplane.bench.changing import SEED
from dataplane.compile import compile_tables
from dataplane.desired import resolve
from dataplane.hashing import ring_ids
from dataplane.plan import plan
from dataplane.tables import Tables
from tests.fakes import Packet, where


def compiled(state: Script, previous: Tables) -> Tables:
    desired = resolve(state.configuration(), configurations.interfaces(), state.neighbours())
    return compile_tables(desired, previous)


def test_every_change_changes_the_tables_and_every_used_vip_stays_served() -> None:
    state = script(SEED)
    tables = compiled(state, Tables())
    for _ in range(120):
        kind = state.step()
        wanted = compiled(state, tables)
        assert plan(wanted, tables), (state.done, kind)
        assert not any(0 in ring_ids(ring) for ring in wanted.rings.values()), kind
        tables = wanted
        for version in (4, 6):
            for number in range(USED_VIPS):
                client = configurations.server(number + 50, version)
                packet = Packet(client, configurations.vip(number, version), destination_port=configurations.PORT)
                assert where(tables, packet).fate[0] == "FORWARDED", kind


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 32), done=st.integers(0, 200))
def test_a_worker_that_takes_over_has_the_state_of_the_one_before(seed: int, done: int) -> None:
    state = script(seed)
    for _ in range(done):
        state.step()
    again = script(seed, done)
    assert again.configuration() == state.configuration()
    assert again.neighbours() == state.neighbours()
    assert (again.step(), again.configuration()) == (state.step(), state.configuration())


def test_all_kinds_of_changes_come() -> None:
    found = kinds(SEED, 1000)
    assert sum(found.values()) == 1000
    assert len(found) == 8
    assert min(found.values()) > 50

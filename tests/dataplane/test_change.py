"""A small change gives what working out everything anew would give."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dataplane.change import compile_change, resolve_change
from dataplane.compile import compile_tables
from dataplane.desired import (
    Configuration,
    DesiredState,
    ProbeTarget,
    Service,
    ServiceConfig,
    VServer,
    VServerConfig,
    VServerOptions,
    resolve,
)
from dataplane.plan import plan
from dataplane.tables import ClosedKey, ClosedState, Tables
from tests.dataplane.network import (
    ALL_NEIGHBOURS,
    ETH0,
    ETH1,
    HASH_KEY,
    compiled,
    desired,
    service,
    states,
    vserver,
)

S1, S2, S3 = (service(number, f"10.77.0.{20 + number}") for number in (1, 2, 3))
SLOW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SESSIONS = VServerOptions(sessions=True)
OPTIONS = (VServerOptions(), SESSIONS, VServerOptions(persist_timeout=60, rotate=True))


def settled(state: DesiredState) -> Tables:
    """Tables that are compiled from themselves."""
    tables = compiled(state)
    while plan(again := compiled(state, tables), tables):
        tables = again
    return tables


@st.composite
def with_options(draw: st.DrawFn) -> DesiredState:
    state = draw(states())
    return replace(
        state, vservers=tuple(replace(one, options=draw(st.sampled_from(OPTIONS))) for one in state.vservers)
    )


def _verdict(draw: st.DrawFn, one: Service) -> Service:
    """The same service by the same path, with other shares and another verdict."""
    eligible = one.path.usable and draw(st.booleans())
    return replace(
        one,
        eligible=eligible,
        reason="" if eligible else "DOWN",
        flush=draw(st.booleans()),
        weight=draw(st.sampled_from([1, 1, 7])),
        share=draw(st.sampled_from([0, 0, 3])),
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[DesiredState, list[DesiredState]]:
    """A state, and what verdicts make of it one after another; now and then more than verdicts."""
    first = draw(with_options())
    later, last = [], first
    for _ in range(draw(st.integers(1, 3))):
        vservers = tuple(
            replace(one, services=tuple(_verdict(draw, item) for item in one.services)) if draw(st.booleans()) else one
            for one in last.vservers
        )
        last = replace(last, vservers=vservers)
        more = draw(st.sampled_from(["", "", "", "options", "unbound", "gone", "rules", "other"]))
        if more == "options" and vservers:
            last = replace(last, vservers=(replace(vservers[0], options=draw(st.sampled_from(OPTIONS))), *vservers[1:]))
        elif more == "unbound" and vservers:
            last = replace(last, vservers=(replace(vservers[0], services=vservers[0].services[1:]), *vservers[1:]))
        elif more == "gone":
            last = replace(last, vservers=vservers[1:])
        elif more == "rules":
            last = replace(last, hash_key=bytes(16))
        elif more == "other":
            last = draw(with_options())
        later.append(last)
    return first, later


@SLOW
@given(changes())
def test_a_change_compiles_to_what_everything_anew_would(drawn: tuple[DesiredState, list[DesiredState]]) -> None:
    before, later = drawn
    tables = settled(before)
    for after in later:
        untouched = deepcopy(tables)
        anew = compiled(after, tables)
        changed = compile_change(before, after, tables)
        event("anew" if changed is None else "the same" if anew == tables else "changed")
        assert tables == untouched
        if changed is None:
            tables = settled(after)
        else:
            assert changed == anew
            assert plan(compiled(after, changed), changed) == []
            tables = changed
        before = after


def resolved(configuration: Configuration) -> DesiredState:
    return resolve(configuration, [ETH0, ETH1], ALL_NEIGHBOURS)


CONFIG = Configuration(
    1,
    HASH_KEY,
    (
        vserver(1, S1, S2, protocol=6, port=80),
        vserver(2, S2, service(9, "10.9.0.5"), protocol=6, port=81),
        vserver(3, S3, address="10.78.0.11"),
    ),
    (ProbeTarget(ip_address("198.18.0.1"), ip_address("10.77.0.10"), S1.address),),
    (S3.address,),
)
DOWN = replace(S2, eligible=False, reason="DOWN")


def with_first(*services: ServiceConfig, **fields: object) -> Configuration:
    first: VServerConfig = replace(CONFIG.vservers[0], services=services or CONFIG.vservers[0].services)
    return replace(CONFIG, revision=2, vservers=(replace(first, **fields), *CONFIG.vservers[1:]))  # type: ignore[arg-type] # any field


@pytest.mark.parametrize(
    "after",
    [
        replace(CONFIG, revision=2),
        replace(CONFIG, hash_key=bytes(16)),
        with_first(S1, DOWN),
        with_first(DOWN, S1),
        with_first(replace(S1, weight=9, share=4, flush=False), S2),
        with_first(S1, service(7, "10.77.0.22")),
        with_first(S1, service(7, "10.77.0.23")),
        with_first(S1),
        with_first(options=SESSIONS),
        with_first(config_id=8, name="other", port=8080),
        with_first(address=ip_address("10.77.0.21")),
        replace(CONFIG, vservers=CONFIG.vservers[1:]),
        replace(CONFIG, vservers=CONFIG.vservers[::-1]),
        replace(CONFIG, probes=()),
        replace(CONFIG, servers=()),
    ],
)
def test_a_change_resolves_to_what_everything_anew_would(after: Configuration) -> None:
    changed = resolve_change(CONFIG, resolved(CONFIG), after)
    assert changed is None or changed == resolved(after)


@pytest.mark.parametrize("after", [with_first(S1, DOWN), with_first(options=SESSIONS), with_first(port=8080)])
def test_what_is_the_same_is_the_same_object(after: Configuration) -> None:
    state = resolved(CONFIG)
    changed = resolve_change(CONFIG, state, after)
    assert changed is not None
    assert changed.vservers[0] != state.vservers[0]
    assert all(new is old for new, old in zip(changed.vservers[1:], state.vservers[1:], strict=True))


def test_nothing_new_resolves_to_the_state_itself() -> None:
    state = resolved(CONFIG)
    assert resolve_change(CONFIG, state, replace(CONFIG)) is state


@pytest.mark.parametrize("after", [with_first(address=ip_address("10.77.0.21")), replace(CONFIG, probes=())])
def test_what_may_change_a_path_is_not_a_small_change(after: Configuration) -> None:
    assert resolve_change(CONFIG, resolved(CONFIG), after) is None


def test_a_verdict_changes_one_ring_and_shares_the_rest() -> None:
    before, after = (
        desired(vserver(1, S1, S2), vserver(2, S3, port=80)),
        desired(vserver(1, S1, DOWN), vserver(2, S3, port=80)),
    )
    tables = settled(before)
    changed = compile_change(before, after, tables)
    assert changed is not None
    assert changed.services is tables.services
    assert changed.vservers is tables.vservers
    assert {number for number, ring in changed.rings.items() if ring != tables.rings[number]} == {1}


def test_a_vserver_that_loses_its_last_service_is_not_a_small_change() -> None:
    before, after = desired(vserver(1, S2)), desired(vserver(1, DOWN))
    assert compile_change(before, after, settled(before)) is None
    assert compile_change(after, before, settled(after)) is None


def with_sessions(state: DesiredState) -> DesiredState:
    vservers: tuple[VServer, ...] = tuple(replace(one, options=SESSIONS) for one in state.vservers)
    return replace(state, vservers=vservers)


def test_flows_of_a_service_that_goes_down_are_closed_and_free_again_as_it_returns() -> None:
    before, after = (with_sessions(desired(vserver(1, S1, item))) for item in (S2, replace(DOWN, flush=False)))
    tables = settled(before)
    down = compile_change(before, after, tables)
    assert down is not None
    assert down.closed == {ClosedKey(1, 2): ClosedState.DRAIN}
    assert down == compile_tables(after, tables, probe_ifindex=9, probe_mac=tables.settings.probe_mac)
    assert compile_change(after, before, down) == tables

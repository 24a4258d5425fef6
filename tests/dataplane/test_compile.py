from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest

import dataplane.compile as compile_module
from dataplane.compile import CapacityError, CompileError, compile_tables
from dataplane.desired import (
    Configuration,
    DesiredState,
    Ping,
    ProbeTarget,
    ServiceConfig,
    VServerConfig,
    VServerOptions,
    resolve,
)
from dataplane.hashing import ring_ids
from dataplane.tables import (
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    ForwarderSettings,
    HashField,
    PolicyEntry,
    ProbeInKey,
    ServiceFlag,
    SynLimit,
    Tables,
    VipFlag,
    VServerFlag,
    VServerKey,
)
from tests.dataplane.network import (
    ETH0,
    ETH1,
    HASH_KEY,
    PROBE_MAC,
    VIPS,
    compiled,
    desired,
    mac_of,
    service,
    vserver,
)

S1, S2, S3 = (service(number, f"10.77.0.{20 + number}") for number in (1, 2, 3))


def service_ids(tables: Tables) -> dict[int, int]:
    return {entry.config_id: number for number, entry in tables.services.items()}


def vserver_ids(tables: Tables) -> dict[int, int]:
    return {entry.config_id: entry.vserver_id for entry in tables.vservers.values()}


def ring_of(tables: Tables, config_id: int) -> Counter[int]:
    """Slots by config id of the service."""
    counts = Counter(ring_ids(tables.rings[vserver_ids(tables)[config_id]]))
    return Counter({tables.services[number].config_id: slots for number, slots in counts.items() if number})


def test_a_vserver_with_two_services_becomes_a_vip_a_vserver_a_ring_and_two_services() -> None:
    tables = compiled(desired(vserver(7, S1, S2)))
    assert tables.vips == {VIPS[0]: VipFlag.ANY | VipFlag.ANSWER}
    entry = tables.vservers[VServerKey(VIPS[0], 0, 0)]
    assert (entry.vserver_id, entry.config_id, entry.hash_fields) == (1, 7, HashField.SOURCE)
    assert set(ring_of(tables, 7)) == {1, 2}
    assert sorted(ring_of(tables, 7).values()) == [RING_SLOTS // 2, RING_SLOTS // 2 + 1]
    assert tables.services[1].mac == mac_of(S1.address)
    assert tables.settings == ForwarderSettings(HASH_KEY, 9, PROBE_MAC)


def test_interfaces_that_are_up_answer_with_their_own_mac() -> None:
    state = resolve(Configuration(1, HASH_KEY, (), ()), [ETH0, replace(ETH1, up=False)], {})
    assert compiled(state).interfaces == {ETH0.ifindex: ETH0.mac}


def test_without_probe_device_probing_is_off() -> None:
    tables = compile_tables(desired(), Tables(), probe_mac=PROBE_MAC)
    assert tables.settings == ForwarderSettings(HASH_KEY, 0, bytes(6))


def test_vip_flags_say_which_look_ups_can_match() -> None:
    tables = compiled(
        desired(
            vserver(1, S1, protocol=6, port=80),
            vserver(2, S1, protocol=17),
            vserver(3, S1, port=443),
            vserver(4, S1, address="10.78.0.11"),
        )
    )
    assert tables.vips == {
        VIPS[0]: VipFlag.PROTO_PORT | VipFlag.PROTO | VipFlag.PORT | VipFlag.ANSWER | VipFlag.PING_ANSWER,
        VIPS[1]: VipFlag.ANY | VipFlag.ANSWER,
    }


PINGS = VipFlag.PING_ANSWER | VipFlag.PING_DROP


@pytest.mark.parametrize(
    ("vservers", "flags"),
    [
        ([(6, 80, Ping.AUTO, True)], VipFlag.PING_ANSWER),
        ([(6, 80, Ping.AUTO, False)], VipFlag.PING_DROP),
        ([(6, 80, Ping.AUTO, False), (17, 53, Ping.AUTO, True)], VipFlag.PING_ANSWER),
        ([(0, 0, Ping.AUTO, True)], VipFlag(0)),
        ([(1, 0, Ping.AUTO, False), (6, 80, Ping.AUTO, True)], VipFlag(0)),
        ([(0, 80, Ping.AUTO, True)], VipFlag.PING_ANSWER),
        ([(0, 0, Ping.ANSWER, True)], VipFlag.PING_ANSWER),
        ([(0, 0, Ping.ANSWER, False)], VipFlag.PING_DROP),
        ([(6, 80, Ping.FORWARD, True)], VipFlag(0)),
        ([(6, 80, Ping.FORWARD, True), (6, 81, Ping.ANSWER, True)], VipFlag.PING_ANSWER),
        ([(6, 80, Ping.DROP, True), (6, 81, Ping.ANSWER, True)], VipFlag.PING_DROP),
    ],
)
def test_pings_are_answered_while_the_vip_is_up_unless_told_otherwise(
    vservers: list[tuple[int, int, Ping, bool]], flags: VipFlag
) -> None:
    tables = compiled(
        desired(
            *(
                replace(
                    vserver(number, replace(S1, eligible=up), protocol=protocol, port=port),
                    options=VServerOptions(ping),
                )
                for number, (protocol, port, ping, up) in enumerate(vservers, start=1)
            )
        )
    )
    assert tables.vips[VIPS[0]] & PINGS == flags


def test_a_service_that_is_down_keeps_its_entry_and_gets_no_slots() -> None:
    down = replace(S2, eligible=False, reason="DOWN")
    tables = compiled(desired(vserver(1, S1, down)))
    assert set(service_ids(tables)) == {1, 2}
    assert ring_of(tables, 1) == {1: RING_SLOTS}


def test_a_vserver_without_eligible_service_has_an_empty_ring() -> None:
    tables = compiled(desired(vserver(1, replace(S1, eligible=False)), vserver(2, address="10.78.0.11")))
    assert set(tables.rings.values()) == {bytes(2 * RING_SLOTS)}
    assert set(tables.vips) == {VIPS[0], VIPS[1]}


def test_a_server_that_cannot_be_reached_has_no_entry() -> None:
    tables = compiled(desired(vserver(1, S1, service(9, "10.9.0.5"))))
    assert set(service_ids(tables)) == {1}
    assert ring_of(tables, 1) == {1: RING_SLOTS}


def test_weights_share_the_ring() -> None:
    ring = ring_of(compiled(desired(vserver(1, replace(S1, weight=30), replace(S2, weight=10)))), 1)
    assert abs(ring[1] - 0.75 * RING_SLOTS) <= 2


def test_one_service_in_two_vservers_is_one_entry() -> None:
    tables = compiled(desired(vserver(1, S1), vserver(2, replace(S1, eligible=False), address="10.78.0.11")))
    assert len(tables.services) == 1
    assert ring_of(tables, 1) == {1: RING_SLOTS}
    assert ring_of(tables, 2) == {}


def test_kernel_ids_stay_and_a_new_object_does_not_get_one_just_freed() -> None:
    first = compiled(desired(vserver(1, S1, S2), vserver(2, S2, address="10.78.0.11")))
    second = compiled(desired(vserver(2, S2, S3, address="10.78.0.11"), vserver(3, S3)), first)
    assert service_ids(first) == {1: 1, 2: 2}
    assert service_ids(second) == {2: 2, 3: 3}
    assert vserver_ids(first) == {1: 1, 2: 2}
    assert vserver_ids(second) == {2: 2, 3: 3}


def test_compiling_again_changes_nothing() -> None:
    state = desired(vserver(1, S1, S2), vserver(2, S2, S3, address="10.78.0.11"))
    first = compiled(state)
    assert compiled(state, first) == first


def test_new_ids_wrap_to_the_lowest_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "MAX_SERVICES", 4)
    first = compiled(desired(vserver(1, S1, S2, S3)))
    without_first = compiled(desired(vserver(1, S2, S3)), first)
    again = compiled(desired(vserver(1, S2, S3, service(4, "10.77.0.24"))), without_first)
    assert service_ids(again) == {2: 2, 3: 3, 4: 1}


def test_a_new_service_waits_a_round_when_only_ids_of_leaving_ones_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "MAX_SERVICES", 4)
    first = compiled(desired(vserver(1, S1, S2, S3)))
    state = desired(vserver(1, S2, S3, service(4, "10.77.0.24")))
    waiting = compiled(state, first)
    assert service_ids(waiting) == {2: 2, 3: 3}
    assert set(ring_of(waiting, 1)) == {2, 3}
    assert service_ids(compiled(state, waiting)) == {2: 2, 3: 3, 4: 1}


def test_a_vserver_keeps_its_id_when_only_ring_or_only_look_up_changes() -> None:
    first = compiled(desired(vserver(1, S1, S2)))
    other_ring = compiled(desired(vserver(1, S1)), first)
    other_hash = compiled(desired(vserver(1, S1, S2, hash_fields=HashField.SOURCE | HashField.SOURCE_PORT)), first)
    other_key = compiled(desired(vserver(1, S1, S2, protocol=6, port=80)), first)
    assert [vserver_ids(tables) for tables in (other_ring, other_hash, other_key)] == [{1: 1}] * 3


def test_a_vserver_whose_ring_and_hash_change_together_gets_a_new_id() -> None:
    first = compiled(desired(vserver(1, S1, S2)))
    second = compiled(desired(vserver(1, S1, hash_fields=HashField.SOURCE | HashField.SOURCE_PORT)), first)
    assert vserver_ids(second) == {1: 2}
    assert set(second.rings) == {2}


def test_without_free_ids_a_changed_vserver_keeps_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "MAX_VSERVERS", 2)
    first = compiled(desired(vserver(1, S1, S2)))
    second = compiled(desired(vserver(1, S1, port=80)), first)
    assert vserver_ids(second) == {1: 1}


def test_probes_lead_to_the_server_and_back_to_the_probe_address() -> None:
    target = ProbeTarget(ip_address("198.18.0.1"), VIPS[0], S1.address)
    tables = compiled(desired(vserver(1, S1), probes=[target]))
    out = tables.probes_out[target.address]
    assert (out.vip, out.ifindex, out.mac) == (VIPS[0], 2, mac_of(S1.address))
    assert tables.probes_in == {ProbeInKey(VIPS[0], mac_of(S1.address)): target.address}


def test_a_probe_of_a_server_out_of_reach_has_no_entry() -> None:
    target = ProbeTarget(ip_address("198.18.0.1"), VIPS[0], ip_address("10.9.0.5"))
    tables = compiled(desired(probes=[target]))
    assert not tables.probes_out
    assert not tables.probes_in


def test_of_two_servers_behind_one_mac_the_lower_probe_address_keeps_the_answers() -> None:
    targets = [ProbeTarget(ip_address(f"198.18.0.{number}"), VIPS[0], S1.address) for number in (10, 9)]
    for order in (targets, targets[::-1]):
        tables = compiled(desired(probes=order))
        assert set(tables.probes_out) == {target.address for target in targets}
        assert list(tables.probes_in.values()) == [ip_address("198.18.0.9")]


@pytest.mark.parametrize(
    ("limit", "state", "message"),
    [
        ("MAX_VSERVERS", desired(vserver(1), vserver(2, port=80)), "2 virtual servers are configured; .* at most 1"),
        ("MAX_SERVICES", desired(vserver(1, S1, S2)), "2 services are configured; .* at most 1"),
    ],
)
def test_a_limit_that_is_exceeded_is_named(
    monkeypatch: pytest.MonkeyPatch, limit: str, state: DesiredState, message: str
) -> None:
    monkeypatch.setattr(compile_module, limit, 2)
    with pytest.raises(CapacityError, match=message):
        compiled(state)


def test_more_services_than_slots_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "RING_SLOTS", 2)
    with pytest.raises(CapacityError, match=r"Virtual server v1 has 3 services; .* at most 2"):
        compiled(desired(vserver(1, S1, S2, S3)))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (desired(vserver(1), vserver(2)), "Virtual servers v1 and v2 have the same address, protocol and port"),
        (desired(vserver(1), vserver(1, port=80)), "Virtual server v1 stands twice"),
        (
            desired(vserver(1, S1), vserver(2, replace(S1, address=S2.address), port=80)),
            "Service s1 .row 1. has two addresses: 10.77.0.21 and 10.77.0.22",
        ),
        (
            desired(
                probes=[
                    ProbeTarget(ip_address("198.18.0.1"), VIPS[0], S1.address),
                    ProbeTarget(ip_address("198.18.0.1"), VIPS[0], S2.address),
                ]
            ),
            "Probe address 198.18.0.1 is given to two servers",
        ),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(state: DesiredState, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        compiled(state)


def sessionful(number: int, *services: ServiceConfig, **options: Any) -> VServerConfig:
    chosen = VServerOptions(**{"sessions": True, **options})
    return replace(vserver(number, *services, protocol=6, port=80 + number), options=chosen)


def test_a_sessionless_vserver_needs_no_policy_and_a_sessionful_one_gets_the_usual_times() -> None:
    tables = compiled(desired(vserver(1, S1), sessionful(2, S1), replace(sessionful(3, S1), protocol=17)))
    entries = {entry.config_id: entry for entry in tables.vservers.values()}
    assert {row: entry.flags for row, entry in entries.items()} == {
        1: 0,
        2: VServerFlag.SESSIONS,
        3: VServerFlag.SESSIONS,
    }
    idle = {entry.config_id: entry.idle_timeout for entry in tables.policies.values()}
    assert idle == {2: 9000, 3: 120}
    assert all(entries[entry.config_id].vserver_id == vserver_id for vserver_id, entry in tables.policies.items())


def test_persistence_and_turns_reach_flags_policy_and_ring() -> None:
    mask = ip_address("255.255.255.0")
    tables = compiled(desired(sessionful(1, S1, S2, rotate=True, persist_timeout=7, persist_mask=mask, idle_timeout=5)))
    (entry,) = tables.vservers.values()
    assert entry.flags == VServerFlag.SESSIONS | VServerFlag.ROTATE | VServerFlag.PERSIST
    assert tables.policies[entry.vserver_id] == PolicyEntry(1, 5, 7, mask)
    ids = list(ring_ids(tables.rings[entry.vserver_id]))
    assert all(one != two for one, two in pairwise(ids))
    with pytest.raises(CompileError, match="not of the VIP's family"):
        compiled(desired(sessionful(1, S1, persist_timeout=7, persist_mask=ip_address("ffff::"))))


def test_a_limit_of_syns_has_a_second_of_them_as_its_burst_unless_told() -> None:
    mask = ip_address("255.255.255.0")
    limited = sessionful(1, S1, sessions=False, syn_rate=100, source_syn_rate=5, source_syn_burst=9, source_mask=mask)
    tables = compiled(desired(limited))
    (entry,) = tables.vservers.values()
    assert entry.flags == VServerFlag.SYN_LIMIT
    assert tables.policies[entry.vserver_id].syn == SynLimit(100, 100, 5, 9, mask)


def test_a_share_replaces_the_weight() -> None:
    tables = compiled(desired(vserver(1, replace(S1, share=3), replace(S2, weight=100, share=1))))
    counts = Counter(ring_ids(tables.rings[1]))
    assert counts[1] == pytest.approx(3 * counts[2], rel=0.01)


@pytest.mark.parametrize(("flush", "state"), [(True, ClosedState.FLUSH), (False, ClosedState.DRAIN)])
def test_a_service_that_leaves_is_closed_until_it_returns(flush: bool, state: ClosedState) -> None:
    up = compiled(desired(sessionful(1, S1, S2), sessionful(2, S2)))
    assert up.closed == {}
    down = compiled(desired(sessionful(1, S1, replace(S2, eligible=False, flush=flush)), sessionful(2, S2)), up)
    assert down.closed == {ClosedKey(1, 2): state}
    assert {number: entry.flags for number, entry in down.services.items()} == {1: 0, 2: ServiceFlag.CLOSED}
    again = compiled(desired(sessionful(1, S1, S2), sessionful(2, S2)), down)
    assert (again.closed, again.services) == ({}, up.services)


def test_an_unbound_service_is_flushed_for_as_long_as_others_use_it() -> None:
    tables = compiled(desired(sessionful(1, S1, S2), sessionful(2, S2)))
    for _ in range(2):
        tables = compiled(desired(sessionful(1, S1), sessionful(2, S2)), tables)
        assert tables.closed == {ClosedKey(1, 2): ClosedState.FLUSH}
    tables = compiled(desired(sessionful(1, S1)), tables)
    assert tables.closed == {}
    assert set(tables.services) == {1}

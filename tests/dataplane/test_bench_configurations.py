from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from dataplane.bench import configurations, packets, veth
from dataplane.bench.configurations import Flow, Size
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import EGRESS_IFINDEX, NEAR_MAC
from dataplane.compile import compile_tables
from dataplane.desired import ineligible
from dataplane.hashing import ring_ids
from dataplane.tables import MAX_SERVICES, Tables

SMALL = Size(vservers=4, services=3, groups=2)


def test_every_service_of_a_configuration_can_be_reached() -> None:
    assert not list(ineligible(configurations.desired(SMALL)))


@pytest.mark.parametrize("version", [4, 6])
def test_a_compiled_configuration_has_the_size_asked_for(version: int) -> None:
    tables = compile_tables(configurations.desired(Size(4, 3, 2, version=version)), Tables())
    assert len(tables.vservers) == len(tables.vips) == 4
    assert len(tables.services) == 6
    assert {entry.ifindex for entry in tables.services.values()} == {EGRESS_IFINDEX}


def test_vservers_of_one_group_share_their_services_and_the_others_do_not() -> None:
    tables = compile_tables(configurations.desired(SMALL), Tables())
    rings = [set(ring_ids(tables.rings[vserver_id])) for vserver_id in sorted(tables.rings)]
    assert rings[0] == rings[2]
    assert rings[1] == rings[3]
    assert rings[0].isdisjoint(rings[1])


def test_a_service_that_is_down_leaves_the_rings() -> None:
    tables = compile_tables(configurations.desired(SMALL, down=frozenset({1})), Tables())
    gone = next(number for number, entry in tables.services.items() if entry.config_id == 1)
    assert all(gone not in ring_ids(ring) for ring in tables.rings.values())


def test_flows_are_the_same_for_the_same_seed_and_go_to_configured_vips() -> None:
    flows = configurations.flows(64, 4)
    assert flows == configurations.flows(64, 4) != configurations.flows(64, 4, seed=2)
    assert {flow.destination for flow in flows} == {configurations.vip(number) for number in range(4)}


def test_a_packed_flow_has_the_fields_where_the_harness_reads_them() -> None:
    flow = Flow(ip_address("192.0.2.1"), ip_address("10.0.1.0"), 0x1234, 80)
    assert flow.packed() == bytes(12) + bytes([192, 0, 2, 1]) + bytes(12) + bytes([10, 0, 1, 0]) + b"\x12\x34\0\x50"


def test_the_ipv4_frame_is_64_bytes_with_its_fcs_and_carries_the_flow() -> None:
    flow = Flow(ip_address("192.0.2.1"), ip_address("10.0.1.0"), 4660, 80)
    frame = configurations.frame(flow)
    assert len(frame) + 4 == 64
    assert frame[:6] == NEAR_MAC
    assert frame[26:34] == flow.source.packed + flow.destination.packed
    assert struct.unpack_from(">HH", frame, 34) == (4660, 80)


def test_the_ipv6_frame_carries_the_flow() -> None:
    flow = configurations.flows(1, 1, version=6)[0]
    frame = configurations.frame(flow)
    assert struct.unpack_from(">H", frame, 12)[0] == 0x86DD
    assert frame[22:54] == flow.source.packed + flow.destination.packed
    assert struct.unpack_from(">HH", frame, 54) == (flow.source_port, flow.destination_port)


def test_servers_of_the_larger_end_to_end_run_differ_in_the_byte_that_is_counted() -> None:
    for size in veth.SIZES.values():
        assert len({configurations.server_mac(number)[5] for number in range(size.services)}) == size.services


def test_each_case_fits_the_tables_and_sends_a_power_of_two_of_flows() -> None:
    for case in packets.cases():
        assert case.size.services * case.size.groups < MAX_SERVICES
        assert len(case.flows) & (len(case.flows) - 1) == 0


def test_a_round_takes_the_cost_of_restoring_off_both_sides() -> None:
    def nanoseconds(value: float) -> packets.Measure:
        return lambda: value * packets.FRAMES / 1e9

    cost, floor = packets.one_round(nanoseconds(10), nanoseconds(40), nanoseconds(85))
    assert (round(cost, 6), round(floor, 6)) == (75, 30)


def test_a_round_measures_in_the_order_a_b_c_c_b_a() -> None:
    order = []

    def noted(name: str) -> packets.Measure:
        def measure() -> float:
            order.append(name)
            return 1.0

        return measure

    packets.one_round(noted("restore"), noted("floor"), noted("forwarder"))
    assert order == ["restore", "floor", "forwarder", "forwarder", "floor", "restore"]


def test_a_hit_is_compared_with_the_sessionless_path_of_the_same_kind_of_program() -> None:
    figures = [
        Figure("tc", packets.SESSIONLESS, "× floor", 2.0),
        Figure("tc", packets.FLOW_HIT, "× floor", 3.0),
        Figure("xdp", packets.FLOW_HIT, "× floor", 9.0),
    ]
    [found] = packets.hit_to_sessionless(figures)
    assert (found.section, found.value, found.goal) == ("tc", 1.5, Goal("≤", 1.5))


def test_a_configuration_remembers_flows_only_when_asked_to() -> None:
    asked = configurations.configuration(Size(1, 1, 1, sessions=True)).vservers[0]
    assert asked.options != configurations.configuration(Size(1, 1, 1)).vservers[0].options


@pytest.mark.parametrize("verdict_map", [True, False])
def test_the_nftables_rules_name_every_vip_and_every_server(verdict_map: bool) -> None:
    size = Size(vservers=3, services=4, groups=1)
    text = veth.rules(size, verdict_map=verdict_map)
    assert all(str(configurations.vip(number)) in text for number in range(3))
    assert all(text.count(configurations.server_mac(number).hex(":")) == 3 for number in range(4))
    assert text.count("jhash ip saddr mod 4") == text.count("fwd to egress") == 3

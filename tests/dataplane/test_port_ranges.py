"""Ranges of ports: which one a port belongs to, and the prefixes that tell the forwarder."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane import compile as compile_module
from dataplane.compile import CapacityError, CompileError
from dataplane.plan_text import dump
from dataplane.port_ranges import cut, flatten, narrowest, port_prefixes
from dataplane.tables import PortPrefix, Ports, VServerKey
from tests.dataplane.network import compiled, desired, service, vserver

VIP, OTHER = ip_address("10.77.0.10"), ip_address("fd77::10")
S1 = service(1, "10.77.0.21")


@st.composite
def ranges(draw: st.DrawFn) -> Ports:
    """Mostly of few ports, so that they overlap."""
    top = draw(st.sampled_from([12, 300, 65535]))
    first = draw(st.integers(1, top - 1))
    return first, draw(st.integers(first + 1, top))


def test_the_narrowest_range_has_the_port_and_of_equal_ones_the_lower() -> None:
    assert narrowest([(1, 65535), (80, 90), (85, 95), (84, 100)], 86) == (80, 90)
    assert narrowest([(1, 65535), (80, 90), (85, 95), (84, 100)], 92) == (85, 95)
    assert narrowest([(80, 90)], 79) is None
    assert narrowest([(80, 90)], 91) is None


@given(st.lists(ranges(), max_size=8))
def test_flattened_ranges_are_in_order_and_each_stretch_is_as_long_as_it_can_be(overlapping: list[Ports]) -> None:
    found = list(flatten(overlapping))
    assert all(first <= last for (first, last), _ in found)
    for ((_, last), belongs), ((following, _), next_belongs) in pairwise(found):
        assert last < following
        assert last + 1 < following or belongs != next_belongs


@given(ranges())
def test_a_stretch_is_cut_into_few_prefixes_without_gap(stretch: Ports) -> None:
    found = list(cut(stretch))
    assert len(found) <= 30
    port = stretch[0]
    for first, bits in found:
        assert first == port
        assert first % (1 << 16 - bits) == 0
        port += 1 << 16 - bits
    assert port == stretch[1] + 1


@given(st.lists(ranges(), max_size=8), st.lists(ranges(), max_size=3), st.data())
def test_prefixes_name_the_range_that_goes_first_for_every_port(
    tcp: list[Ports], udp: list[Ports], data: st.DataObject
) -> None:
    keys = {VServerKey(VIP, 6, *one) for one in tcp} | {VServerKey(VIP, 17, *one) for one in udp}
    table = port_prefixes([*keys, VServerKey(VIP, 6, 80), VServerKey(OTHER, 6, 0)])
    edges = [port for one in [*tcp, *udp] for port in (one[0] - 1, *one, one[1] + 1)]
    for port in [*edges, data.draw(st.integers(0, 65535))]:
        for protocol, overlapping in ((6, tcp), (17, udp), (0, [])):
            found = [
                ports
                for bits in range(17)
                if (ports := table.get(PortPrefix(VIP, protocol, port >> 16 - bits << 16 - bits, bits)))
            ]
            expected = narrowest(overlapping, port)
            assert found == ([] if expected is None else [expected])


def test_tables_of_overlapping_ranges() -> None:
    state = desired(
        vserver(1, S1, protocol=6, port=80, port_end=90),
        vserver(2, S1, protocol=6, port=84, port_end=87),
        vserver(3, S1, protocol=6, port=85),
        vserver(4, S1, port=1024, port_end=2047),
    )
    lines = [line for line in dump(compiled(state)).splitlines() if line.startswith(("vserver", "ports", "vip"))]
    how = "hash source mask 255.255.255.255"
    assert lines == [
        f"vserver 10.77.0.10 tcp/85 id 3 config 3 {how}",
        f"vserver 10.77.0.10 tcp/80-90 id 1 config 1 {how}",
        f"vserver 10.77.0.10 tcp/84-87 id 2 config 2 {how}",
        f"vserver 10.77.0.10 any/1024-2047 id 4 config 4 {how}",
        "ports 10.77.0.10 tcp/80-83 in 80-90",
        "ports 10.77.0.10 tcp/84-87 in 84-87",
        "ports 10.77.0.10 tcp/88-89 in 80-90",
        "ports 10.77.0.10 tcp/90-90 in 80-90",
        "ports 10.77.0.10 any/1024-2047 in 1024-2047",
        "vip 10.77.0.10 proto-port+proto-range+range+answer+ping-answer",
    ]


def test_the_same_range_twice_is_refused() -> None:
    state = desired(vserver(1, S1, protocol=6, port=80, port_end=90), vserver(2, S1, protocol=6, port=80, port_end=90))
    with pytest.raises(CompileError, match="v1 and v2 have the same address, protocol and port"):
        compiled(state)


def test_more_prefixes_than_the_table_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "MAX_PORT_PREFIXES", 3)
    assert len(compiled(desired(vserver(1, S1, protocol=6, port=80, port_end=90))).port_prefixes) == 3
    with pytest.raises(CapacityError, match="make 5 port prefixes; the forwarder holds at most 3"):
        compiled(desired(vserver(1, S1, protocol=6, port=81, port_end=90)))

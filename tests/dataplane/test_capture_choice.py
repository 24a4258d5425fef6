"""Which frames a capture takes: the kernel's filter against the exact choice, limits, and what a file says."""

from __future__ import annotations

import io
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader, wrpcap

from dataplane.capture import Capture, Instruction, LimitError, Limits, Seen, Selector, packet_filter, sources
from dataplane.dissect import dissect
from dataplane.pcapng import Source, Writer, read_frame
from dataplane.ports import Interface
from dataplane.tables import VServerKey
from tests import packets as p

OWN, SERVER, CLIENT = (bytes.fromhex(f"02{number}00000001") for number in ("aa", "5e", "cc"))
VIPS = {4: "198.51.100.80", 6: "2001:db8::80"}
CLIENTS = {4: "192.0.2.1", 6: "2001:db8::1"}
ETH0 = Interface(7, "eth0", OWN, up=True, addresses=())


def accepts(program: list[Instruction], frame: bytes, *, kind: int = 0, ifindex: int = 7) -> bool:
    """Runs classic BPF as Documentation/networking/filter.rst describes it."""
    ancillary = {0xFFFFF004: kind, 0xFFFFF008: ifindex}
    at = accumulator = index = 0
    while True:
        code, true, false, k = program[at]
        at += 1
        if code == 0x06:
            return bool(k)
        if code in (0x30, 0x28, 0x20, 0x48):
            size = {0x30: 1, 0x28: 2, 0x20: 4, 0x48: 2}[code]
            start = k + (index if code == 0x48 else 0)
            if k in ancillary:
                accumulator = ancillary[k]
            elif start + size > len(frame):
                return False
            else:
                accumulator = int.from_bytes(frame[start : start + size], "big")
        elif code == 0xB1:
            if k >= len(frame):
                return False
            index = (frame[k] & 0xF) * 4
        elif code in (0x15, 0x45):
            at += true if (accumulator == k if code == 0x15 else accumulator & k) else false
        else:
            raise AssertionError(f"instruction {code:#x}")


def packet(version: int, protocol: int, ports: tuple[int, int], *, address: str = "", more: bool = False) -> bytes:
    source, destination = CLIENTS[version], address or VIPS[version]
    build = p.tcp if protocol == p.TCP else p.udp
    body = build(source, destination, ports, b"hello")
    if version == 4:
        return p.ethernet(OWN, CLIENT, p.IPV4, p.ipv4(source, destination, protocol, body, more=more))
    return p.ethernet(OWN, CLIENT, p.IPV6, p.ipv6(source, destination, protocol, body))


def key(version: int, protocol: int = 0, port: int = 0) -> VServerKey:
    return VServerKey(ip_address(VIPS[version]), protocol, port)


@given(
    st.sampled_from([4, 6]),
    st.sampled_from([0, p.TCP, p.UDP]),
    st.sampled_from([0, 80, 443]),
    st.sampled_from([4, 6]),
    st.sampled_from([p.TCP, p.UDP]),
    st.sampled_from([80, 443]),
    st.booleans(),
)
def test_filter_and_choice_agree_on_plain_packets(  # noqa: PLR0917 - a vserver and a packet, member by member
    version: int, protocol: int, port: int, its_version: int, its_protocol: int, its_port: int, other: bool
) -> None:
    wanted = key(version, protocol, port)
    address = {4: "198.51.100.81", 6: "2001:db8::81"}[its_version] if other else ""
    frame = packet(its_version, its_protocol, (80, its_port), address=address)
    matches = version == its_version and not other and protocol in (0, its_protocol) and port in (0, its_port)
    assert Selector(wanted, ()).matches(dissect(frame)) == matches
    assert accepts(packet_filter(wanted, [3, 7, 9]), frame) == matches


def test_the_filter_lets_through_what_it_cannot_judge_and_nothing_of_other_interfaces() -> None:
    program = packet_filter(key(4, p.TCP, 80), [3, 7, 9])
    frame = packet(4, p.TCP, (1, 80))
    assert accepts(program, frame, kind=4)
    assert not accepts(program, frame, kind=3)  # another host's
    assert not accepts(program, frame, ifindex=8)
    assert accepts(packet_filter(key(4, p.TCP, 80), range(1, 100)), frame, ifindex=200)
    body = p.tcp(CLIENTS[4], VIPS[4], (1, 80))
    options = p.ipv4(CLIENTS[4], VIPS[4], p.TCP, body, options=b"\1" * 12)
    later = p.ipv4(CLIENTS[4], VIPS[4], p.TCP, bytes(20), offset=800)
    for inner in (options, later):
        assert accepts(program, p.ethernet(OWN, CLIENT, p.IPV4, inner))
    assert accepts(program, p.ethernet(OWN, CLIENT, p.VLAN, struct.pack(">HH", 7, p.IPV4) + options))
    body6 = p.extension(p.TCP) + p.tcp(CLIENTS[6], VIPS[6], (1, 80))
    extended = p.ethernet(OWN, CLIENT, p.IPV6, p.ipv6(CLIENTS[6], VIPS[6], p.HOP_BY_HOP, body6))
    assert accepts(packet_filter(key(6, p.TCP, 80), [7]), extended)
    assert Selector(key(6, p.TCP, 80), ()).matches(dissect(extended))


def test_later_fragments_belong_to_the_vserver_of_their_first() -> None:
    selector = Selector(key(4, p.UDP, 80), {key(4)})
    other = Selector(key(4), {key(4, p.UDP, 80)})
    first = dissect(packet(4, p.UDP, (1, 80), more=True))
    later = dissect(p.ethernet(OWN, CLIENT, p.IPV4, p.ipv4(CLIENTS[4], VIPS[4], p.UDP, bytes(8), offset=800)))
    assert not selector.matches(later)
    assert other.matches(later)  # as far as it can be told: it has no port
    assert selector.matches(first)
    assert selector.matches(later)
    assert not other.matches(first)
    assert not other.matches(later)


def captured(limits: Limits, *seen: Seen) -> tuple[Capture, io.BytesIO]:
    file = io.BytesIO()
    writer = Writer(file, sources([ETH0]), snaplen=limits.snaplen, application="test")
    selector = Selector(key(4, p.UDP, 80), ())
    capture = Capture(writer, selector, interfaces=[ETH0], limits=limits, own={ip_address("192.0.2.9")})
    for frame in seen:
        capture.take(frame)
    capture.finish(start=1, end=2, dropped=3)
    return capture, file


def test_equal_frames_make_as_many_pairs_as_were_seen_on_both_sides() -> None:
    frame = packet(4, p.UDP, (1, 80))
    after = SERVER + OWN + frame[12:]
    changed = after[:-1] + b"!"
    seen = [Seen(5, "eth0", outgoing, data) for outgoing, data in ((False, frame), (False, frame), (True, after))]
    capture, _ = captured(Limits(), *seen, Seen(6, "eth0", True, changed), Seen(7, "eth1", False, frame))
    summary = capture.summary
    assert (summary.before, summary.after, summary.pairs, summary.lost) == (2, 2, 1, 3)


def test_limits_bound_each_side_and_the_file() -> None:
    frame = packet(4, p.UDP, (1, 80))
    seen = [Seen(5, "eth0", outgoing=False, frame=frame)] * 9 + [Seen(5, "eth0", outgoing=True, frame=frame)] * 9
    capture, _ = captured(Limits(count=3), *seen)
    assert (capture.summary.before, capture.summary.after, capture.ended_by) == (3, 3, "count")
    capture, file = captured(Limits(size=4096), *seen * 20)
    assert capture.ended_by == "size"
    assert 4096 <= len(file.getvalue()) == capture.summary.size < 4096 + 500


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"count": 0}, "count: 0: must be 1 to 1000000"),
        ({"seconds": 0}, "seconds: 0: must be 0.1 to 86400"),
        ({"seconds": float("nan")}, "seconds: nan"),
        ({"snaplen": 63}, "snaplen: 63: must be 64 to"),
        ({"size": 1}, "bytes: 1: must be 4096 to"),
    ],
)
def test_limits_out_of_bounds_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        Limits(**limits)  # type: ignore[arg-type]  # nonsense is the point


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, (1 << 63) - 1), st.binary(max_size=100)), max_size=5))
def test_scapy_reads_every_frame_with_its_time_and_interface(frames: list[tuple[int, int, bytes]]) -> None:
    file = io.BytesIO()
    names = [Source("eth0 before", "", OWN), Source("eth0 after", "with a description")]
    writer = Writer(file, names, snaplen=64, application="test")
    for source, time, frame in frames:
        writer.frame(source, time, frame, direction=1 + source, comment="odd")
    writer.statistics(0, start=1, end=2, received=3, dropped=4)
    assert writer.size == len(file.getvalue())
    found = []
    for frame, meta in RawPcapNgReader(io.BytesIO(file.getvalue())):
        found.append((meta.ifname.decode(), (meta.tshigh << 32) + meta.tslow, frame, meta.wirelen))
    assert found == [(names[source].name, time, frame[:64], len(frame)) for source, time, frame in frames]


def test_single_frames_are_read_from_pcap_and_pcapng(tmp_path: Path) -> None:
    frames = [packet(4, p.UDP, (number, 80)) for number in range(1, 4)]
    classic, modern = tmp_path / "a.pcap", tmp_path / "a.pcapng"
    wrpcap(str(classic), frames, linktype=1)
    with modern.open("wb") as file:
        writer = Writer(file, [Source("eth0")], snaplen=1000, application="")
        for frame in frames:
            writer.frame(0, 1, frame)
    for path in (classic, modern):
        assert [read_frame(path, number) for number in (1, 2, 3)] == frames
        for number, message in ((4, "has 3 frames"), (0, "counted from 1")):
            with pytest.raises(ValueError, match=message):
                read_frame(path, number)
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(ValueError, match=r"was cut|damaged|ends within"):
            read_frame(cut, 3)
    (tmp_path / "text").write_text("neither of them")
    with pytest.raises(ValueError, match="neither a pcap nor a pcapng file"):
        read_frame(tmp_path / "text", 1)

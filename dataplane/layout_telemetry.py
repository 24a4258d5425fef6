"""What the forwarder counts and tells, and what it is asked to tell, as bytes: counters, captures, samples, events.

The rest of dataplane/layout.py; the same as dataplane/bpf/types.h, which a test compares by BTF.
"""

from __future__ import annotations

import struct
from array import array

from dataplane.layout import ADDRESS_SIZE, MAX_RATE, checked_number, checked_octets, pack_address, unpack_address
from dataplane.tables import EVENT_FRAME, Count, Event, Reason, Sampled, SampleKind, Sampling

_COUNTER = struct.Struct("<QQ")
_TAP = struct.Struct("<QI4x")
_SAMPLING = struct.Struct("<Q16sIIIIII")
_SAMPLED = struct.Struct("<QQQ")
_EVENT = struct.Struct(f"<Q16s16s2s2sBBBBIIIIII{EVENT_FRAME}s12s4x")
_DROP_REASONS = tuple(reason for reason in Reason if reason >= Reason.DROP_MALFORMED)
_VSERVER_DROPS = struct.Struct(f"<{len(_DROP_REASONS)}Q")
# enum packet_flag of parse.h, as far as events tell of them
_PACKET_FRAGMENT = 1 << 1

COUNTER_SIZE = _COUNTER.size
BEGUN_SIZE = 8
SAMPLED_SIZE = _SAMPLED.size
EVENT_SIZE = _EVENT.size
VSERVER_DROPS_SIZE = _VSERVER_DROPS.size


def pack_tap(until: int, vserver: int) -> bytes:
    """``struct tap``, 16 bytes: CLOCK_MONOTONIC in ns when the capture ends, and the vserver's row or 0 for all."""
    return _TAP.pack(checked_number("until", until, 1 << 64), checked_number("vserver", vserver, 1 << 32))


def unpack_tap(data: bytes) -> tuple[int, int]:
    """The inverse of :func:`pack_tap`."""
    until, vserver = _TAP.unpack(data)
    return until, vserver


def sum_counters(data: bytes) -> Count:
    """Sum of the ``struct counter`` of each CPU, 16 bytes each."""
    packets = octets = 0
    for of_cpu in _COUNTER.iter_unpack(data):
        packets += of_cpu[0]
        octets += of_cpu[1]
    return Count(packets, octets)


def sum_begun(data: bytes, cpus: int) -> list[int]:
    """By index: the sum of the 8 bytes of each CPU. ``data`` has the values of a whole map, one after the other."""
    numbers = array("Q", data)
    of_cpus = [numbers[cpu::cpus] for cpu in range(cpus)]
    return [sum(one) for one in zip(*of_cpus, strict=True)]


def sum_drops(data: bytes) -> dict[Reason, int]:
    """Packets by reason, of the ``struct vserver_drops`` of each CPU; only reasons that were seen."""
    sums = [sum(of_cpus) for of_cpus in zip(*_VSERVER_DROPS.iter_unpack(data), strict=True)]
    return {reason: packets for reason, packets in zip(_DROP_REASONS, sums, strict=True) if packets}


def pack_sampling(wish: Sampling) -> bytes:
    """``struct sampling``, 48 bytes."""
    return _SAMPLING.pack(
        checked_number("until", wish.until, 1 << 64),
        pack_address(wish.vip) if wish.vip else bytes(ADDRESS_SIZE),
        checked_number("vserver", wish.vserver, 1 << 32),
        wish.kinds,
        checked_number("one_in", wish.one_in, 1 << 32),
        checked_number("rate", wish.rate, MAX_RATE + 1),
        checked_number("burst", wish.burst, MAX_RATE + 1),
        checked_number("caught", wish.caught, EVENT_FRAME + 1),
    )


def sampling_until(data: bytes) -> int:
    """When a packed ``struct sampling`` ends, CLOCK_MONOTONIC in ns."""
    return int(_SAMPLING.unpack(data)[0])


def sum_sampled(data: bytes) -> Sampled:
    """Sum of the ``struct sampled`` of each CPU, 24 bytes each."""
    told = withheld = 0
    for _full, of_cpu, kept_back in _SAMPLED.iter_unpack(data):
        told += of_cpu
        withheld += kept_back
    return Sampled(told, withheld)


def unpack_event(data: bytes) -> Event:
    """``struct event``, 184 bytes. Raises ValueError for other sizes and numbers that have no name."""
    (
        time,
        source,
        destination,
        source_port,
        port,
        protocol,
        kind,
        flags,
        tcp_flags,
        reason,
        ifindex,
        vserver,
        service,
        length,
        caught,
        frame,
        arrived,
    ) = _EVENT.unpack(checked_octets("event", data, _EVENT.size))
    return Event(
        time=time,
        kind=SampleKind(kind),
        reason=Reason(reason),
        source=unpack_address(source),
        destination=unpack_address(destination),
        source_port=int.from_bytes(source_port),
        port=int.from_bytes(port),
        protocol=protocol,
        ifindex=ifindex,
        vserver=vserver,
        service=service,
        length=length,
        tcp_flags=tcp_flags,
        fragment=bool(flags & _PACKET_FRAGMENT),
        frame=frame[:caught],
        arrived=arrived,
    )


# As in dataplane/layout.py
SIZES = {
    "tap": _TAP.size,
    "sampling": _SAMPLING.size,
    "sampled": _SAMPLED.size,
    "event": _EVENT.size,
    "vserver_drops": _VSERVER_DROPS.size,
    "counter": _COUNTER.size,
}
OFFSETS = {
    "tap": {"until": 0, "vserver": 8, "zero": 12},
    "sampling": {
        "until": 0,
        "vip": 8,
        "vserver": 24,
        "kinds": 28,
        "one_in": 32,
        "rate": 36,
        "burst": 40,
        "caught": 44,
    },
    "sampled": {"full": 0, "told": 8, "withheld": 16},
    "event": {
        "time": 0,
        "source": 8,
        "destination": 24,
        "source_port": 40,
        "port": 42,
        "protocol": 44,
        "kind": 45,
        "flags": 46,
        "tcp_flags": 47,
        "reason": 48,
        "ifindex": 52,
        "vserver": 56,
        "service": 60,
        "length": 64,
        "caught": 68,
        "frame": 72,
        "arrived": 168,
        "zero": 180,
    },
    "vserver_drops": {"packets": 0},
    "counter": {"packets": 0, "bytes": 8},
}

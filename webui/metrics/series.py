"""What directors counted: from readings of counters to points, and from points to coarser ones. Pure, no clock.

A reading holds what counters stand at; a :class:`Point` holds what came between two readings. Points add up (merging is
associative and commutative, :data:`NOTHING` changes nothing), so it makes no difference whether an hour is made of 360
points of ten seconds, or of 60 minutes that were made of them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, Final, NamedTuple

VSERVERS: Final = "vservers"
SERVICES: Final = "services"
REASONS: Final = "reasons"
KINDS: Final = (VSERVERS, SERVICES, REASONS)

BLOCK: Final = 64  # objects whose points of one bucket are one row; see docs/metrics.md for what was measured


class Point(NamedTuple):
    """What one object got within ``ms`` milliseconds of counting.

    Packets and bytes (of whole frames) were forwarded, ``dropped`` packets were not; ``reasons`` count packets alone.
    ``flow_ms`` is remembered flows times milliseconds, over the ``flow_known_ms`` in which they were known. Peaks are
    the most in a second between any two readings, of packets and of bits. ``new_flows`` began within the
    ``new_flow_ms`` in which they were counted.
    """

    ms: int = 0
    packets: int = 0
    bytes: int = 0
    dropped: int = 0
    flow_ms: int = 0
    flow_known_ms: int = 0
    peak_packets: int = 0
    peak_bits: int = 0
    new_flows: int = 0
    new_flow_ms: int = 0


NOTHING: Final = Point()
Points = dict[str, Point]  # by row, or by the name of the reason
Flows = dict[str, dict[str, int]]  # kind → row → flows
Reading = dict[str, dict[str, list[int]]]  # kind → row → packets, bytes, dropped and, where it is counted, new flows


def merge(one: Point, other: Point) -> Point:
    """Both stretches of time together."""
    return Point(
        one.ms + other.ms,
        one.packets + other.packets,
        one.bytes + other.bytes,
        one.dropped + other.dropped,
        one.flow_ms + other.flow_ms,
        one.flow_known_ms + other.flow_known_ms,
        max(one.peak_packets, other.peak_packets),
        max(one.peak_bits, other.peak_bits),
        one.new_flows + other.new_flows,
        one.new_flow_ms + other.new_flow_ms,
    )


def roll_up(buckets: Iterable[Mapping[str, Point]]) -> Points:
    """One coarse bucket of the finer ones within it, object by object."""
    parts: dict[str, list[Point]] = {}
    for bucket in buckets:
        for key, point in bucket.items():
            parts.setdefault(key, []).append(point)
    return {key: reduce(merge, points) for key, points in parts.items()}


def bucket(at_ms: int, step: int) -> int:
    """Begin, in Unix seconds, of the bucket of ``step`` seconds that a stretch of time ending at ``at_ms`` is in.

    A stretch that ends where a bucket does belongs to it, not to the next one.
    """
    return (at_ms - 1) // (step * 1000) * step


def reading(payload: Mapping[str, Any]) -> Reading:
    """What the counters stand at, of the JSON form of :class:`webui.models.DirectorCounters`."""
    return {
        kind: {
            key: [entry["packets"], entry.get("bytes", 0), entry.get("dropped", 0)]
            + ([entry["new_flows"]] if "new_flows" in entry else [])
            for key, entry in payload.get(kind, {}).items()
            if "packets" in entry  # a row that is only just compiled has flows and no counter
        }
        for kind in KINDS
    }


def flows(payload: Mapping[str, Any]) -> Flows:
    """Remembered flows by kind and row, of those whose flows are known."""
    return {
        kind: {key: entry["flows"] for key, entry in payload.get(kind, {}).items() if "flows" in entry}
        for kind in (VSERVERS, SERVICES)
    }


def between(
    before: Reading, after: Reading, ms: int, known_flows: Mapping[str, Mapping[str, int]]
) -> dict[str, Points]:
    """Points of the ``ms`` milliseconds between two readings, by kind.

    What was not there before has no point: what its counter held when it came is nobody's. Nor has an object one of
    whose counters went back: it began anew in between, and what it counted before and after is not known. New flows
    are known where both readings have them.
    ValueError if no time has passed.
    """
    if ms <= 0:
        msg = f"{ms} ms between two readings: the second must be later than the first."
        raise ValueError(msg)
    return {
        kind: {
            key: _point(
                [new - old for new, old in zip(now, then, strict=False)], ms, known_flows.get(kind, {}).get(key)
            )
            for key, now in after.get(kind, {}).items()
            if (then := before.get(kind, {}).get(key)) is not None
            and all(new >= old for new, old in zip(now, then, strict=False))
        }
        for kind in KINDS
    }


def _point(counted: list[int], ms: int, flows_now: int | None) -> Point:
    packets, size, dropped, *begun = counted
    return Point(
        ms=ms,
        packets=packets,
        bytes=size,
        dropped=dropped,
        flow_ms=(flows_now or 0) * ms,
        flow_known_ms=0 if flows_now is None else ms,
        peak_packets=round(packets * 1000 / ms),
        peak_bits=round(size * 8000 / ms),
        new_flows=sum(begun),
        new_flow_ms=ms if begun else 0,
    )


def blocks(points: Mapping[str, Point]) -> dict[int, Points]:
    """Points as rows keep them: each block holds rows of neighbouring numbers; reasons, which have names, are one."""
    found: dict[int, Points] = {}
    for key, point in points.items():
        found.setdefault(block_of(key), {})[key] = point
    return found


def block_of(key: str) -> int:
    """The block of an object."""
    return int(key) // BLOCK if key.isdecimal() else 0


def pack(points: Mapping[str, Point]) -> bytes:
    """Compressed JSON: {row: numbers in the order of :class:`Point`, without the zeros at the end}."""
    return _packed({key: _without_zeros(point) for key, point in points.items()})


def _without_zeros(point: Point) -> list[int]:
    values = list(point)
    while values and not values[-1]:
        values.pop()
    return values


def unpack(data: bytes) -> Points:
    """The points that :func:`pack` was given. ValueError for what it did not write."""
    try:
        return {key: Point(*values) for key, values in _unpacked(data).items()}
    except (TypeError, AttributeError) as error:
        msg = f"These {len(data)} bytes are no points: {error}."
        raise ValueError(msg) from error


def pack_reading(found: Reading) -> bytes:
    """A reading as its row keeps it."""
    return _packed(found)


def unpack_reading(data: bytes) -> Reading:
    """The reading that :func:`pack_reading` was given. ValueError for what it did not write."""
    found: Reading = _unpacked(data)
    return found


def _packed(value: Any) -> bytes:
    # Level 1: a fifth larger than level 6 on such rows and three times as fast.
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def _unpacked(data: bytes) -> Any:
    try:
        return json.loads(zlib.decompress(data))
    except zlib.error as error:
        msg = f"These {len(data)} bytes are not compressed: {error}."
        raise ValueError(msg) from error


class Rate(NamedTuple):
    """A point's figures: packets, bits and new flows per second, flows (both None where unknown), and the peaks."""

    packets: float
    bits: float
    dropped: float
    flows: float | None
    peak_packets: float
    peak_bits: float
    new_flows: float | None = None


def rate(point: Point) -> Rate | None:
    """Figures of a point; None of one without time."""
    if not point.ms:
        return None
    return Rate(
        packets=point.packets * 1000 / point.ms,
        bits=point.bytes * 8000 / point.ms,
        dropped=point.dropped * 1000 / point.ms,
        flows=point.flow_ms / point.flow_known_ms if point.flow_known_ms else None,
        peak_packets=point.peak_packets,
        peak_bits=point.peak_bits,
        new_flows=point.new_flows * 1000 / point.new_flow_ms if point.new_flow_ms else None,
    )


def together(rates: Iterable[Rate | None]) -> Rate | None:
    """Several directors at the same time; None where none counted. Peaks add up to at most what they say."""
    found = [one for one in rates if one is not None]
    if not found:
        return None
    known = [one.flows for one in found if one.flows is not None]
    begun = [one.new_flows for one in found if one.new_flows is not None]
    return Rate(
        packets=sum(one.packets for one in found),
        bits=sum(one.bits for one in found),
        dropped=sum(one.dropped for one in found),
        flows=sum(known) if known else None,
        peak_packets=sum(one.peak_packets for one in found),
        peak_bits=sum(one.peak_bits for one in found),
        new_flows=sum(begun) if begun else None,
    )

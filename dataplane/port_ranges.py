"""Ranges of ports as the forwarder's prefix table holds them: flattened, and cut (dataplane/bpf/ranges.h).

Ranges of one VIP and protocol may overlap. A port belongs to the narrowest range that it is in; of equally wide ones to
that which begins lower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise

from dataplane.tables import IPAddress, PortPrefix, Ports, VServerKey

PORT_BITS = 16


def rank(ports: Ports) -> tuple[int, int]:
    """Sorts ranges by precedence, the one that goes first being the least."""
    return ports[1] - ports[0], ports[0]


def narrowest(ranges: Iterable[Ports], port: int) -> Ports | None:
    """The range that a port belongs to, None if it is in none."""
    return min((one for one in ranges if one[0] <= port <= one[1]), key=rank, default=None)


def flatten(ranges: Collection[Ports]) -> Iterator[tuple[Ports, Ports]]:
    """The stretches of ports that belong to one range each, in order, and that range."""
    starting = sorted(set(ranges), reverse=True)
    cuts = sorted({port for first, last in ranges for port in (first, last + 1)})
    open_ranges: list[tuple[tuple[int, int], Ports]] = []
    begun, end, owner = 0, 0, None  # the stretch that may still grow: its end is the port behind it
    for first, after in pairwise(cuts):
        while starting and starting[-1][0] == first:
            one = starting.pop()
            heappush(open_ranges, (rank(one), one))
        while open_ranges and open_ranges[0][1][1] < first:
            heappop(open_ranges)
        belongs = open_ranges[0][1] if open_ranges else None
        if belongs != owner:
            if owner is not None:
                yield (begun, end - 1), owner
            begun, owner = first, belongs
        end = after
    if owner is not None:
        yield (begun, end - 1), owner


def cut(ports: Ports) -> Iterator[tuple[int, int]]:
    """The fewest prefixes that make up a stretch of ports: the first port of each, and how many bits of it count."""
    first, last = ports
    while first <= last:
        # As many ports as the alignment of the first one allows, and no more than are left
        size = min(first & -first if first else 1 << PORT_BITS, 1 << (last - first + 1).bit_length() - 1)
        yield first, PORT_BITS - size.bit_length() + 1
        first += size


def port_prefixes(keys: Iterable[VServerKey]) -> dict[PortPrefix, Ports]:
    """What the prefix table holds for these vservers; those of one port or of any port add nothing."""
    ranges: dict[tuple[IPAddress, int], list[Ports]] = defaultdict(list)
    for key in keys:
        if key.port_end:
            ranges[key.address, key.protocol].append((key.port, key.port_end))
    return {
        PortPrefix(address, protocol, port, bits): belongs
        for (address, protocol), overlapping in ranges.items()
        for stretch, belongs in flatten(overlapping)
        for port, bits in cut(stretch)
    }

"""What the size of a ring costs: how unevenly slots fall, and whose clients move when a service leaves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from dataplane import hashing
from dataplane.bench.results import Figure
from dataplane.tables import RING_SLOTS

SERVICES = (3, 10, 100, 200)


def backends(services: int) -> list[tuple[str, int, int]]:
    """Services of equal weight, as compile names them."""
    return [(f"10.128.{1 + index // 256}.{index % 256} 80", 1, index + 1) for index in range(services)]


def imbalance(ring: bytes) -> float:
    """Per cent by which the service with most slots is above the mean."""
    counts = Counter(hashing.ring_ids(ring))
    return 100 * (max(counts.values()) * len(counts) / sum(counts.values()) - 1)


def disruption(before: bytes, after: bytes, gone: int) -> float:
    """Per cent of the slots of services that stay which name another service afterwards."""
    pairs = [*zip(hashing.ring_ids(before), hashing.ring_ids(after), strict=True)]
    kept = [(old, new) for old, new in pairs if old != gone]
    return 100 * sum(old != new for old, new in kept) / len(kept)


def measure(slots: int = RING_SLOTS) -> Iterator[Figure]:
    """One figure for each number of services."""
    for services in SERVICES:
        chosen = backends(services)
        hashing.clear_caches()
        started = time.perf_counter()
        before = hashing.maglev(chosen, slots)
        taken = time.perf_counter() - started
        gone = chosen[services // 2]
        after = hashing.maglev([backend for backend in chosen if backend != gone], slots)
        raw = {"% of other clients moved as one leaves": disruption(before, after, gone[2]), "ms to fill": taken * 1e3}
        section = f"ring of {slots:,} slots ({2 * slots / 1024:.0f} KiB)"
        yield Figure(section, f"{services} services", "% above the mean at most", imbalance(before), raw=raw)

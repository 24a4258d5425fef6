"""Rings for services that take turns: neighbouring slots name different services, each as often as its weight."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle, islice
from math import gcd

from dataplane.tables import MAX_VSERVERS, RING_SLOTS


def rotation(backends: Sequence[tuple[str, int, int]], slots: int = RING_SLOTS) -> bytes:
    """Ring of ``slots`` little-endian u16 service ids, from (identity, weight, service id) of each backend.

    Smooth weighted round robin: of any stretch of slots, each service has its share to within one slot or so. The
    order of ``backends`` does not matter; no backend gives a ring of zeros.
    Raises ValueError for more backends than slots, or a weight below 1.
    """
    if len(backends) > slots:
        message = f"backends: {len(backends)} do not fit in a ring of {slots} slots"
        raise ValueError(message)
    for identity, weight, _service_id in backends:
        if weight < 1:
            message = f"weight of {identity!r}: {weight} is less than 1"
            raise ValueError(message)
    return _ring(tuple(sorted(backends)), slots)


@lru_cache(maxsize=MAX_VSERVERS)
def _ring(backends: tuple[tuple[str, int, int], ...], slots: int) -> bytes:
    if not backends:
        return bytes(2 * slots)
    divisor = gcd(*(weight for _, weight, _ in backends))
    # Turn k of weight w falls due at (k + 1/2) / w of the cycle.
    due = [
        ((turn + 0.5) / (weight // divisor), identity, service_id)
        for identity, weight, service_id in backends
        for turn in range(weight // divisor)
    ]
    ids = array("H", islice(cycle(service_id for _, _, service_id in sorted(due)), slots))
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tobytes()

"""The compiled loop of dataplane/ring.c."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

# Made by `make bpf`, beside the forwarder; without it everything works, only slower.
RING_LIBRARY = Path(__file__).parents[1] / "build" / "ring.so"


@lru_cache(maxsize=1)
def ring_library() -> ctypes.CDLL | None:
    """Compiled ring.c, twenty times as fast as the loop in Python, which serves where it was not compiled."""
    if not RING_LIBRARY.exists():
        return None
    library = ctypes.CDLL(str(RING_LIBRARY))
    numbers = ctypes.c_void_p
    library.fill_ring.argtypes = [
        *(numbers, numbers, ctypes.c_uint32, numbers, numbers, numbers),
        ctypes.c_uint32,
    ]
    library.fill_ring.restype = None
    return library


def fill(library: ctypes.CDLL, permutations: Sequence[tuple[int, int]], turns: Sequence[int], slots: int) -> array[int]:
    """Ring of the backends whose (offset, skip) these are, in these turns: what dataplane.hashing fills in Python."""
    ring, taken = array("H", bytes(2 * slots)), array("B", bytes(slots))
    at, skips = array("I", (offset for offset, _ in permutations)), array("I", (skip for _, skip in permutations))
    order = array("I", turns)
    address = [numbers.buffer_info()[0] for numbers in (ring, taken, at, skips, order)]
    library.fill_ring(*address[:2], slots, *address[2:], len(order))
    return ring

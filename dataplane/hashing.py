"""Which service a client gets: keyed hash of the client, looked up in a Maglev ring.

The forwarder computes :func:`client_slot` for each frame; this is the same function in Python, for the console's
"where would this client go" and for tests that compare both. Rings are only ever made here.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count, cycle, islice, repeat
from math import gcd, isqrt, lcm
from operator import mod

from dataplane.tables import MAX_SERVICES, MAX_VSERVERS, RING_SLOTS, HashField, IPAddress

MIN_WEIGHT = 1
MAX_WEIGHT = 100

_MASK64 = (1 << 64) - 1

# A ring is 32 KiB and takes up to 6 ms to fill. Every vserver's ring must stay cached, or each round would fill all
# of them again; those in force are the same objects as in the tables. Index rings only help vservers that share their
# services, and a service that comes back.
_INDEX_RINGS_KEPT = 1024
_RINGS_KEPT = MAX_VSERVERS

# From here on working out places is quicker than walking; by measurement, and flat from half to twice of it.
_LAST_SLOTS = 96


def siphash(compression_rounds: int, finalization_rounds: int, key: bytes, message: bytes) -> int:
    """SipHash-c-d of ``message`` under a 16-byte key, as a 64-bit integer.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012.
    Raises ValueError when the key is not 16 bytes long.
    """
    if len(key) != 16:
        error = f"hash key: {len(key)} bytes; SipHash takes 16"
        raise ValueError(error)
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    state = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    whole = len(message) & ~7
    last = message[whole:].ljust(7, b"\0") + bytes([len(message) & 0xFF])
    for start in range(0, whole, 8):
        state = _absorb(state, int.from_bytes(message[start : start + 8], "little"), compression_rounds)
    v0, v1, v2, v3 = _absorb(state, int.from_bytes(last, "little"), compression_rounds)
    v0, v1, v2, v3 = _rounds((v0, v1, v2 ^ 0xFF, v3), finalization_rounds)
    return v0 ^ v1 ^ v2 ^ v3


def siphash13(key: bytes, message: bytes) -> int:
    """SipHash with one compression and three finalization rounds: what the forwarder uses."""
    return siphash(1, 3, key, message)


def client_slot(  # noqa: PLR0913 - the six inputs of the forwarder's choice, all of them plain values
    key: bytes, hash_fields: HashField, mask: IPAddress, *, source: IPAddress, destination: IPAddress, source_port: int
) -> int:
    """Ring slot, 0 to RING_SLOTS-1, of a client.

    The hashed message is [masked source][masked destination][source port], each part only if ``hash_fields`` has it:
    addresses of 4 or 16 bytes in network order, the port of 2. ``mask`` has the family of the addresses.
    """
    message = b""
    if HashField.SOURCE in hash_fields:
        message += _masked(source, mask)
    if HashField.DESTINATION in hash_fields:
        message += _masked(destination, mask)
    if HashField.SOURCE_PORT in hash_fields:
        message += source_port.to_bytes(2, "big")
    # Scaling the upper half instead of a remainder: no division in the forwarder, and as even.
    return ((siphash13(key, message) >> 32) * RING_SLOTS) >> 32


def maglev(backends: Sequence[tuple[str, int, int]], slots: int = RING_SLOTS) -> bytes:
    """Ring of ``slots`` little-endian u16 service ids, from (identity, weight, service id) of each backend.

    Maglev hashing: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
    section 3.4. The order of ``backends`` does not matter; no backend gives a ring of zeros. Slots are proportional
    to weights, within one slot and a rounding share (see the tests). ``slots`` must be a prime.
    Raises ValueError for a weight outside 1..100, a service id outside 1..MAX_SERVICES-1, more backends than slots,
    or a number of slots that is not a prime.
    """
    _check(backends, slots)
    if not backends:
        return bytes(2 * slots)
    return _ring(tuple(sorted(backends)), slots)


def ring_ids(ring: bytes) -> array[int]:
    """Service ids of a ring's slots, as an array of unsigned 16-bit integers."""
    ids = array("H", ring)
    if sys.byteorder == "big":
        ids.byteswap()
    return ids


def clear_caches() -> None:
    """Forget every computed ring (for measurements)."""
    _ring.cache_clear()
    _index_ring.cache_clear()


def _rounds(state: tuple[int, int, int, int], number: int) -> tuple[int, int, int, int]:
    v0, v1, v2, v3 = state
    for _ in range(number):
        v0 = (v0 + v1) & _MASK64
        v1 = _rotate(v1, 13) ^ v0
        v0 = _rotate(v0, 32)
        v2 = (v2 + v3) & _MASK64
        v3 = _rotate(v3, 16) ^ v2
        v0 = (v0 + v3) & _MASK64
        v3 = _rotate(v3, 21) ^ v0
        v2 = (v2 + v1) & _MASK64
        v1 = _rotate(v1, 17) ^ v2
        v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK64


def _absorb(state: tuple[int, int, int, int], word: int, number: int) -> tuple[int, int, int, int]:
    v0, v1, v2, v3 = state
    v0, v1, v2, v3 = _rounds((v0, v1, v2, v3 ^ word), number)
    return v0 ^ word, v1, v2, v3


def _masked(address: IPAddress, mask: IPAddress) -> bytes:
    if address.version != mask.version:
        message = f"mask: {mask} and address {address} are of different families"
        raise ValueError(message)
    return (int(address) & int(mask)).to_bytes(len(address.packed), "big")


def _check(backends: Sequence[tuple[str, int, int]], slots: int) -> None:
    if not _is_prime(slots):
        message = f"slots: {slots} is not a prime, as Maglev's permutations need"
        raise ValueError(message)
    if len(backends) > slots:
        message = f"backends: {len(backends)} do not fit in a ring of {slots} slots"
        raise ValueError(message)
    for identity, weight, service_id in backends:
        if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            message = f"weight of {identity!r}: {weight} is not between {MIN_WEIGHT} and {MAX_WEIGHT}"
            raise ValueError(message)
        if not 0 < service_id < MAX_SERVICES:
            message = f"service id of {identity!r}: {service_id} is not between 1 and {MAX_SERVICES - 1}"
            raise ValueError(message)


@lru_cache(maxsize=8)
def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


@lru_cache(maxsize=_RINGS_KEPT)
def _ring(backends: tuple[tuple[str, int, int], ...], slots: int) -> bytes:
    indexes = _index_ring(tuple((identity, weight) for identity, weight, _ in backends), slots)
    service_ids = [service_id for _, _, service_id in backends]
    if isinstance(indexes, bytes):
        # Low and high bytes are translated apart: 40 times as fast as a look-up for each slot.
        ring = bytearray(2 * slots)
        ring[0::2] = indexes.translate(bytes(number & 0xFF for number in service_ids).ljust(256))
        ring[1::2] = indexes.translate(bytes(number >> 8 for number in service_ids).ljust(256))
        return bytes(ring)
    ids = array("H", map(service_ids.__getitem__, indexes))
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tobytes()


@lru_cache(maxsize=_INDEX_RINGS_KEPT)
def _index_ring(backends: tuple[tuple[str, int], ...], slots: int) -> bytes | array[int]:
    """For each slot the index of its backend; the same for all vservers with these services, whatever their ids.

    Bytes while an index fits in one.
    """
    permutations = [_permutation(identity, slots) for identity, _ in backends]
    turns = _turns([weight for _, weight in backends])
    from dataplane import native  # noqa: PLC0415 - ctypes is loaded where a ring is filled, not wherever one is named

    library = native.ring_library()
    ring = native.fill(library, permutations, turns, slots) if library else _fill(permutations, turns, slots)
    # The low bytes are the whole index then
    return ring.tobytes()[sys.byteorder == "big" :: 2] if len(backends) <= 256 else ring


def _fill(permutations: Sequence[tuple[int, int]], turns: Sequence[int], slots: int) -> array[int]:
    # 1 while a slot is free: filter() then walks each permutation to its next free slot without a Python loop.
    free = bytearray(b"\1") * slots
    next_free: list[Callable[[], int]] = [
        filter(free.__getitem__, map(mod, count(offset, skip), repeat(slots))).__next__ for offset, skip in permutations
    ]
    ring = array("H", bytes(2 * slots))
    order = cycle(turns)
    for index in islice(order, max(slots - _LAST_SLOTS, 0)):
        slot = next_free[index]()
        free[slot] = 0
        ring[slot] = index
    _fill_last_slots(ring, [slot for slot, is_free in enumerate(free) if is_free], permutations, order)
    return ring


def _fill_last_slots(
    ring: array[int], left: list[int], permutations: Sequence[tuple[int, int]], turns: Iterator[int]
) -> None:
    """Give out the slots of ``left``, which it empties.

    Half of all steps along the permutations would be in search of these few. Instead each slot's place in the
    permutation of whose turn it is, (slot - offset) / skip mod slots, is worked out: the first one is taken.
    """
    slots = len(ring)
    inverses = [pow(skip, -1, slots) for _, skip in permutations]
    while left:
        index = next(turns)
        offset, inverse = permutations[index][0], inverses[index]
        places = [(slot - offset) * inverse % slots for slot in left]
        ring[left.pop(places.index(min(places)))] = index


def _permutation(identity: str, slots: int) -> tuple[int, int]:
    """Offset and skip of a backend's preference list: slot number j is (offset + j * skip) mod slots."""
    digest = blake2b(identity.encode(), digest_size=16, person=b"halfpipe ring").digest()
    return int.from_bytes(digest[:8], "little") % slots, int.from_bytes(digest[8:], "little") % (slots - 1) + 1


def _turns(weights: Sequence[int]) -> list[int]:
    """One cycle of turns: each index as often as its weight, evenly spread.

    Turn k of weight w falls due at (k - 1/2) / w, so the turns of two backends stand in the same order whoever else
    takes part, and a backend that leaves does not reorder the rest.
    """
    divisor = gcd(*weights)
    reduced = [weight // divisor for weight in weights]
    unit = lcm(*set(reduced))
    due = [((2 * turn + 1) * (unit // weight), index) for index, weight in enumerate(reduced) for turn in range(weight)]
    return [index for _, index in sorted(due)]

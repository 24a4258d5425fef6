from __future__ import annotations

import _imp
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane import hashing, native
from dataplane.hashing import client_slot, maglev, ring_ids, siphash, siphash13
from dataplane.tables import RING_SLOTS, HashField

KEY = bytes(range(16))
ALL_ONES = ip_address("255.255.255.255")

# vectors.h of the authors' reference implementation: SipHash-2-4 of 00, 00 01, ... under the key 00 01 .. 0f.
SIPHASH_2_4 = {
    0: 0x726FDB47DD0E0E31,
    1: 0x74F839C593DC67FD,
    2: 0x0D6C8009D9A94F5A,
    7: 0xAB0200F58B01D137,
    8: 0x93F5F5799A932462,
    15: 0xA129CA6149BE45E5,
    16: 0x3F2ACC7F57C29BDB,
    31: 0x32D892FAD841C342,
    32: 0x7127512F72F27CCE,
    63: 0x958A324CEB064572,
}

backends = st.lists(
    st.tuples(st.text(min_size=1, max_size=8), st.integers(1, 100)),
    min_size=1,
    max_size=12,
    unique_by=lambda item: item[0],
).map(lambda items: [(identity, weight, number) for number, (identity, weight) in enumerate(items, start=1)])


@pytest.mark.parametrize("length", SIPHASH_2_4)
def test_siphash_2_4_gives_the_values_of_the_reference(length: int) -> None:
    assert siphash(2, 4, KEY, bytes(range(length))) == SIPHASH_2_4[length]


def test_siphash_1_3_gives_the_published_values_for_a_zero_key() -> None:
    # From the tests of the Rust crate digest-sip_hash.
    assert siphash13(bytes(16), b"") == 0xD1FBA762150C532C
    assert siphash13(bytes(16), b"siphash") == 0x8264CEECCB16BCBE


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes strings differently")
@given(st.integers(0, 2**63 - 1), st.binary(max_size=40))
def test_siphash_1_3_agrees_with_the_interpreters_own(key: int, message: bytes) -> None:
    # CPython's _Py_KeyedHash: the same function with the upper half of the key zero.
    expected: bytes = _imp.source_hash(key, message)
    assert siphash13(key.to_bytes(16, "little"), message) == int.from_bytes(expected, sys.byteorder)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="hash key: 15 bytes"):
        siphash13(bytes(15), b"")


def test_the_slot_is_the_scaled_upper_half_of_the_hash_of_the_chosen_fields() -> None:
    source, destination = ip_address("10.0.0.1"), ip_address("10.77.0.10")
    fields = HashField.SOURCE | HashField.DESTINATION | HashField.SOURCE_PORT
    slot = client_slot(KEY, fields, ALL_ONES, source=source, destination=destination, source_port=0x1234)
    message = bytes([10, 0, 0, 1, 10, 77, 0, 10, 0x12, 0x34])
    assert slot == (siphash13(KEY, message) >> 32) * RING_SLOTS // 2**32


def test_the_slot_of_an_ipv6_client_hashes_sixteen_masked_bytes() -> None:
    mask = ip_address("ffff:ffff:ffff:ffff::")
    slots = {
        client_slot(KEY, HashField.SOURCE, mask, source=ip_address(text), destination=mask, source_port=0)
        for text in ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:1")
    }
    assert slots == {(siphash13(KEY, ip_address("2001:db8::").packed) >> 32) * RING_SLOTS // 2**32}


def test_clients_spread_evenly_over_the_ring() -> None:
    quarters = Counter(
        4
        * client_slot(KEY, HashField.SOURCE, ALL_ONES, source=ip_address(number), destination=ALL_ONES, source_port=0)
        // RING_SLOTS
        for number in range(4000)
    )
    assert set(quarters) == {0, 1, 2, 3}
    # Standard deviation of a quarter is 27.
    assert all(abs(share - 1000) < 5 * 28 for share in quarters.values())


def test_a_mask_of_the_other_family_is_refused() -> None:
    with pytest.raises(ValueError, match="different families"):
        client_slot(
            KEY, HashField.SOURCE, ALL_ONES, source=ip_address("::1"), destination=ip_address("::2"), source_port=0
        )


def test_no_backend_gives_a_ring_of_zeros() -> None:
    assert maglev([]) == bytes(2 * RING_SLOTS)


@settings(max_examples=40, deadline=None)
@given(backends)
def test_slots_are_proportional_to_weights(chosen: list[tuple[str, int, int]]) -> None:
    counts = Counter(ring_ids(maglev(chosen)))
    assert sum(counts.values()) == RING_SLOTS
    assert 0 not in counts
    total = sum(weight for _, weight, _ in chosen)
    for _, weight, service_id in chosen:
        # Each has its turns rounded to the nearest, at a point in time that the roundings of all may shift.
        tolerance = 1 + weight * len(chosen) / (2 * total)
        assert abs(counts[service_id] - RING_SLOTS * weight / total) <= tolerance


@settings(max_examples=20, deadline=None)
@given(backends, st.randoms(use_true_random=False))
def test_the_order_of_backends_does_not_matter(chosen: list[tuple[str, int, int]], shuffler: random.Random) -> None:
    shuffled = shuffler.sample(chosen, len(chosen))
    assert maglev(shuffled) == maglev(chosen)


@settings(max_examples=20, deadline=None)
@given(backends)
def test_the_ids_of_backends_do_not_move_their_slots(chosen: list[tuple[str, int, int]]) -> None:
    other = [(identity, weight, 16383 - service_id) for identity, weight, service_id in chosen]
    assert [16383 - service_id for service_id in ring_ids(maglev(chosen))] == list(ring_ids(maglev(other)))


@pytest.mark.parametrize("number", [2, 3, 10, 100, 300])
def test_removing_one_backend_moves_its_slots_and_few_others(number: int) -> None:
    all_of_them = [(f"10.77.{index // 250}.{index % 250} 80", 1, index + 1) for index in range(number)]
    gone = all_of_them[number // 2]
    before = ring_ids(maglev(all_of_them))
    after = ring_ids(maglev([backend for backend in all_of_them if backend != gone]))
    others = sum(1 for old, new in zip(before, after, strict=True) if old not in (gone[2], new))
    assert gone[2] not in after
    assert others <= 0.02 * RING_SLOTS


def test_removing_the_heaviest_backend_moves_few_slots_of_the_others() -> None:
    weights = [1, 2, 3, 10, 100]
    all_of_them = [(f"server {index}", weight, index + 1) for index, weight in enumerate(weights)]
    before = ring_ids(maglev(all_of_them))
    after = ring_ids(maglev(all_of_them[:-1]))
    kept = [index for index, service_id in enumerate(before) if service_id != 5]
    moved = sum(1 for index in kept if before[index] != after[index])
    assert moved <= 0.02 * len(kept)


def test_the_placement_of_services_never_changes_between_releases() -> None:
    # A change here moves clients of running installations at an update: it must be a decision, not an accident.
    ring = maglev([("10.77.0.21 80", 1, 1), ("10.77.0.22 80", 1, 2), ("10.77.0.23 80", 2, 3)])
    assert list(ring_ids(ring)[:24]) == [3, 3, 1, 2, 3, 1, 3, 1, 1, 3, 1, 2, 3, 1, 2, 3, 1, 3, 3, 1, 3, 3, 2, 3]


def test_a_ring_of_more_backends_than_a_byte_counts_agrees_with_the_definition() -> None:
    many = [(f"server {index}", 1, index + 1) for index in range(300)]
    counts = Counter(ring_ids(maglev(many)))
    assert set(counts) == set(range(1, 301))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, from the source as it is."""
    target = tmp_path_factory.mktemp("native") / "ring.so"
    source = Path(hashing.__file__).with_name("ring.c")
    command = ["clang", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(target), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return target


@contextmanager
def filling_by(library: Path) -> Iterator[None]:
    """Rings are filled by this library; by Python, if it does not exist."""
    former = native.RING_LIBRARY

    def use(path: Path) -> None:
        native.RING_LIBRARY = path
        native.ring_library.cache_clear()
        hashing.clear_caches()

    use(library)
    try:
        yield
    finally:
        use(former)


def ring_of_the_paper(backends: list[tuple[str, int, int]], slots: int) -> list[int]:
    """The paper's pseudocode 1, with weights as turns; slow, and in other words than the function it checks."""
    from dataplane.hashing import _permutation, _turns  # noqa: PLC0415 - offset, skip and turns, else not public

    ordered = sorted(backends)
    walks = [_permutation(identity, slots) for identity, _, _ in ordered]
    turns = _turns([weight for _, weight, _ in ordered])
    entry, position = [0] * slots, [0] * len(ordered)
    for turn in range(slots):
        index = turns[turn % len(turns)]
        offset, skip = walks[index]
        while entry[slot := (offset + position[index] * skip) % slots]:
            position[index] += 1
        entry[slot] = ordered[index][2]
    return entry


def test_a_small_ring_is_filled_turn_by_turn_as_in_the_paper() -> None:
    three = [("B0", 1, 1), ("B1", 1, 2), ("B2", 1, 3)]
    assert list(ring_ids(maglev(three, 7))) == ring_of_the_paper(three, 7)


@settings(max_examples=60, deadline=None)
@given(backends, st.sampled_from([13, 97, 101, 997]))
def test_python_and_c_fill_rings_as_the_paper_does(
    compiled: Path, chosen: list[tuple[str, int, int]], slots: int
) -> None:
    expected = ring_of_the_paper(chosen, slots)
    for library in (Path("/nonexistent"), compiled):
        with filling_by(library):
            assert list(ring_ids(maglev(chosen, slots))) == expected


@pytest.mark.parametrize("number", [1, 3, 100, 300])
def test_python_and_c_fill_a_whole_ring_as_the_paper_does(compiled: Path, number: int) -> None:
    chosen = [(f"10.77.1.{index} 80", 1 + index % 3, index + 1) for index in range(number)]
    expected = ring_of_the_paper(chosen, RING_SLOTS)
    for library in (Path("/nonexistent"), compiled):
        with filling_by(library):
            assert (native.ring_library() is None) is (library != compiled)
            assert list(ring_ids(maglev(chosen))) == expected


@pytest.mark.parametrize(
    ("chosen", "slots", "message"),
    [
        ([("a", 0, 1)], 7, "weight of 'a': 0 is not between 1 and 100"),
        ([("a", 101, 1)], 7, "weight of 'a': 101"),
        ([("a", 1, 0)], 7, "service id of 'a': 0 is not between 1 and 16383"),
        ([("a", 1, 16384)], 7, "service id of 'a': 16384"),
        ([("a", 1, 1)], 8, "slots: 8 is not a prime"),
        ([(str(number), 1, number + 1) for number in range(8)], 7, "backends: 8 do not fit in a ring of 7"),
    ],
)
def test_impossible_rings_are_refused(chosen: list[tuple[str, int, int]], slots: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maglev(chosen, slots)

"""Rings in the kernel: alike ones have one inner map in common, and many are put at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.apply import Applied, apply
from dataplane.kernel import loader
from dataplane.kernel.libbpf import Map
from dataplane.kernel.maps import KernelMaps
from dataplane.steps import Delete, Put, Step, Table
from dataplane.tables import MAX_VSERVERS, RING_SLOTS, HashField, VServerEntry, VServerKey
from tests.kernel.bench import whole_ring

pytestmark = pytest.mark.kernel


class Bench:
    """Empty maps, and the inner maps behind the slots."""

    def __init__(self, forwarder: loader.Forwarder) -> None:
        self.outer = forwarder.maps[Table.RINGS]
        self.maps = KernelMaps(forwarder.maps)
        self.another = KernelMaps(forwarder.maps)

    def inner_ids(self) -> dict[int, int]:
        return {struct.unpack("<I", key)[0]: struct.unpack("<I", value)[0] for key, value in self.outer.items()}


@pytest.fixture
def bench(object_file: Path, pin_dir: Path) -> Iterator[Bench]:
    forwarder = loader.load(object_file, pin_dir)
    try:
        yield Bench(forwarder)
    finally:
        forwarder.close()


def puts(rings: dict[int, bytes]) -> list[Step]:
    return [Put(Table.RINGS, number, ring) for number, ring in rings.items()]


def test_rings_that_are_alike_have_one_inner_map_and_others_their_own(bench: Bench) -> None:
    wanted = {number: whole_ring(number % 3) for number in range(1, 601)}
    assert apply(puts(wanted), bench.maps) == Applied(600)
    assert len(set(bench.inner_ids().values())) == 3
    assert bench.maps.read().rings == wanted
    assert bench.another.read().rings == wanted


@pytest.mark.parametrize("together", [True, False])
def test_a_ring_that_changes_for_one_vserver_stays_for_the_others(bench: Bench, together: bool) -> None:
    apply(puts(dict.fromkeys(range(1, 6), whole_ring(1))), bench.maps)
    shared = bench.inner_ids()[1]
    changes = puts({2: whole_ring(2), 4: whole_ring(3)})
    if together:
        assert bench.maps.put_rings(changes) == 2
    else:
        for step in changes:
            bench.maps.apply(step)
    assert bench.another.read().rings == {
        1: whole_ring(1),
        2: whole_ring(2),
        3: whole_ring(1),
        4: whole_ring(3),
        5: whole_ring(1),
    }
    assert [bench.inner_ids()[number] for number in (1, 3, 5)] == [shared] * 3


def test_a_ring_that_comes_back_finds_the_map_of_those_who_kept_it(bench: Bench) -> None:
    apply(puts({1: whole_ring(1), 2: whole_ring(1)}), bench.maps)
    bench.maps.apply(Put(Table.RINGS, 1, whole_ring(2)))
    bench.maps.apply(Put(Table.RINGS, 1, whole_ring(1)))
    assert len(set(bench.inner_ids().values())) == 1


def test_a_new_process_shares_what_it_reads(bench: Bench) -> None:
    apply(puts({1: whole_ring(1), 2: whole_ring(2)}), bench.maps)
    bench.another.read()
    bench.another.apply(Put(Table.RINGS, 3, whole_ring(2)))
    assert bench.inner_ids()[3] == bench.inner_ids()[2]


def test_a_map_that_is_gone_or_was_written_to_by_others_is_not_shared(bench: Bench) -> None:
    apply(puts({1: whole_ring(1), 2: whole_ring(2)}), bench.maps)
    # Behind the back of the first: slot 1 loses its map, and that of slot 2 gets another content
    bench.another.apply(Delete(Table.RINGS, 1))
    spoilt = Map.by_id(bench.inner_ids()[2])
    spoilt.update(bytes(4), whole_ring(9))
    spoilt.close()
    apply(puts({3: whole_ring(1), 4: whole_ring(2)}), bench.maps)
    assert bench.maps.read().rings == {2: whole_ring(9), 3: whole_ring(1), 4: whole_ring(2)}


def test_a_slot_that_is_emptied_leaves_the_ring_to_the_others(bench: Bench) -> None:
    apply(puts({1: whole_ring(1), 2: whole_ring(1)}), bench.maps)
    bench.maps.apply(Delete(Table.RINGS, 1))
    bench.maps.apply(Delete(Table.RINGS, 1))
    assert bench.another.read().rings == {2: whole_ring(1)}


def test_of_a_ring_put_twice_at_once_the_later_counts(bench: Bench) -> None:
    assert bench.maps.put_rings([*puts({1: whole_ring(1)}), *puts({1: whole_ring(2), 2: whole_ring(1)})]) == 3
    assert bench.another.read().rings == {1: whole_ring(2), 2: whole_ring(1)}


def test_a_slot_that_the_kernel_refuses_ends_the_batch_and_is_named(bench: Bench) -> None:
    steps = puts({1: whole_ring(1), 2: whole_ring(2), MAX_VSERVERS: whole_ring(3), 4: whole_ring(4)})
    applied = apply(steps, bench.maps)
    assert (applied.done, applied.failed) == (2, steps[2])
    assert applied.error
    assert applied.error.startswith(f"ring {MAX_VSERVERS}: ")
    assert bench.another.read().rings == {1: whole_ring(1), 2: whole_ring(2)}


def test_a_ring_of_another_size_is_refused_before_any_is_put(bench: Bench) -> None:
    with pytest.raises(ValueError, match="ring has 4 bytes"):
        bench.maps.put_rings(puts({1: whole_ring(1), 2: bytes(4)}))
    assert bench.another.read().rings == {}


def test_a_kernel_without_batches_gets_the_rings_one_by_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_map: Map, _keys: Sequence[bytes], _values: Sequence[bytes]) -> int:
        return 0

    monkeypatch.setattr(Map, "update_batch", refuse)
    wanted = {number: whole_ring(number % 2) for number in range(1, 6)}
    assert apply(puts(wanted), bench.maps) == Applied(5)
    assert bench.another.read().rings == wanted
    assert len(set(bench.inner_ids().values())) == 2


def test_a_batch_that_is_refused_as_a_whole_counts_as_none(bench: Bench) -> None:
    # As with a kind of map that has no batches the kernel leaves the count as it was
    closed = Map(bench.outer.fd)
    closed.fd = -1
    assert closed.update_batch([bytes(4)], [bytes(4)]) == 0


def test_many_changes_leave_neither_descriptors_nor_maps_behind(bench: Bench) -> None:
    apply(puts({1: whole_ring(1)}), bench.maps)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for service in range(20):
        rings = {number: struct.pack("<2H", service, number) + bytes(2 * RING_SLOTS - 4) for number in range(1, 10)}
        assert apply(puts(rings), bench.maps).complete
    former = bench.inner_ids()
    apply(puts(dict.fromkeys(range(1, 10), whole_ring(1))), bench.maps)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    for inner_id in former.values():
        with pytest.raises(FileNotFoundError):
            Map.by_id(inner_id)


def test_frames_that_have_a_vserver_find_its_ring_until_they_have_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wait before the first ring or policy goes, however many go; none where no vserver has changed."""
    keys = [VServerKey(ip_address(f"192.0.2.{number}"), 6, 80) for number in (1, 2, 3)]
    full = ip_address("255.255.255.255")
    apply(puts(dict.fromkeys((1, 2, 3), whole_ring(1))), bench.maps)
    for number, key in enumerate(keys, start=1):
        bench.maps.apply(Put(Table.VSERVERS, key, VServerEntry(number, number, HashField.SOURCE, full)))
    done: list[str] = []
    update, delete = bench.outer.update, bench.outer.delete

    def seen_update(key: bytes, value: bytes, size: int | None = None) -> None:
        done.append("update")
        update(key, value, size)

    def seen_delete(key: bytes) -> None:
        done.append("delete")
        delete(key)

    monkeypatch.setattr(bench.outer, "update", seen_update)
    monkeypatch.setattr(bench.outer, "delete", seen_delete)
    rings = bench.another.read().rings
    apply([Delete(Table.VSERVERS, key) for key in keys[:2]], bench.maps)
    assert not done
    apply([Delete(Table.POLICIES, 1)], bench.maps)
    assert done == ["update"]
    assert bench.another.read().rings == rings
    apply([Delete(Table.RINGS, 1), Delete(Table.RINGS, 2)], bench.maps)
    assert done == ["update", "delete", "delete"]
    apply([Delete(Table.VSERVERS, keys[2]), Delete(Table.RINGS, 9), Delete(Table.RINGS, 3)], bench.maps)
    assert done[3:] == ["delete", "update", "delete"]  # an empty slot is nothing to wait by
    assert not bench.another.read().rings

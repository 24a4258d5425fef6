"""Maps and pins: what is written is read back, and a second process finds what the first one left."""

from __future__ import annotations

import os
import shutil
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.kernel import loader
from dataplane.kernel.libbpf import BpfObject, program_info
from dataplane.kernel.maps import KernelMaps
from dataplane.steps import Delete, Put, Table
from dataplane.tables import (
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    Count,
    ForwarderSettings,
    HashField,
    PolicyEntry,
    ProbeInKey,
    ProbeOut,
    Reason,
    ServiceEntry,
    Tables,
    VipFlag,
    VServerEntry,
    VServerKey,
)
from tests import packets as p
from tests.kernel.bench import OWN_MAC, ROOT, Bench, run, whole_ring

pytestmark = pytest.mark.kernel

VIP, VIP6 = ip_address("203.0.113.80"), ip_address("2001:db8::80")
MAC, OTHER_MAC = bytes.fromhex("02cc00000001"), bytes.fromhex("02cc00000002")
RING = struct.pack(f"<{RING_SLOTS}H", *(slot % 300 for slot in range(RING_SLOTS)))
FULL = Tables(
    settings=ForwarderSettings(bytes(range(16)), 7, MAC),
    interfaces={3: MAC, 4: OTHER_MAC},
    vips={VIP: VipFlag.ANSWER | VipFlag.PROTO_PORT, VIP6: VipFlag.ANY},
    vservers={
        VServerKey(VIP, 6, 80): VServerEntry(1, 11, HashField.SOURCE, ip_address("255.255.255.0")),
        VServerKey(VIP6, 0, 0): VServerEntry(4095, 12, HashField.SOURCE | HashField.SOURCE_PORT, ip_address("ffff::")),
    },
    rings={1: RING, 4095: whole_ring(2)},
    policies={4095: PolicyEntry(12, 60, 3600, ip_address("ffff:ffff::"))},
    closed={ClosedKey(12, 1): ClosedState.DRAIN, ClosedKey(12, 16383): ClosedState.FLUSH},
    services={1: ServiceEntry(21, 3, MAC, OTHER_MAC), 16383: ServiceEntry(22, 4, OTHER_MAC, MAC)},
    probes_out={
        ip_address("198.18.0.1"): ProbeOut(VIP, 3, MAC, OTHER_MAC),
        ip_address("fd18::1"): ProbeOut(VIP6, 4, OTHER_MAC, MAC),
    },
    probes_in={ProbeInKey(VIP, MAC): ip_address("198.18.0.1"), ProbeInKey(VIP6, OTHER_MAC): ip_address("fd18::1")},
)


def steps(tables: Tables) -> list[Put]:
    puts = [Put(Table.SETTINGS, 0, tables.settings)]
    for table in Table:
        if table is not Table.SETTINGS:
            puts += [Put(table, key, value) for key, value in getattr(tables, table.value).items()]
    return puts


@pytest.fixture
def empty(object_file: Path, pin_dir: Path) -> KernelMaps:
    return KernelMaps(loader.load(object_file, pin_dir).maps)


def test_every_table_is_read_back_as_it_was_written(empty: KernelMaps) -> None:
    assert empty.read() == Tables()
    for step in steps(FULL):
        empty.apply(step)
    assert empty.read() == FULL


def test_steps_can_be_repeated_and_undone(empty: KernelMaps) -> None:
    for _ in range(2):
        for step in steps(FULL):
            empty.apply(step)
    assert empty.read() == FULL
    for _ in range(2):
        for step in steps(FULL):
            empty.apply(Delete(step.table, step.key))
    assert empty.read() == Tables()


def test_a_value_that_does_not_fit_changes_nothing(empty: KernelMaps) -> None:
    with pytest.raises(ValueError, match="ring has 4 bytes"):
        empty.apply(Put(Table.RINGS, 1, bytes(4)))
    with pytest.raises(ValueError, match="mac has 3 bytes"):
        empty.apply(Put(Table.SERVICES, 1, ServiceEntry(1, 1, b"123", MAC)))
    assert empty.read() == Tables()


def test_the_kernels_refusal_is_an_oserror_with_its_number(empty: KernelMaps) -> None:
    with pytest.raises(OSError, match="writing to services") as caught:
        empty.apply(Put(Table.SERVICES, 16384, ServiceEntry(1, 1, MAC, MAC)))
    assert caught.value.errno == 7  # E2BIG: behind the end of the array


def test_a_thousand_ring_changes_leave_no_map_behind(empty: KernelMaps) -> None:
    empty.apply(Put(Table.RINGS, 1, RING))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for service in range(100):
        empty.apply(Put(Table.RINGS, 1, whole_ring(service)))
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert empty.read().rings == {1: whole_ring(99)}


def test_counters_are_cleared_for_the_named_ids_only(bench: Bench) -> None:
    for vserver_id, port in ((1, 80), (2, 81)):
        bench.add_vserver(VServerKey(VIP, p.TCP, port), vserver_id, whole_ring(vserver_id))
        packet = p.ipv4("192.0.2.1", str(VIP), p.TCP, p.tcp("192.0.2.1", str(VIP), (40000, port)))
        assert bench.send(p.ethernet(OWN_MAC, MAC, p.IPV4, packet)).reason is Reason.FORWARDED
    bench.maps.clear_counters(vservers=[1], services=[2])
    counters = bench.maps.counters()
    assert counters.vservers == {1: Count(), 2: Count(1, 54)}
    assert (counters.services[1], counters.services[2]) == (Count(1, 54), Count())


def test_a_second_load_takes_over_maps_and_programs(object_file: Path, pin_dir: Path) -> None:
    first = loader.load(object_file, pin_dir)
    for step in steps(FULL):
        KernelMaps(first.maps).apply(step)
    wanted = program_info(first.ingress_fd), program_info(first.probe_fd)
    first.close()
    second = loader.load(object_file, pin_dir)
    assert KernelMaps(second.maps).read() == FULL
    assert (program_info(second.ingress_fd), program_info(second.probe_fd)) == wanted
    second.close()


def variant(source: Path, target: Path, *flags: str, replace: tuple[str, str] | None = None) -> Path:
    """Another build of the forwarder."""
    folder = target / "source"
    shutil.copytree(source, folder)
    main = folder / "forward.bpf.c"
    if replace:
        changed = next(path for path in (main, folder / "forward.h") if replace[0] in path.read_text())
        changed.write_text(changed.read_text().replace(*replace))
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    made = target / "forward.bpf.o"
    run("clang", "-O2", "-g", "-target", "bpf", include, *flags, "-c", str(main), "-o", str(made))
    return made


def test_a_changed_program_keeps_the_maps_and_replaces_the_pin(
    object_file: Path, pin_dir: Path, tmp_path: Path
) -> None:
    changed = variant(
        ROOT / "dataplane/bpf", tmp_path / "changed", replace=("finish(skb, REASON_PASS_NOT_IP)", "TC_ACT_UNSPEC")
    )
    first = loader.load(object_file, pin_dir)
    for step in steps(FULL):
        KernelMaps(first.maps).apply(step)
    second = loader.load(changed, pin_dir)
    assert second.folder == first.folder
    assert KernelMaps(second.maps).read() == FULL
    assert program_info(second.ingress_fd).id != program_info(first.ingress_fd).id
    assert program_info(second.probe_fd).id == program_info(first.probe_fd).id
    third = loader.load(changed, pin_dir)
    assert program_info(third.ingress_fd).id == program_info(second.ingress_fd).id
    for forwarder in (first, second, third):
        forwarder.close()


def test_a_changed_layout_gets_a_new_folder_and_the_old_one_goes_when_told(
    object_file: Path, pin_dir: Path, tmp_path: Path
) -> None:
    other = variant(ROOT / "dataplane/bpf", tmp_path / "other", "-DMAX_VIPS=2048")
    first, second = loader.load(object_file, pin_dir), loader.load(other, pin_dir)
    assert first.folder != second.folder
    assert {first.folder, second.folder} == set(pin_dir.iterdir())
    assert loader.remove_old(pin_dir, second.folder) == [first.folder]
    assert list(pin_dir.iterdir()) == [second.folder]
    loader.remove_pins(pin_dir)
    assert not pin_dir.exists()
    first.close()
    second.close()


def test_a_folder_outside_a_bpffs_is_refused_before_anything_is_made(object_file: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="must be on a bpffs"):
        loader.load(object_file, tmp_path / "pins")
    assert not (tmp_path / "pins").exists()


def test_what_is_no_object_is_refused_by_name(tmp_path: Path, pin_dir: Path) -> None:
    (tmp_path / "text.o").write_text("not an ELF file")
    with pytest.raises(OSError, match=r"text\.o"):
        loader.load(tmp_path / "text.o", pin_dir)
    with pytest.raises(FileNotFoundError):
        BpfObject(tmp_path / "absent.o")


def test_a_program_that_the_verifier_refuses_says_why(tmp_path: Path, pin_dir: Path) -> None:
    broken = variant(ROOT / "dataplane/bpf", tmp_path / "broken", replace=("ring->slot[slot]", "ring->slot[slot + 1]"))
    with pytest.raises(OSError, match="invalid access to map value"):
        loader.load(broken, pin_dir)

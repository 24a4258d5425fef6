"""Capture of real traffic between namespaces, read back by scapy and tcpdump."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from scapy.utils import RawPcapNgReader

from dataplane.dissect import dissect
from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.pcapng import read_frame
from dataplane.steps import Put, Table
from tests import factories
from tests.kernel.bench import inside, run, whole_ring
from tests.kernel.network import PORT, SERVERS, VIP, VIP6, Network, address, ask_tcp, ask_udp, mac, network
from tests.kernel.test_forward_network import add_probes, configure

pytestmark = [pytest.mark.kernel, pytest.mark.django_db(transaction=True)]

VIPS = {4: VIP, 6: VIP6}


@pytest.fixture(scope="module")
def net(object_file: Path) -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def kernel(net: Network, object_file: Path, pin_dir: Path) -> Iterator[Kernel]:
    """A forwarder with both VIPs in the director's namespace; gone afterwards."""
    with inside(net.namespace("director")):
        opened = open_kernel(object_file, pin_dir, on_event=lambda: None)
        try:
            configure(opened, net)
            yield opened
        finally:
            opened.close()
            remove_everything(pin_dir)
    for host in ("client", *SERVERS):
        net.ip(host, "neigh", "flush", "all")


class Captured:
    """A file by interface name, in order, with what the command said."""

    def __init__(self, path: Path, said: str) -> None:
        self.path, self.said = path, said
        self.frames: dict[str, list[bytes]] = {}
        with RawPcapNgReader(str(path)) as reader:
            for frame, meta in reader:
                self.frames.setdefault(meta.ifname.decode(), []).append(bytes(frame))

    @property
    def before(self) -> list[bytes]:
        return self.frames.get("eth0 before", [])

    @property
    def after(self) -> list[bytes]:
        return self.frames.get("eth0 after", [])


def capture(net: Network, path: Path, traffic: Callable[[], None], name: str, *options: str) -> Captured:
    """Run the command in the director's namespace while ``traffic`` runs in another thread."""
    said, failures = StringIO(), []
    former = signal.getsignal(signal.SIGINT)

    def later() -> None:
        deadline = time.monotonic() + 10
        while signal.getsignal(signal.SIGINT) is former and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            traffic()
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        with inside(net.namespace("director")):
            call_command("capture", "--vserver", name, "--out", str(path), *options, stderr=said)
    finally:
        thread.join()
    assert not failures, failures
    assert signal.getsignal(signal.SIGINT) is former
    return Captured(path, said.getvalue())


def add_row(version: int = 4, kind: str = "TCP", port: int = PORT) -> str:
    return factories.vserver(name=f"v{version}-{kind}-{port}", address=VIPS[version], service_type=kind, port=port).name


@pytest.mark.parametrize("version", [4, 6])
def test_each_frame_after_equals_its_frame_before_but_for_the_macs(
    net: Network, kernel: Kernel, tmp_path: Path, version: int
) -> None:
    name, path = add_row(version), tmp_path / "out.pcapng"

    def traffic() -> None:
        for _ in range(10):
            ask_tcp(net, "client", VIPS[version])
            ask_udp(net, "client", VIPS[version], b"another vserver")

    counted = kernel.maps.counters().vservers[1 if version == 4 else 3].packets
    found = capture(net, path, traffic, name, "--seconds", "2")
    counted = kernel.maps.counters().vservers[1 if version == 4 else 3].packets - counted
    assert len(found.before) == len(found.after) == counted >= 40
    servers = {mac(server) for server in SERVERS}
    for before, after in zip(found.before, found.after, strict=True):
        assert before[:12] == mac("director") + mac("client")
        assert after[6:12] == mac("director")
        assert after[:6] in servers
        assert after[12:] == before[12:]
        packet = dissect(before)
        assert (str(packet.source), str(packet.destination)) == (address("client", version), VIPS[version])
        assert packet.protocol == socket.IPPROTO_TCP
        assert packet.ports is not None
        assert packet.ports[1] == PORT
    assert f"{counted} frames before and {counted} after rewriting, {counted} pairs" in found.said
    assert "the time was over" in found.said
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"{path.stat().st_size} bytes" in found.said


def test_tcpdump_reads_the_file_and_its_times_are_true(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    if not shutil.which("tcpdump"):
        pytest.skip("needs tcpdump")
    start = time.time()

    def traffic() -> None:
        for _ in range(8):
            ask_udp(net, "client", VIP, b"x" * 100)

    found = capture(net, tmp_path / "t.pcapng", traffic, add_row(4, "UDP"), "--count", "5")
    lines = run("tcpdump", "-nn", "-e", "-tt", "--nano", "-r", str(found.path)).splitlines()
    assert len(lines) == 10
    assert all(f"{VIP}.{PORT}: UDP, length 100" in line for line in lines)
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)
    assert start <= times[0]
    assert times[-1] <= time.time()
    # 5 of each side, and no more: the pairs follow each other
    assert [mac("director").hex(":") in line.split("> ")[1] for line in lines] == [True, False] * 5
    assert "the number of frames was reached" in found.said


def test_ctrl_c_ends_with_a_complete_file(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    def traffic() -> None:
        for _ in range(3):
            ask_udp(net, "client", VIP, b"hello")
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    found = capture(net, tmp_path / "c.pcapng", traffic, add_row(4, "UDP"))
    assert len(found.before) == len(found.after) == 3
    assert "it was stopped" in found.said


def test_fragments_of_one_packet_are_captured_whole_and_cut_to_the_snap_length(
    net: Network, kernel: Kernel, tmp_path: Path
) -> None:
    def traffic() -> None:
        with net.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((VIP, PORT))
            for size in (3000, 50):
                client.send(os.urandom(size))

    found = capture(net, tmp_path / "f.pcapng", traffic, add_row(4, "UDP"), "--seconds", "1", "--snaplen", "100")
    assert len(found.before) == 4  # three fragments and a whole packet
    # 8 bytes of UDP header and 3000 of data: 1480, 1480 and 48 behind IP headers
    assert [len(frame) for frame in found.before] == [100, 100, 14 + 20 + 48, 14 + 20 + 8 + 50]
    with pytest.raises(ValueError, match="frame 1 was cut from 1514 to 100 bytes"):
        read_frame(found.path, 1)


def test_the_directors_own_health_checks_are_left_out(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    add_probes(kernel, net)

    def traffic() -> None:
        assert ask_tcp(net, "director", "198.18.0.2") == "s2"
        ask_tcp(net, "client", VIP)

    found = capture(net, tmp_path / "p.pcapng", traffic, add_row(), "--seconds", "1")
    assert found.before
    assert len(found.before) == len(found.after)
    assert {str(dissect(frame).source) for frame in found.before + found.after} == {address("client")}
    assert "frames of the director's own health checks were left out" in found.said


def test_dropped_frames_are_missing_after_and_said(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    kernel.maps.apply(Put(Table.RINGS, 2, whole_ring(0)))  # UDP: no service

    def traffic() -> None:
        with net.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(4):
                client.sendto(b"lost", (VIP, PORT))

    found = capture(net, tmp_path / "d.pcapng", traffic, add_row(4, "UDP"), "--seconds", "1")
    assert (len(found.before), len(found.after)) == (4, 0)
    assert "4 frames were not seen to leave" in found.said


def test_a_more_special_vserver_keeps_its_frames(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    """ANY at every port beside TCP at one: the latter's frames are no frames of the former."""
    add_row()
    name = factories.vserver(name="rest", address=VIP, service_type="ANY", port=0).name

    def traffic() -> None:
        ask_tcp(net, "client", VIP)
        ask_udp(net, "client", VIP, b"mine")

    found = capture(net, tmp_path / "r.pcapng", traffic, name, "--seconds", "1")
    assert [dissect(frame).protocol for frame in found.before] == [socket.IPPROTO_UDP]
    assert len(found.after) == 1


def test_the_size_of_the_file_is_bounded(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    def traffic() -> None:
        for _ in range(30):
            ask_udp(net, "client", VIP, b"x" * 1000)

    found = capture(net, tmp_path / "s.pcapng", traffic, add_row(4, "UDP"), "--bytes", "10000")
    assert "the file reached its size" in found.said
    assert 10000 <= found.path.stat().st_size < 12000


def test_nonsense_is_refused_and_no_file_is_touched(net: Network, kernel: Kernel, tmp_path: Path) -> None:
    name, there = add_row(), tmp_path / "there.pcapng"
    there.write_text("precious")
    for arguments, message in {
        ("--vserver", "v4-TCP"): rf"'v4-TCP': there is no vserver of this name. Did you mean {name}\?",
        ("--vserver", name, "--count", "0"): "--count: 0: must be 1 to",
        ("--vserver", name, "--seconds", "0"): "--seconds: 0.0: must be",
        ("--vserver", name, "--snaplen", "1"): "--snaplen: 1: must be 64 to",
        ("--vserver", name, "--bytes", "1"): "--bytes: 1: must be 4096",
        ("--vserver", name, "--out", str(there)): "there.pcapng: File exists",
        ("--vserver", name, "--out", str(tmp_path / "no" / "x")): "No such file",
    }.items():
        with inside(net.namespace("director")), pytest.raises(CommandError, match=message):
            call_command("capture", *arguments)
    assert there.read_text() == "precious"
    assert list(tmp_path.glob("*.pcapng")) == [there]

"""Capture and explain while XDP forwards: packet sockets hear nothing of that, and two programs are to be asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from ipaddress import ip_address
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from scapy.utils import RawPcapNgReader

from dataplane.explain_query import frame_query
from dataplane.forwarding import Mode, Wish
from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.kernel.capture import Detour, detour
from dataplane.kernel.explain import explain, open_loaded
from dataplane.layout_telemetry import unpack_tap
from dataplane.steps import Put, Table
from dataplane.tables import HashField, Reason, ServiceEntry, VServerEntry, VServerFlag, VServerKey
from tests import factories
from tests import packets as p
from tests.kernel.bench import ROOT, inside
from tests.kernel.test_xdp_switch import attach_to_peer
from tests.kernel.veth import (
    CLIENT,
    CLIENT_MAC,
    DIRECTOR_MAC,
    FULL,
    PORT,
    SERVER_MAC,
    VIP,
    VSERVER_ROW,
    Link,
    arrived,
    configure,
    link,
    numbered,
)

pytestmark = pytest.mark.kernel


@pytest.fixture
def made(object_file: Path) -> Iterator[Link]:
    with link("eth0") as found:
        yield found


@pytest.fixture
def kernel(made: Link, object_file: Path, pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """The director's eth0 in XDP mode; the commands find its maps."""
    monkeypatch.setattr(configured, "PIN_DIR", pin_dir)
    monkeypatch.setattr(configured, "DIRECTOR_INTERFACES", [])
    with inside(made.names["director"]):
        opened = open_kernel(object_file, pin_dir, on_event=lambda: None)
        try:
            configure(opened, made)
            made.prepare("eth0")
            attach_to_peer(made)
            index = made.ifindex()
            _done, modes = opened.links.ensure_modes([index], Wish(Mode.XDP, frozenset([index])))
            assert modes[index].mode is Mode.XDP
            yield opened
        finally:
            opened.close()
            remove_everything(pin_dir)


def tap_of(kernel: Kernel) -> tuple[int, int]:
    return unpack_tap(kernel.forwarder.maps["taps"].lookup(bytes(4)) or b"")


@pytest.mark.django_db(transaction=True)
def test_a_capture_hears_both_sides_of_what_xdp_forwards_and_lets_go_afterwards(
    made: Link, kernel: Kernel, tmp_path: Path
) -> None:
    row = factories.vserver(name="web", address=VIP, service_type="UDP", port=PORT)
    kernel.maps.apply(
        Put(Table.VSERVERS, VServerKey(ip_address(VIP), p.UDP, PORT), VServerEntry(1, row.pk, HashField.SOURCE, FULL))
    )
    said, path = StringIO(), tmp_path / "web.pcapng"
    during: list[tuple[int, int]] = []

    def send() -> None:
        deadline = time.monotonic() + 10
        while "Capturing" not in said.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        with made.packet_socket("peer", "eth0") as peer:
            for number in range(30):
                peer.send(numbered(number))
                time.sleep(0.002)
            during.append(tap_of(kernel))
            assert arrived(peer) == list(range(30))

    sender = threading.Thread(target=send)
    sender.start()
    call_command("capture", "--vserver", "web", "--out", str(path), "--seconds", "2", stderr=said)
    sender.join()
    assert "30 frames before and 30 after rewriting, 30 pairs" in said.getvalue()
    assert "XDP" not in said.getvalue()
    with RawPcapNgReader(str(path)) as reader:
        frames = [(meta.ifname.decode(), bytes(frame)) for frame, meta in reader]
    assert [frame for name, frame in frames if name == "eth0 before"] == [numbered(n) for n in range(30)]
    assert {frame[:12] for name, frame in frames if name == "eth0 after"} == {SERVER_MAC + DIRECTOR_MAC}
    [(until, vserver)] = during
    assert vserver == row.pk
    assert 0 < until - time.monotonic_ns() + 3_000_000_000 < 6_000_000_000
    assert tap_of(kernel) == (0, 0)


def test_a_capture_that_crashes_lets_xdp_forward_again_by_itself(kernel: Kernel, pin_dir: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from dataplane.kernel.capture import detour\n"
        f"with detour(pathlib.Path(sys.argv[1]), {VSERVER_ROW}):\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(pin_dir)], cwd=ROOT, check=False, timeout=20)
    assert done.returncode == 9
    until, vserver = tap_of(kernel)
    assert vserver == VSERVER_ROW
    left = (until - time.monotonic_ns()) / 1e9
    assert left <= 3
    time.sleep(max(0.0, left) + 0.05)
    query = frame_query(numbered(1))
    with open_loaded(pin_dir, "eth0", towards=query) as loaded:
        found = explain(query, loaded.maps, loaded.program_fd, loaded.interfaces, xdp_fd=loaded.xdp_fd)
    assert found.finished_by == "xdp"


def test_two_captures_at_once_hear_their_vservers(kernel: Kernel, pin_dir: Path) -> None:
    with detour(pin_dir, 1) as first:
        assert tap_of(kernel)[1] == 1
        with detour(pin_dir, 2):
            assert tap_of(kernel)[1] == 0, "all frames go by tc"
        Detour.renew(first)
        assert tap_of(kernel)[1] == 0
        assert tap_of(kernel)[0] > time.monotonic_ns(), "the one that ends leaves the other's"


@pytest.mark.django_db
def test_explain_asks_both_programs_and_tells_which_one_finishes(made: Link, kernel: Kernel, pin_dir: Path) -> None:
    frame = numbered(7)
    said = StringIO()
    counted = kernel.maps.reasons()[Reason.FORWARDED].packets
    call_command("explain", "--frame", frame.hex(), stdout=said)
    assert "finished by  XDP, in the driver, and tc would do the same" in said.getvalue()
    assert "redirect: forwarded" in said.getvalue()
    assert f"MACs after   {DIRECTOR_MAC.hex(':')} → {SERVER_MAC.hex(':')}" in said.getvalue()
    assert "tables and program agree" in said.getvalue()
    assert kernel.maps.reasons()[Reason.FORWARDED].packets == counted + 2, "once by each"
    ping = p.ethernet(DIRECTOR_MAC, CLIENT_MAC, p.IPV4, p.ipv4(CLIENT, VIP, p.ICMP, p.icmp(8, bytes(4))))
    said = StringIO()
    call_command("explain", "--frame", ping.hex(), "--json", stdout=said)
    told = json.loads(said.getvalue())
    assert (told["finished_by"], told["xdp_attached"], told["xdp_and_tc_agree"]) == ("tc", True, None)
    wrong_port = p.ethernet(DIRECTOR_MAC, CLIENT_MAC, p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, p.udp(CLIENT, VIP, (1, 9))))
    said = StringIO()
    call_command("explain", "--frame", wrong_port.hex(), "--json", stdout=said)
    told = json.loads(said.getvalue())
    assert (told["finished_by"], told["reason"], told["xdp_and_tc_agree"]) == ("xdp", "DROP_NO_VSERVER", True)
    kernel.links.ensure_modes([made.ifindex()], Wish(Mode.TC))
    said = StringIO()
    call_command("explain", "--frame", frame.hex(), stdout=said)
    assert "finished by  tc; XDP is not attached here" in said.getvalue()


def test_explain_notices_when_xdp_and_tc_disagree(made: Link, kernel: Kernel, pin_dir: Path) -> None:
    query = frame_query(numbered(1))
    with open_loaded(pin_dir, "eth0", towards=query) as loaded:
        # The program for probes in tc's place: it drops what is no probe
        found = explain(query, loaded.maps, kernel.forwarder.probe_fd, loaded.interfaces, xdp_fd=loaded.xdp_fd)
    assert (found.finished_by, found.stages_agree) == ("xdp", False)
    assert "but tc would NOT do the same" in found.text()
    assert "XDP and tc treat this frame differently" in found.text()


def test_turns_that_differ_are_no_disagreement(made: Link, kernel: Kernel, pin_dir: Path) -> None:
    index = made.ifindex()
    kernel.maps.apply(Put(Table.SERVICES, 2, ServiceEntry(2, index, b"\x02\xde\0\0\0\xe2", DIRECTOR_MAC)))
    kernel.maps.apply(Put(Table.RINGS, 1, b"\x01\0\x02\0" * 8190 + b"\x01\0"))
    key = VServerKey(ip_address(VIP), p.UDP, PORT)
    kernel.maps.apply(
        Put(Table.VSERVERS, key, VServerEntry(1, VSERVER_ROW, HashField.SOURCE, FULL, VServerFlag.ROTATE))
    )
    query, cpus = frame_query(numbered(1)), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        with open_loaded(pin_dir, "eth0", towards=query) as loaded:
            found = explain(query, loaded.maps, loaded.program_fd, loaded.interfaces, xdp_fd=loaded.xdp_fd)
    finally:
        os.sched_setaffinity(0, cpus)
    assert (found.finished_by, found.stages_agree) == ("xdp", None)

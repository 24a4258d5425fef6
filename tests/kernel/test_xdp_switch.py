"""XDP in front of tc on veth: attached only where it may be, and no frame is lost or doubled by a change of mode."""

from __future__ import annotations

import ctypes as c
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from dataplane.forwarding import Forwarding, Mode, Wish
from dataplane.kernel import xdp
from dataplane.kernel.abi import lib
from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.kernel.libbpf import load_instructions, program_info
from dataplane.tables import Reason
from tests.kernel.bench import inside, run
from tests.kernel.veth import Link, Stream, arrived, configure, link, numbered

pytestmark = pytest.mark.kernel

THEIRS = "somebody"


@pytest.fixture
def made(object_file: Path) -> Iterator[Link]:
    with link("eth0", "eth1") as found:
        yield found


@pytest.fixture
def kernel(made: Link, object_file: Path, pin_dir: Path) -> Iterator[Kernel]:
    """A forwarder with one VIP in the director's namespace; gone afterwards."""
    with inside(made.names["director"]):
        opened = open_kernel(object_file, pin_dir, on_event=lambda: None)
        try:
            configure(opened, made)
            yield opened
        finally:
            opened.close()
            remove_everything(pin_dir)


def their_program(name: str = THEIRS) -> int:
    """A program for XDP that passes everything, of somebody else."""
    return load_instructions(6, name, xdp._RETURN_PASS, xdp._HAS_FRAGMENTS)


def attach_to_peer(made: Link, name: str = "eth0") -> None:
    """An XDP program at the other end: a veth takes from XDP_TX only what the other end's NAPI then looks for."""
    with inside(made.names["peer"]), IPRoute() as ip:
        fd = their_program()
        xdp.attach(ip.link_lookup(ifname=name)[0], fd, None)
        os.close(fd)


def attached(made: Link, name: str = "eth0") -> str:
    """Name of the XDP program in the director, empty for none."""
    with inside(made.names["director"]), IPRoute() as ip:
        found = xdp.attached_to(ip.get_links(ifname=name)[0])
    return found.name if found else ""


@contextmanager
def counting_runs() -> Iterator[Callable[[int], int]]:
    """How often a program ran, by its descriptor (BPF_ENABLE_STATS, for as long as this lasts)."""
    lib.bpf_enable_stats.argtypes, lib.bpf_enable_stats.restype = [c.c_int], c.c_int
    stats = lib.bpf_enable_stats(0)
    assert stats >= 0

    def runs(fd: int) -> int:
        return int(json.loads(run("bpftool", "-j", "prog", "show", "id", str(program_info(fd).id))).get("run_cnt", 0))

    try:
        yield runs
    finally:
        os.close(stats)


def switch(kernel: Kernel, made: Link, mode: Mode, egress: str = "eth0") -> tuple[list[str], Forwarding]:
    ours = [made.ifindex("eth0"), made.ifindex("eth1")]
    done, modes = kernel.links.ensure_modes(ours, Wish(mode, frozenset([made.ifindex(egress)])))
    return done, modes[made.ifindex("eth0")]


@pytest.mark.parametrize("egress", ["eth0", "eth1"])
def test_no_frame_is_lost_or_doubled_while_the_mode_changes(made: Link, kernel: Kernel, egress: str) -> None:
    configure(kernel, made, egress)
    made.prepare("eth0", "eth1")
    attach_to_peer(made)
    ears = made.packet_socket("peer", egress)
    with ears, counting_runs() as runs:
        stream = Stream(made)
        stream.start()
        for number in range(60):
            done, found = switch(kernel, made, Mode.TC if number % 2 else Mode.XDP, egress)
            assert found.mode is (Mode.TC if number % 2 else Mode.XDP), found
            assert done
            time.sleep(0.03)
        stream.stop()
        numbers = arrived(ears)
        by_xdp, by_tc = runs(kernel.forwarder.xdp_fd), runs(kernel.forwarder.ingress_fd)
    assert sorted(numbers) == list(range(stream.sent)), "each frame arrives once"
    assert numbers == sorted(numbers), "and none overtakes another"
    assert by_xdp + by_tc == stream.sent, "each frame met one of the programs alone"
    assert min(by_xdp, by_tc) > stream.sent // 5, "and both did their part"
    reasons = kernel.maps.reasons()
    assert {reason: count.packets for reason, count in reasons.items() if count.packets} == {
        Reason.FORWARDED: stream.sent
    }
    assert reasons[Reason.FORWARDED].bytes == stream.sent * len(numbered(0))


def test_what_xdp_does_not_know_is_left_to_tc_and_counted_there_once(made: Link, kernel: Kernel) -> None:
    made.ip("peer", "addr", "add", "203.0.113.1/24", "dev", "eth0")
    attach_to_peer(made)
    assert switch(kernel, made, Mode.XDP)[1].mode is Mode.XDP
    with inside(made.names["peer"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"anything", ("203.0.113.80", 9))  # asks by ARP first; no vserver has that port
        deadline = time.monotonic() + 3
        while kernel.maps.reasons()[Reason.DROP_NO_VSERVER].packets == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
    counted = {reason: count.packets for reason, count in kernel.maps.reasons().items() if count.packets}
    assert counted == {Reason.ARP_ANSWERED: 1, Reason.DROP_NO_VSERVER: 1}


def test_auto_leaves_veth_to_tc_and_says_why(made: Link, kernel: Kernel) -> None:
    done, found = switch(kernel, made, Mode.AUTO)
    assert (done, found.mode, found.refused) == ([], Mode.TC, False)
    assert "veth is a virtual device" in found.reason
    assert attached(made) == ""


def test_the_program_of_somebody_else_stays_and_is_named(made: Link, kernel: Kernel, pin_dir: Path) -> None:
    fd = their_program()
    xdp.attach(made.ifindex(), fd, None)
    for mode in (Mode.XDP, Mode.TC, Mode.AUTO):
        _done, found = switch(kernel, made, mode)
        assert found.mode is Mode.TC
        assert (f"XDP program {THEIRS} (id " in found.reason) == (mode is not Mode.TC), found
        assert found.refused == (mode is Mode.XDP)
        assert attached(made) == THEIRS
    assert not [line for line in remove_everything(pin_dir) if "XDP" in line or "hp_xdp" in line]
    assert attached(made) == THEIRS
    # Nor can they be replaced in the moment between looking and attaching
    with pytest.raises(OSError, match="already attached"):
        xdp.attach(made.ifindex(), kernel.forwarder.xdp_fd, None)
    os.close(fd)


def test_a_program_of_ours_is_replaced_in_place_and_found_again_by_the_next_process(
    made: Link, kernel: Kernel, object_file: Path, pin_dir: Path
) -> None:
    made.prepare("eth0")
    older = their_program("hp_xdp")
    xdp.attach(made.ifindex(), older, None)
    os.close(older)
    alone = [made.ifindex()], Wish(Mode.XDP, frozenset([made.ifindex()]))
    assert kernel.links.ensure_modes(*alone)[0] == ["eth0: replaced hp_xdp"]
    assert kernel.links.ensure_modes(*alone)[0] == []
    kernel.close()
    attach_to_peer(made)
    with made.packet_socket("peer", "eth0") as ears:
        for number in range(50):
            ears.send(numbered(number))
        assert arrived(ears) == list(range(50)), "it forwards without a process"
    again = open_kernel(object_file, pin_dir, on_event=lambda: None)
    try:
        assert again.links.ensure_modes(*alone)[0] == []
        assert remove_everything(pin_dir)[0] == "eth0: detached hp_xdp"
        assert attached(made) == ""
    finally:
        again.close()


def test_xdp_leaves_an_interface_that_is_no_longer_ours(made: Link, kernel: Kernel) -> None:
    made.prepare("eth0", "eth1")
    switch(kernel, made, Mode.XDP)
    assert attached(made) == attached(made, "eth1") == "hp_xdp"
    done, modes = kernel.links.ensure_modes([made.ifindex()], Wish(Mode.XDP, frozenset([made.ifindex()])))
    assert done == ["eth1: detached XDP"]
    assert modes.keys() == {made.ifindex()}
    assert (attached(made), attached(made, "eth1")) == ("hp_xdp", "")


def test_a_link_that_goes_down_and_up_keeps_its_program(made: Link, kernel: Kernel) -> None:
    made.prepare("eth0")
    switch(kernel, made, Mode.XDP)
    for state in ("down", "up"):
        made.ip("peer", "link", "set", "eth0", state)
        done, found = switch(kernel, made, Mode.XDP)
        assert (done, found.mode) == ([], Mode.XDP)
    switch(kernel, made, Mode.TC)
    made.ip("peer", "link", "set", "eth0", "down")
    assert switch(kernel, made, Mode.XDP)[1] == Forwarding(Mode.TC, "the link is down")
    assert attached(made) == ""


def test_a_veth_whose_other_end_would_lose_every_frame_stays_with_tc(made: Link, kernel: Kernel) -> None:
    switch(kernel, made, Mode.XDP)  # which finds out that a program does not help
    done, found = switch(kernel, made, Mode.XDP)
    assert (done, found.mode, found.refused, attached(made)) == ([], Mode.TC, True, "")
    assert "the other end of this veth takes nothing from XDP" in found.reason


def test_services_behind_an_interface_that_cannot_send_from_xdp_keep_the_others_on_tc(
    made: Link, kernel: Kernel
) -> None:
    configure(kernel, made, "eth1")
    done, found = switch(kernel, made, Mode.XDP, "eth1")
    assert found == Forwarding(Mode.TC, "services are behind eth1, which cannot send frames from XDP", refused=True)
    made.offload("peer", "eth1", "gro", on=True)
    assert switch(kernel, made, Mode.XDP, "eth1")[1].mode is Mode.XDP
    made.offload("peer", "eth1", "gro", on=False)
    done, found = switch(kernel, made, Mode.XDP, "eth1")
    assert (done, found.mode) == (["eth0: detached XDP", "eth1: detached XDP"], Mode.TC)


def test_the_drivers_words_tell_why_it_refuses(made: Link, kernel: Kernel) -> None:
    made.prepare("eth0")
    for host in made.names:
        made.ip(host, "link", "set", "eth0", "mtu", "9000")
    single = load_instructions(6, THEIRS, xdp._RETURN_PASS)  # cannot take frames of several pages
    with pytest.raises(OSError, match="veth: Peer MTU is too large to set XDP"):
        xdp.attach(made.ifindex(), single, None)
    os.close(single)
    assert switch(kernel, made, Mode.XDP)[1].mode is Mode.XDP
    made.ip("director", "link", "add", "br0", "up", "type", "bridge")
    index = made.ifindex("br0")
    _done, modes = kernel.links.ensure_modes([index], Wish(Mode.XDP, frozenset([index])))
    assert modes[index] == Forwarding(Mode.TC, "the driver bridge has no native XDP", refused=True)

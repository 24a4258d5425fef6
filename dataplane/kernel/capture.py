"""Hears a vserver's frames before and after the forwarder's tc program, by one packet socket (packet(7)).

Packet sockets see an arriving frame before the filters of clsact do, and a redirected one where it leaves. XDP comes
before both, so while a capture runs the forwarder's own XDP program leaves the vserver's frames to tc
(:class:`Detour`). What another XDP program forwards is heard by nobody here. With receive offload (GRO) the kernel
shows merged frames, on both sides alike, and sums that hardware is to fill in are still unfinished.
"""

from __future__ import annotations

import ctypes as c
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from dataplane.capture import GRACE_SECONDS, Capture, Instruction, Limits, Seen
from dataplane.kernel import loader, xdp
from dataplane.kernel.attach import KernelLinks
from dataplane.kernel.errors import as_oserror
from dataplane.kernel.libbpf import Map, get_pinned
from dataplane.layout_telemetry import SIZES, pack_tap, unpack_tap
from dataplane.ports import Interface

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_AUXDATA = 6, 8
_PACKET_OUTGOING = 4
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("=qq")
_RECEIVE_BUFFER = 16 << 20
_LARGEST = 1 << 18  # above the largest aggregate of 64 KiB; BIG TCP's are rarer than the memory is worth
_POLL_SECONDS = 0.1
_TAPS = "taps"
_FIRST = bytes(4)
_DETOUR_NS = 3_000_000_000
_RENEW_NS = 500_000_000
_BATCH = 256


@dataclass(slots=True)
class Stop:
    """Set ``asked`` from a signal handler to end a capture with a complete file."""

    asked: bool = False


class Tap:
    """A packet socket on all interfaces of the network namespace it is made in. Raises OSError, also without root."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        self._buffer = bytearray(_LARGEST)
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL)
        )
        try:
            code = c.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
            # The few frames that come in before this are told by their content, like all others
            self._socket.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), c.addressof(code))
            )
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        except BaseException:
            self._socket.close()
            raise

    def frames(self, timeout: float) -> Iterator[Seen]:
        """What has come, in order; waits ``timeout`` seconds for a first frame."""
        if not select.select([self._socket], [], [], timeout)[0]:
            return
        for _ in range(_BATCH):
            try:
                size, ancillary, _flags, address = self._socket.recvmsg_into([self._buffer], 256)
            except BlockingIOError:
                return
            frame = bytes(memoryview(self._buffer)[:size])
            stamp, tag = _ancillary(ancillary)
            if tag:
                frame = frame[:12] + tag + frame[12:]
            yield Seen(stamp or time.time_ns(), address[0], address[2] == _PACKET_OUTGOING, frame)

    def dropped(self) -> int:
        """Frames lost since the last call, because they came faster than they were read."""
        return int(struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1])

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def _ancillary(messages: Sequence[tuple[int, int, bytes]]) -> tuple[int, bytes]:
    """Time in ns, and the VLAN tag that the kernel took out of the frame."""
    stamp, tag = 0, b""
    for level, kind, data in messages:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            stamp = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, *_, tci, tpid = _AUXDATA.unpack_from(data)
            if status & _VLAN_VALID:
                tag = struct.pack(">HH", tpid if status & _VLAN_TPID_VALID else 0x8100, tci)
    return stamp, tag


class Detour:
    """Has hp_xdp leave a vserver's frames to tc, for a moment that must be renewed, so a crash ends it too.

    There is one entry for all captures: where two listen to different vservers, all frames go by tc.
    """

    def __init__(self, maps: Sequence[Map], vserver: int) -> None:
        self._maps = maps
        self._vserver = vserver
        self._renewed = 0

    def renew(self) -> None:
        """Go on, if the last time is long enough ago. Raises OSError."""
        now = time.monotonic_ns()
        if now - self._renewed < _RENEW_NS:
            return
        for taps in self._maps:
            until, vserver = unpack_tap(taps.lookup(_FIRST) or bytes(SIZES["tap"]))
            other = until > now and vserver != self._vserver
            taps.update(_FIRST, pack_tap(now + _DETOUR_NS, 0 if other else self._vserver))
        self._renewed = now

    def end(self) -> None:
        """Let XDP forward again; what another capture asked for stays. Raises OSError."""
        for taps in self._maps:
            if unpack_tap(taps.lookup(_FIRST) or bytes(SIZES["tap"]))[1] == self._vserver:
                taps.update(_FIRST, pack_tap(0, 0))


@contextmanager
def detour(pin_dir: Path, vserver: int) -> Iterator[Detour]:
    """A detour for the vserver of this row, in every forwarder pinned under ``pin_dir``; ended afterwards.

    Raises OSError.
    """
    maps: list[Map] = []
    try:
        for path in sorted(pin_dir.glob(f"*/{_TAPS}")) if pin_dir.is_dir() else ():
            maps.append(Map(get_pinned(path)))
        made = Detour(maps, vserver)
        made.renew()
        try:
            yield made
        finally:
            made.end()
    finally:
        for opened in maps:
            opened.close()


def run(tap: Tap, capture: Capture, limits: Limits, stop: Stop, around: Detour | None = None) -> str:
    """Take frames until a limit is reached or ``stop`` is asked; finish the file; tell which it was.

    ``around`` is kept up meanwhile. One of "count", "seconds", "size" and "stopped".
    """
    start, started = time.time_ns(), time.monotonic()
    deadline, full_since, ended_by = started + limits.seconds, 0.0, ""
    while not ended_by:
        now = time.monotonic()
        if around is not None:
            around.renew()
        if stop.asked:
            ended_by = "stopped"
        elif now >= deadline:
            ended_by = "seconds"
        elif full_since and now - full_since >= GRACE_SECONDS:
            ended_by = "count"
        else:
            for seen in tap.frames(min(_POLL_SECONDS, max(0.0, deadline - now))):
                capture.take(seen)
            if capture.is_full and not full_since:
                full_since = time.monotonic()
            ended_by = capture.ended_by
    capture.finish(start=start, end=time.time_ns(), dropped=tap.dropped())
    return ended_by


@as_oserror
def read_interfaces() -> tuple[tuple[Interface, ...], tuple[str, ...]]:
    """Ethernet interfaces of this network namespace, and the names of those with an XDP program of somebody else."""
    with IPRoute() as ip:
        interfaces = KernelLinks(loader.Forwarder(Path(), {}, -1, -1), ip).interfaces()
        with_xdp = tuple(
            link.get_attr("IFLA_IFNAME")
            for link in ip.get_links()
            if (there := xdp.attached_to(link)) is not None and not xdp.is_ours(there)
        )
    return interfaces, with_xdp

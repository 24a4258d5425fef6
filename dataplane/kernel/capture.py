"""Hears a vserver's frames before and after the forwarder's tc program, by one packet socket (packet(7)).

Packet sockets see an arriving frame before the filters of clsact do, and a redirected one where it leaves. XDP comes
before both: what an XDP program forwards is heard by nobody here. With receive offload (GRO) the kernel shows merged
frames, on both sides alike, and sums that hardware is to fill in are still unfinished.
"""

from __future__ import annotations

import ctypes as c
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from dataplane.capture import GRACE_SECONDS, Capture, Instruction, Limits, Seen
from dataplane.kernel import loader
from dataplane.kernel.attach import KernelLinks
from dataplane.kernel.errors import as_oserror
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


def run(tap: Tap, capture: Capture, limits: Limits, stop: Stop) -> str:
    """Take frames until a limit is reached or ``stop`` is asked; finish the file; tell which it was.

    One of "count", "seconds", "size" and "stopped".
    """
    start, started = time.time_ns(), time.monotonic()
    deadline, full_since, ended_by = started + limits.seconds, 0.0, ""
    while not ended_by:
        now = time.monotonic()
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
    """Ethernet interfaces of this network namespace, and the names of those with an XDP program."""
    with IPRoute() as ip:
        interfaces = KernelLinks(loader.Forwarder(Path(), {}, -1, -1), ip).interfaces()
        with_xdp = tuple(
            link.get_attr("IFLA_IFNAME")
            for link in ip.get_links()
            if (xdp := link.get_attr("IFLA_XDP")) is not None and xdp.get_attr("IFLA_XDP_ATTACHED")
        )
    return interfaces, with_xdp

"""Every frame of an interface in another network namespace."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dataplane.lab import netns

ETH_P_ALL = 3


@dataclass
class Capture:
    """Every frame of one interface, as Ethernet has it, for the length of a block."""

    frames: list[bytes] = field(default_factory=list)

    def between(self, source: str, destination: str) -> list[bytes]:
        wanted = socket.inet_aton(source) + socket.inet_aton(destination)
        return [frame for frame in self.frames if frame[12:14] == b"\x08\x00" and frame[26:34] == wanted]


@contextmanager
def captured(namespace: str) -> Iterator[Capture]:
    capture = Capture()
    stop = threading.Event()
    with netns.entered(namespace):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.bind(("eth0", ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    # Promiscuous: what the bridge floods here counts as passing by, too. struct packet_mreq, packet(7).
    tap.setsockopt(263, 1, struct.pack("iHH8s", socket_index(namespace), 1, 0, bytes(8)))
    tap.settimeout(0.1)

    def read() -> None:
        while True:
            try:
                capture.frames.append(tap.recv(200))
            except TimeoutError:
                if stop.is_set():
                    return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield capture
        time.sleep(0.2)
    finally:
        stop.set()
        reader.join()
        tap.close()


def socket_index(namespace: str) -> int:
    with netns.entered(namespace):
        return socket.if_nametoindex("eth0")

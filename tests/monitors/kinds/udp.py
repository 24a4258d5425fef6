"""UDP servers by hand, for the tests of kinds. Loopback only."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.monitors.kinds.servers import LOOPBACK

Peer = tuple[str, int]
Answerer = Callable[[socket.socket, bytes, Peer], object]


@contextmanager
def datagrams(answer: Answerer) -> Iterator[int]:
    """A UDP server that hands each datagram to ``answer``; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))
        server.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with suppress(TimeoutError, ConnectionRefusedError):  # the probe is free to go at any time
                    data, peer = server.recvfrom(65535)
                    answer(server, data, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stop.set()
            thread.join(5)


def mute(_server: socket.socket, _data: bytes, _peer: Peer) -> None:
    """Answer nothing."""


def echo(server: socket.socket, data: bytes, peer: Peer) -> None:
    """Send back what came."""
    server.sendto(data, peer)


def noise(server: socket.socket, _data: bytes, peer: Peer) -> None:
    """Answer with what is no message of any protocol."""
    server.sendto(b"\xffhello\0" * 5, peer)

"""Ports for the servers that tests start: each is given once, so that no two servers of a run get the same one.

The kernel's own choice (port 0) does not do: it is free again until the server listens, and servers in network
namespaces never take it from the namespace where it was asked for. These ports lie below the kernel's range for
clients (``net.ipv4.ip_local_port_range``), so that no connection takes one either.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

FIRST, COUNT = 12_000, 20_000
LOOPBACK: Final = "127.0.0.1"


def _candidates() -> Iterator[int]:
    begin = os.getpid() * 101  # runs beside each other begin at different places
    for number in range(COUNT):
        yield FIRST + (begin + number) % COUNT


_left: Final = _candidates()


def free_port() -> int:
    """A port that nobody on loopback has, neither of TCP nor of UDP, and that this run never gave before.

    Raises RuntimeError after 20,000 of them.
    """
    for port in _left:
        if _is_free(port):
            return port
    msg = "a run of the tests has 20,000 ports"
    raise RuntimeError(msg)


def _is_free(port: int) -> bool:
    with ExitStack() as opened:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                opened.enter_context(socket.socket(socket.AF_INET, kind)).bind((LOOPBACK, port))
            except OSError:
                return False
    return True

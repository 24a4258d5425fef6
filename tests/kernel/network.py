"""A link with a client, a director and three servers, each a network namespace on one bridge.

The servers hold both VIPs on their loopback and keep quiet about them, as real servers behind a director do.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from tests.kernel.bench import inside, run

VIP, VIP6 = "10.77.0.80", "fd77::80"
PORT = 8080
HOSTS = {"client": 100, "director": 10, "s1": 21, "s2": 22, "s3": 23}
SERVERS = ("s1", "s2", "s3")


def address(host: str, version: int = 4) -> str:
    return f"10.77.0.{HOSTS[host]}" if version == 4 else f"fd77::{HOSTS[host]}"


def mac(host: str) -> bytes:
    return b"\x02\x77\0\0\0" + bytes([HOSTS[host]])


@dataclass
class Network:
    """Names of the namespaces, and who has answered whom."""

    prefix: str
    seen: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SERVERS})

    def namespace(self, host: str) -> str:
        return f"{self.prefix}{host}"

    def ip(self, host: str, *command: str) -> str:
        return run("ip", "-n", self.namespace(host), *command)

    def ifindex(self, host: str) -> int:
        return int(self.ip(host, "-o", "link", "show", "eth0").split(":")[0])

    def socket(self, host: str, family: int, kind: int) -> socket.socket:
        """A socket in the host's namespace, where it stays."""
        with inside(self.namespace(host)):
            made = socket.socket(family, kind)
        made.settimeout(3)
        return made


@contextmanager
def network() -> Iterator[Network]:
    """Make it, with servers that answer; take everything down afterwards."""
    made = Network(f"hpn{os.getpid()}")
    with ExitStack() as stack:
        for host in ("bridge", *HOSTS):
            run("ip", "netns", "add", made.namespace(host))
            stack.callback(run, "ip", "netns", "del", made.namespace(host))
        made.ip("bridge", "link", "add", "br0", "up", "type", "bridge", "mcast_snooping", "0")
        for host in HOSTS:
            _connect(made, host)
        stop = threading.Event()
        threads = [thread for server in SERVERS for thread in _serve(made, server, stop)]
        try:
            yield made
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def _connect(made: Network, host: str) -> None:
    ends = ("link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", made.namespace(host))
    made.ip("bridge", *ends, "address", mac(host).hex(":"))
    made.ip("bridge", "link", "set", host, "master", "br0", "up")
    with inside(made.namespace(host)):
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
        # Duplicate address detection would keep servers from asking for the client during the first two seconds
        Path("/proc/sys/net/ipv6/conf/eth0/accept_dad").write_text("0")
        if host in SERVERS:
            Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("1")
            Path("/proc/sys/net/ipv4/conf/all/arp_announce").write_text("2")
    made.ip(host, "link", "set", "lo", "up")
    made.ip(host, "link", "set", "eth0", "up")
    made.ip(host, "addr", "add", f"{address(host)}/24", "dev", "eth0")
    made.ip(host, "addr", "add", f"{address(host, 6)}/64", "dev", "eth0", "nodad")
    if host in SERVERS:
        made.ip(host, "addr", "add", f"{VIP}/32", "dev", "lo")
        made.ip(host, "addr", "add", f"{VIP6}/128", "dev", "lo", "nodad")


def _serve(made: Network, server: str, stop: threading.Event) -> list[threading.Thread]:
    """TCP tells the server's name; UDP sends back what came. Both only on the VIPs."""
    threads = []
    for vip in (VIP, VIP6):
        family = socket.AF_INET if ip_address(vip).version == 4 else socket.AF_INET6
        listener = made.socket(server, family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((vip, PORT))
        listener.listen(64)
        echo = made.socket(server, family, socket.SOCK_DGRAM)
        echo.bind((vip, PORT))
        for target, opened in ((_answer_tcp, listener), (_answer_udp, echo)):
            opened.settimeout(0.1)
            threads.append(threading.Thread(target=target, args=(made, server, opened, stop), daemon=True))
    for thread in threads:
        thread.start()
    return threads


def _answer_tcp(made: Network, server: str, listener: socket.socket, stop: threading.Event) -> None:
    with listener:
        while not stop.is_set():
            try:
                connection, peer = listener.accept()
            except TimeoutError:
                continue
            with connection:
                made.seen[server].append(peer[0])
                connection.settimeout(3)
                connection.sendall(server.encode())


def _answer_udp(made: Network, server: str, echo: socket.socket, stop: threading.Event) -> None:
    with echo:
        while not stop.is_set():
            try:
                data, peer = echo.recvfrom(65536)
            except TimeoutError:
                continue
            echo.sendto(server.encode() + b" " + data, peer)


def ask_tcp(made: Network, host: str, target: str, port: int = PORT) -> str:
    """Name of the server that answered."""
    family = socket.AF_INET if ip_address(target).version == 4 else socket.AF_INET6
    with made.socket(host, family, socket.SOCK_STREAM) as client:
        client.connect((target, port))
        return client.recv(100).decode()


def ask_udp(made: Network, host: str, target: str, data: bytes, port: int = PORT) -> bytes:
    """What came back. The socket is connected, so that ICMP errors are heard."""
    family = socket.AF_INET if ip_address(target).version == 4 else socket.AF_INET6
    with made.socket(host, family, socket.SOCK_DGRAM) as client:
        client.connect((target, port))
        client.send(data)
        return client.recv(65536)

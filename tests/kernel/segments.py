"""Networks of any shape for tests: hosts as network namespaces, wires and switches between them, real servers on them.

:mod:`tests.kernel.network` has the one link that most tests need; this is for routers, VLANs and several directors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.desired import Configuration, Ping, ServiceConfig, VServerConfig, VServerOptions
from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.lab.netns import write_sysctls
from dataplane.reconcile import Reconciler, Round
from dataplane.tables import HashField, Reason
from tests.kernel.bench import ROOT, inside, run

HASH_KEY = bytes(range(16))
_SILENT = {"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"}
_EVERY_HOST = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # Duplicate address detection would keep hosts from asking for each other during the first seconds
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_dad": "0",
}
_ROUTER = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    # Every packet that is too big is answered, not one a second
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
}
_numbers = count()


def mac_of(host: str, interface: str = "eth0") -> bytes:
    """Locally administered, and the same on each run."""
    return b"\x02" + blake2b(f"{host} {interface}".encode(), digest_size=5).digest()


def _port(host: str, interface: str) -> str:
    """Of the switch; no longer than an interface's name with the number of a VLAN may be."""
    return f"{host[:6]}-{interface[-4:]}"


@dataclass
class Segments:
    """What was made so far. Everything goes when the block of :func:`segments` ends."""

    prefix: str
    stack: ExitStack
    hosts: list[str] = field(default_factory=list)

    def namespace(self, host: str) -> str:
        return f"{self.prefix}{host}"

    def ip(self, host: str, *command: str) -> str:
        return run("ip", "-n", self.namespace(host), *command)

    def add(self, *hosts: str, router: bool = False, vips: Sequence[str] = ()) -> None:
        """Hosts with loopback alone. With ``vips`` they are servers: they hold those and answer no ARP for them."""
        for host in hosts:
            run("ip", "netns", "add", self.namespace(host))
            self.stack.callback(run, "ip", "netns", "del", self.namespace(host))
            self.hosts.append(host)
            write_sysctls(self.namespace(host), _EVERY_HOST | (_ROUTER if router else {}) | (_SILENT if vips else {}))
            self.ip(host, "link", "set", "lo", "up")
            for vip in vips:
                self.address(host, "lo", f"{vip}/{32 if ip_address(vip).version == 4 else 128}")

    def switch(self, name: str, *bridges: str) -> None:
        """A switch in a namespace of its own, with bridges that have no link between them; without names one, br0."""
        self.add(name)
        for bridge in bridges or ("br0",):
            self.ip(name, "link", "add", bridge, "up", "type", "bridge", "mcast_snooping", "0")

    def plug(self, switch: str, host: str, interface: str, *addresses: str, bridge: str = "br0") -> None:
        """Connect a host."""
        port = _port(host, interface)
        self._pair(switch, port, host, interface)
        self.ip(switch, "link", "set", port, "master", bridge, "up")
        self._up(host, interface, addresses)

    def trunk(self, switch: str, host: str, interface: str, bridges: Mapping[int, str]) -> str:
        """Connect a host's interface to the bridges of several VLANs; returns the name of the switch's port."""
        port = _port(host, interface)
        self._pair(switch, port, host, interface)
        for one, end in ((host, interface), (switch, port)):
            self._up(one, end, ())
        for number, bridge in bridges.items():
            self.ip(switch, "link", "set", self.vlan(switch, port, number), "master", bridge)
        return port

    def wire(self, one: tuple[str, str], other: tuple[str, str], *addresses: tuple[str, ...]) -> None:
        """A cable between two (host, interface); the addresses of each."""
        self._pair(*one, *other)
        for (host, interface), own in zip((one, other), addresses, strict=True):
            self._up(host, interface, own)

    def _pair(self, host: str, interface: str, other: str, other_interface: str) -> None:
        peer = ("peer", "name", other_interface, "address", mac_of(other, other_interface).hex(":"))
        link = ("link", "add", interface, "address", mac_of(host, interface).hex(":"), "type", "veth")
        self.ip(host, *link, *peer, "netns", self.namespace(other))

    def vlan(self, host: str, trunk: str, number: int, *addresses: str) -> str:
        """The interface ``trunk.number``; returns its name. Made of eBPF if the kernel knows no VLANs."""
        name = f"{trunk}.{number}"
        real = ("link", "add", "link", trunk, "name", name, "type", "vlan", "id", str(number))
        if subprocess.run(["ip", "-n", self.namespace(host), *real], capture_output=True, check=False).returncode:
            self._made_vlan(host, trunk, number)
        self._up(host, name, addresses)
        return name

    def _made_vlan(self, host: str, trunk: str, number: int) -> None:
        upper = f"tag{number}"
        mac = json.loads(self.ip(host, "-json", "link", "show", trunk))[0]["address"]
        pair = ("link", "add", f"{trunk}.{number}", "address", mac, "type", "veth", "peer", "name", upper)
        self.ip(host, *pair)
        self.ip(host, "link", "set", upper, "up")
        indexes = [self.index(host, upper), self.index(host, trunk)]
        constants = [f"-D{name}={value}" for name, value in zip(("UPPER", "LOWER"), indexes, strict=True)]
        with TemporaryDirectory() as folder:
            compiled, source = f"{folder}/vlan.o", str(Path(__file__).with_name("vlan.bpf.c"))
            include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
            flags = ("-O2", "-g", "-target", "bpf", include, f"-DVID={number}", *constants)
            run("clang", *flags, "-c", source, "-o", compiled)
            for interface, program in ((trunk, "pop"), (upper, "push")):
                tc = ("tc", "-n", self.namespace(host))
                subprocess.run([*tc, "qdisc", "add", "dev", interface, "clsact"], capture_output=True, check=False)
                # Behind the forwarder, as VLAN interfaces are: one priority for each
                place = ("dev", interface, "ingress", "prio", str(1000 + number))
                run(*tc, "filter", "add", *place, "bpf", "da", "obj", compiled, "sec", f"tc/{program}")

    def index(self, host: str, interface: str) -> int:
        return int(json.loads(self.ip(host, "-json", "link", "show", interface))[0]["ifindex"])

    def _up(self, host: str, interface: str, addresses: Sequence[str]) -> None:
        self.ip(host, "link", "set", interface, "up")
        for address in addresses:
            self.address(host, interface, address)

    def address(self, host: str, interface: str, address: str) -> None:
        self.ip(host, "addr", "add", address, "dev", interface, *(("nodad",) if ":" in address else ()))

    def route(self, host: str, *route: str) -> None:
        """``route`` as for ip-route(8), of the family of its addresses."""
        self.ip(host, *(("-6",) if any(":" in word for word in route) else ()), "route", "add", *route)

    def start(self, host: str, *command: str) -> subprocess.Popen[bytes]:
        """A process of the host; it is ended with everything else."""
        done = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(host), *command], cwd=ROOT, stdin=subprocess.DEVNULL
        )

        def end() -> None:
            done.terminate()
            try:
                done.wait(5)
            except subprocess.TimeoutExpired:
                done.kill()
                done.wait(5)

        self.stack.callback(end)
        return done

    def serve_http(self, host: str, files: Path) -> None:
        """The lab's server, on port 80 of every address."""
        self.start(host, sys.executable, "-m", "dataplane.lab.server", "--name", host, "--files", str(files))

    def wait_for_listeners(self, host: str, *options: str, number: int) -> None:
        """Until so many sockets are found by ss(8)."""
        eventually(
            lambda: len(run("ip", "netns", "exec", self.namespace(host), "ss", "-Hn", *options).split("\n")) > number
        )


@contextmanager
def segments() -> Iterator[Segments]:
    """An empty network."""
    with ExitStack() as stack:
        yield Segments(f"hps{os.getpid()}-{next(_numbers)}-", stack)


def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Fails when the condition does not come true in time."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not within {seconds} s"
        time.sleep(0.02)


@dataclass
class Director:
    """A director's kernel and reconciler; it does nothing before :meth:`follow`."""

    net: Segments
    host: str
    pin_dir: Path
    kernel: Kernel
    reconciler: Reconciler

    def follow(self, configuration: Configuration) -> Round:
        """Rounds until there is nothing to do: the kernel has the tables, and VIPs were announced twice."""
        with inside(self.net.namespace(self.host)):
            for _ in range(5):
                done = self.reconciler.round(configuration)
                assert not done.error, done.error
                if not done.summary:
                    return done
        raise AssertionError(f"still something to do: {done.summary}")

    def leave(self) -> None:
        """Take the forwarder out of this director, as if it had died."""
        with inside(self.net.namespace(self.host)):
            remove_everything(self.pin_dir)

    def count(self, reason: Reason = Reason.FORWARDED) -> int:
        return self.kernel.maps.reasons()[reason].packets


@contextmanager
def director(
    net: Segments, host: str, object_file: Path, pin_dir: Path, interfaces: Collection[str] | None = None
) -> Iterator[Director]:
    """The forwarder loaded at ``host``, whose interfaces must be there; for those named, or for all."""
    with inside(net.namespace(host)):
        kernel = open_kernel(object_file, pin_dir, on_event=lambda: None)
    try:
        yield Director(
            net, host, pin_dir, kernel, Reconciler(kernel.maps, kernel.links, kernel.neighbours, interfaces, ())
        )
    finally:
        kernel.close()
        with inside(net.namespace(host)):
            remove_everything(pin_dir)


def configuration(*vservers: VServerConfig) -> Configuration:
    return Configuration(1, HASH_KEY, vservers, ())


def vserver(  # noqa: PLR0917 - as on the console's page
    row: int,
    vip: str,
    servers: Sequence[str],
    protocol: int = 0,
    port: int = 0,
    fields: HashField = HashField.SOURCE,
    options: VServerOptions = VServerOptions(ping=Ping.ANSWER),  # noqa: B008 - frozen
) -> VServerConfig:
    """A vserver over services on the servers' own addresses, all UP."""
    services = tuple(
        ServiceConfig(100 * row + number, f"s{row}-{number}", ip_address(text), 1, f"{text} {port}", True, "")
        for number, text in enumerate(servers, start=1)
    )
    address = ip_address(vip)
    full = ip_address(b"\xff" * len(address.packed))
    return VServerConfig(row, f"v{row}", address, protocol, port, fields, full, services, options)

"""The lab's network: a client, the director and the servers on one bridge, each in a network namespace.

The bridge has a namespace of its own as well, so the host's gets no interface, address or route.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR, write_sysctls

VIP4 = IPv4Address("10.77.0.10")
VIP6 = IPv6Address("fd77::10")
PREFIX4, PREFIX6 = 24, 64


@dataclass(frozen=True, slots=True)
class Node:
    """A machine on the bridge; a server also has the VIPs on its loopback interface."""

    name: str
    ipv4: IPv4Address
    ipv6: IPv6Address
    server: bool = False

    @property
    def mac(self) -> str:
        """MAC address of eth0: locally administered, with the IPv4 address in its last four bytes."""
        return "02:00:" + self.ipv4.packed.hex(":")


NODES = (
    Node("client", IPv4Address("10.77.0.1"), IPv6Address("fd77::1")),
    Node("director", IPv4Address("10.77.0.2"), IPv6Address("fd77::2")),
    Node("server1", IPv4Address("10.77.0.11"), IPv6Address("fd77::11"), server=True),
    Node("server2", IPv4Address("10.77.0.12"), IPv6Address("fd77::12"), server=True),
    Node("server3", IPv4Address("10.77.0.13"), IPv6Address("fd77::13"), server=True),
)

# A new namespace takes the host's IPv4 settings over; what the lab depends on is therefore set, not assumed.
# See Documentation/networking/ip-sysctl.rst of the kernel.
_BASE_SYSCTLS = {
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/arp_ignore": "0",
    "net/ipv4/conf/all/arp_announce": "0",
    "net/ipv4/ping_group_range": "0 2147483647",  # PING probes need no privilege
    "net/ipv4/ip_unprivileged_port_start": "0",  # nor do the servers, to listen on port 80
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}
# A server must take packets for the VIP but never claim it. For IPv4 that is arp_ignore=1 (answer only for addresses
# of the interface that was asked) and arp_announce=2 (never use the VIP as ARP sender). For IPv6 nothing is needed:
# the kernel answers a neighbour solicitation only for addresses of the interface that received it (ndisc_recv_ns).
_SERVER_SYSCTLS = {"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"}


def quietly(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a short command out of the terminal's reach: Ctrl-C, which ends the lab, must not end it half-way."""
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=30, check=False, start_new_session=True
    )


def ip(*arguments: str, batch: Sequence[str] = ()) -> str:
    """Run ip, with ``batch`` as the lines of a batch; return its output. Raises LabError with what ip said."""
    command = ["ip", *arguments, *(["-batch", "-"] if batch else [])]
    done = quietly(command, text="\n".join(batch))
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise LabError(f"The network could not be changed: `{' '.join(command)}` said: {reason}.")
    return done.stdout


class Topology:
    """Make and remove the namespaces; every name starts with ``prefix``, so that several can exist at once."""

    def __init__(self, prefix: str = "hp-", nodes: tuple[Node, ...] = NODES) -> None:
        self.prefix = prefix
        self.nodes = nodes
        self.switch = f"{prefix}switch"

    @property
    def servers(self) -> tuple[Node, ...]:
        """The nodes that serve the VIPs."""
        return tuple(node for node in self.nodes if node.server)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Names of all namespaces, the switch first: with it, every link goes."""
        return (self.switch, *(self.namespace(node.name) for node in self.nodes))

    def namespace(self, node: str) -> str:
        """Return the namespace of a node, by the node's name."""
        return f"{self.prefix}{node}"

    def existing(self) -> list[str]:
        """Return those of our names that are in use on this machine."""
        present = {entry.name for entry in NETNS_DIR.iterdir()} if NETNS_DIR.is_dir() else set()
        return [name for name in self.namespaces if name in present]

    def up(self) -> None:
        """Make everything; on failure nothing is left. Raises LabError, also when a name is taken."""
        if taken := self.existing():
            raise LabError(
                f"Network namespace {', '.join(taken)} exists already and was not made by this lab: "
                f"remove it with `ip netns delete {taken[0]}`."
            )
        made: list[str] = []
        try:
            for name in self.namespaces:
                ip("netns", "add", name)
                made.append(name)
            self._build_switch()
            for node in self.nodes:
                self._build_node(node)
        except BaseException:
            self.down(made)
            raise

    def down(self, names: Collection[str] | None = None) -> list[str]:
        """Remove the namespaces that exist (of ``names`` only, when given); return which were removed."""
        removed = [name for name in self.existing() if names is None or name in names]
        for name in removed:
            ip("netns", "delete", name)
        return removed

    def _build_switch(self) -> None:
        write_sysctls(self.switch, {"net/ipv6/conf/default/disable_ipv6": "1"})
        lines = ["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up"]
        for node in self.nodes:
            peer = f"peer name eth0 address {node.mac} netns {self.namespace(node.name)}"
            lines.append(f"link add {node.name} type veth {peer}")
            lines.append(f"link set {node.name} master br0 up")
        ip("-n", self.switch, batch=lines)

    def _build_node(self, node: Node) -> None:
        namespace = self.namespace(node.name)
        write_sysctls(namespace, _BASE_SYSCTLS | (_SERVER_SYSCTLS if node.server else {}))
        # The device was made before the defaults above were written, so it has its own copy of the old ones.
        device = {"net/ipv6/conf/eth0/accept_dad": "0", "net/ipv6/conf/eth0/accept_ra": "0"}
        write_sysctls(namespace, device | {"net/ipv4/conf/eth0/rp_filter": "0"})
        lines = ["link set lo up"]
        if node.server:
            lines += [f"address add {VIP4}/32 dev lo", f"address add {VIP6}/128 dev lo"]
        lines += [
            "link set eth0 up",
            f"address add {node.ipv4}/{PREFIX4} dev eth0",
            f"address add {node.ipv6}/{PREFIX6} dev eth0 nodad",
        ]
        ip("-n", namespace, batch=lines)

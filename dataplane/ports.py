"""What apply and the worker need of a kernel; dataplane/kernel has the real ones, tests/fakes.py the fakes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dataplane.forwarding import Forwarding, Wish
    from dataplane.steps import Step
    from dataplane.tables import Counters, IPAddress, Tables


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as the kernel has it now; ``mac`` is 6 bytes."""

    ifindex: int
    name: str
    mac: bytes
    up: bool
    addresses: tuple[IPv4Interface | IPv6Interface, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour entry; ``mac`` is None while unresolved, ``failed`` when the kernel gave up asking."""

    ifindex: int
    address: IPAddress
    mac: bytes | None
    failed: bool


class Maps(Protocol):
    """The forwarder's maps. Every method raises OSError when the kernel refuses."""

    def read(self) -> Tables:
        """All tables as the kernel holds them now."""

    def apply(self, step: Step) -> None:
        """Carry out one step; putting what is there and deleting what is absent succeed."""

    def put_rings(self, steps: Sequence[Step]) -> int:
        """Carry out these puts of rings, in their order and at best at once; how many, before one was refused.

        Raises no OSError: applying the next step tells why it was refused, or succeeds.
        """

    def counters(self) -> Counters:
        """Counters of every id in use, and of every reason."""

    def flows(self) -> dict[tuple[int, int], int]:
        """How many flows and persistent sources are remembered, by vserver's row and kernel id of the service."""

    def clear_counters(self, *, vservers: Collection[int] = (), services: Collection[int] = ()) -> None:
        """Set the counters of these kernel ids to zero (an id is given to a new object)."""


class Links(Protocol):
    """Interfaces and the forwarder's attachment to them."""

    def interfaces(self) -> tuple[Interface, ...]:
        """Every interface but loopback and the probe device."""

    def ensure_attached(self, ifindexes: Collection[int]) -> list[str]:
        """Attach the forwarder there (and nowhere else); return a line for each thing that had to be done."""

    def ensure_modes(self, ifindexes: Collection[int], wish: Wish) -> tuple[list[str], Mapping[int, Forwarding]]:
        """Have XDP forward on these interfaces (and no others) where it is wished and possible.

        A line for each thing that had to be done, and the mode of each interface.
        """

    def ensure_probe_device(self, routes: Collection[ProbeRoute]) -> Interface:
        """Make the probe device, its program and its routes if they are missing or differ."""

    def announce(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """Send a gratuitous ARP or an unsolicited neighbour advertisement for each address."""

    def ensure_solicited(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """Receive neighbour solicitations for exactly these IPv6 addresses on this interface."""


@dataclass(frozen=True, slots=True)
class ProbeRoute:
    """Probes to ``network`` (text, CIDR) leave with ``source`` as their address."""

    network: str
    source: IPAddress


class Neighbours(Protocol):
    """The neighbour table, kept fresh by the kernel for the addresses that are watched."""

    def watch(self, targets: Collection[tuple[int, IPAddress]]) -> None:
        """Have the kernel resolve and keep exactly these (ifindex, address) pairs."""

    def table(self) -> dict[tuple[int, IPAddress], Neighbour]:
        """Current entries of the watched pairs."""

"""What makes a machine a server of a VIP: commands to copy. The words are those of docs/concepts.md."""

from __future__ import annotations

from ipaddress import ip_address


def commands(vip: str) -> list[str]:
    """Commands for a root shell on Linux: the VIP on the loopback, and no answers to ARP for it.

    IPv6 needs none of the latter: Linux answers neighbour solicitations only for addresses of the interface that was
    asked (kernel: Documentation/networking/ip-sysctl).
    """
    if ip_address(vip).version == 6:
        return [f"ip -6 addr add {vip}/128 dev lo nodad"]
    return [
        "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        f"ip addr add {vip}/32 dev lo",
    ]


def look(vip: str) -> str:
    """The command that shows whether the VIP is there."""
    return f"ip addr show dev lo to {vip}"

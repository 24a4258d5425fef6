"""Rules that every address of a server or vserver obeys."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any

from django.conf import settings

from webui import known
from webui.models.fields import Problems

Address = IPv4Address | IPv6Address


def check_address(text: str, kind: str, problems: Problems) -> None:
    """Note under ``address`` what is wrong with that of a server or a vserver; ``text`` is a valid address."""
    address = ip_address(text)
    if reason := _never(address):
        problems.alone("address", f"{text} cannot be the address of a {kind}: {reason}.")
    else:
        problems["address"] += _taken(text, address)


def _taken(text: str, address: Address) -> list[str]:
    """Who has the address for something else, here and now."""
    name = "PROBE_NETWORK" if address.version == 4 else "PROBE_NETWORK6"
    network = getattr(settings, name)
    if address in network:
        return [f"{text} lies in {network}, which the health checks use; choose another, or set HALFPIPE_{name}."]
    return _director_problems(address)


def _never(address: Address) -> str:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return f"it is an IPv4 address in IPv6 clothes; write {address.ipv4_mapped}"
        if address.scope_id is not None:
            return "it has a zone; only addresses that mean the same everywhere can be used"
    kinds = [
        (address.is_unspecified, "it is unspecified"),
        (address.is_loopback, "it is a loopback address"),
        (address.is_multicast, "it is a multicast address"),
        (address.is_link_local, "it is link-local and means another machine on each segment"),
        (address == IPv4Address("255.255.255.255"), "it is the broadcast address"),
        (
            isinstance(address, IPv4Address) and int(address) >> 24 == 0,
            "0.0.0.0/8 stands for “this network” (RFC 1122)",
        ),
    ]
    return next((reason for applies, reason in kinds if applies), "")


def _director_problems(address: Address) -> list[str]:
    rows = known.current()
    for director, interfaces in _interfaces() if rows is None else rows.once("interfaces", _interfaces):
        for interface in interfaces:
            for cidr in interface.get("addresses", []):
                if problem := _against(address, director, interface, cidr):
                    return [problem]
    return []


def _interfaces() -> list[tuple[str, list[dict[str, Any]]]]:
    """The interfaces of each director, as it reported them."""
    from webui.models.dataplane import DataplaneStatus  # noqa: PLC0415 - it knows servers, which use these rules

    return list(DataplaneStatus.objects.values_list("director", "interfaces"))


def _against(address: Address, director: str, interface: dict[str, Any], cidr: str) -> str:
    own = ip_interface(cidr)
    where = f"{interface.get('name', 'an interface')} of director “{director}”"
    if own.ip == address:
        return f"{address} is the address of {where} itself, which would then take the packets."
    network = own.network
    is_edge = network.version == 4 and network.prefixlen < 31
    if is_edge and address in {network.network_address, network.broadcast_address}:
        return f"{address} is the network or broadcast address of {network} on {where}."
    return ""

"""Commands of a saved NetScaler configuration that have no counterpart here, by family, and why; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_VERBS: Final = (
    "add set unset rm bind unbind enable disable link unlink apply create update sync join rename import restore "
    "switch clear reset save renumber install"
)
VERBS: Final = frozenset(_VERBS.split())
_NETWORK: Final = "addresses, interfaces and routes are those of the operating system"
_USERS: Final = "accounts and roles of the console are made in the console"
_PROXY: Final = "it is about connections that end at the balancer; with direct server return they end at the server"
_CONTENT: Final = "it looks into the content, which direct server return cannot follow"
_LOGGING: Final = "logs are sent by event targets (add eventTarget)"
_OTHER: Final = "it is another part of NetScaler than load balancing"
_TUNING: Final = "it tunes NetScaler itself"
_GLOBAL_LB: Final = "it sets NetScaler's own load balancing in general; what matters is set for each object here"


def _each(why: str, words: str, under: str = "") -> dict[tuple[str, ...], str]:
    """The same reason for several words, all of them behind another one where there is one."""
    return {((under, word) if under else (word,)): why for word in words.split()}


# By the words behind the verb, in lower case; the longest that fits tells why.
FAMILIES: Final[dict[tuple[str, ...], str]] = {
    **_each(_TUNING, "ns feature"),
    **_each(_TUNING, "config tcpprofile httpprofile tcpparam httpparam timer diameter", "ns"),
    **_each(_NETWORK, "ip ip6 pbr pbr6 pbrs pbrs6 hostname trafficdomain arp nd6 rnat", "ns"),
    **_each("packets are filtered by the operating system", "acl acls acl6 acls6 simpleacl simpleacl6", "ns"),
    **_each("SYNs are limited for each virtual server (-synRate, -sourceSynRate)", "ratecontrol", "ns"),
    **_each("secrets are encrypted by the key of this installation", "encryptionparams", "ns"),
    **_each(_NETWORK, "interface channel vlan vrid vrid6 route route6 arp nd6 bridgetable bridgegroup vxlan"),
    **_each(_NETWORK, "ha cluster node rnat rnat6 inat netprofile ipset lacp nat64 nat"),
    **_each(_NETWORK, "iptunnel l2param l3param ipv6 ptp netbridge rsskeytype"),
    **_each(_NETWORK, "router ospf bgp rip vpath mapdomain mapbmr lsn"),
    **_each("SNMP of the machine is the operating system's; figures are at /metrics", "snmp"),
    **_each(_USERS, "system aaa authentication authorization tm"),
    **_each(_TUNING, "parameter backup", "system"),
    **_each(_PROXY, "ssl tcp"),
    **_each(_LOGGING, "audit appflow analytics"),
    **_each(_CONTENT, "responder rewrite policy cs cmp cache transform filter appfw appqoe spillover stringmap feo"),
    **_each(_CONTENT, "ci ica videooptimization urlfiltering bot contentinspection subscriber sc pq dos patset"),
    **_each(_OTHER, "vpn gslb adm dns dnsprofile ntp rdp smpp wi wf autoscale db"),
    **_each(_OTHER, "cloud callhome utility rise app nstrace cr kafkacluster mqtt"),
    **_each(_OTHER, "locationfile location locationparameter"),
    **_each(_GLOBAL_LB, "parameter sipparameters profile wlm group route route6", "lb"),
    **_each(_CONTENT, "action policy policylabel", "lb"),
    **_each("load figures are for the method CUSTOMLOAD, which is not available", "metrictable", "lb"),
}


def family(words: Sequence[str]) -> tuple[str, str] | None:
    """Name of the family that a command belongs to, and why it is ignored; None for what is no such command."""
    if len(words) < 2 or words[0].lower() not in VERBS:
        return None
    rest = tuple(word.lower() for word in words[1:])
    for size in (2, 1):
        if len(rest) >= size and rest[:size] in FAMILIES:
            return " ".join(rest[:size]), FAMILIES[rest[:size]]
    return None

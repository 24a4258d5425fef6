"""Commands of a saved NetScaler configuration that have no counterpart here, by family, and why; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

VERBS: Final = frozenset(
    "add set unset rm bind unbind enable disable link unlink apply create update sync join rename import restore "
    "switch clear reset save renumber install".split()
)
_NETWORK: Final = "addresses, interfaces and routes are those of the operating system"
_USERS: Final = "accounts and roles of the console are made in the console"
_PROXY: Final = "it is about connections that end at the balancer; with direct server return they end at the server"
_CONTENT: Final = "it looks into the content, which direct server return cannot follow"
_LOGGING: Final = "logs are sent by event targets (add eventTarget)"
_OTHER: Final = "it is another part of NetScaler than load balancing"
_TUNING: Final = "it tunes NetScaler itself"
_GLOBAL_LB: Final = "it sets NetScaler's own load balancing in general; what matters is set for each object here"

# By the words behind the verb, in lower case; the longest that fits tells why.
FAMILIES: Final[dict[tuple[str, ...], str]] = {
    **{("ns", word): _NETWORK for word in "ip ip6 pbr pbr6 pbrs pbrs6 hostname trafficdomain arp nd6 rnat".split()},
    **{("ns", word): _TUNING for word in "config tcpprofile httpprofile tcpparam httpparam timer diameter".split()},
    ("ns",): _TUNING,
    ("ns", "acl"): "packets are filtered by the operating system",
    ("ns", "acls"): "packets are filtered by the operating system",
    ("ns", "simpleacl"): "packets are filtered by the operating system",
    ("ns", "ratecontrol"): "SYNs are limited for each virtual server (-synRate, -sourceSynRate)",
    ("ns", "encryptionparams"): "secrets are encrypted by the key of this installation",
    **dict.fromkeys(
        ((w,) for w in "interface channel vlan vrid vrid6 route route6 arp nd6 bridgetable bridgegroup vxlan".split()),
        _NETWORK,
    ),
    **dict.fromkeys(
        ((w,) for w in "ha cluster node rnat rnat6 inat netprofile ipset lacp nat64 nat".split()), _NETWORK
    ),
    **dict.fromkeys(((w,) for w in "iptunnel l2param l3param ipv6 ptp netbridge rsskeytype".split()), _NETWORK),
    **dict.fromkeys(((w,) for w in "router ospf bgp rip vpath mapdomain mapbmr lsn".split()), _NETWORK),
    ("snmp",): "SNMP of the machine is the operating system's; figures are at /metrics",
    ("system",): _USERS,
    ("system", "parameter"): _TUNING,
    ("system", "backup"): _TUNING,
    ("aaa",): _USERS,
    ("authentication",): _USERS,
    ("authorization",): _USERS,
    ("tm",): _USERS,
    ("ssl",): _PROXY,
    ("tcp",): _PROXY,
    ("audit",): _LOGGING,
    ("appflow",): _LOGGING,
    ("analytics",): _LOGGING,
    **dict.fromkeys(
        (
            (w,)
            for w in "responder rewrite policy cs cmp cache transform filter appfw appqoe spillover stringmap feo "
            "ci ica videooptimization urlfiltering bot contentinspection subscriber sc pq dos patset".split()
        ),
        _CONTENT,
    ),
    **dict.fromkeys(((w,) for w in "vpn gslb adm dns dnsprofile ntp rdp smpp wi wf autoscale db".split()), _OTHER),
    **dict.fromkeys(((w,) for w in "cloud callhome utility rise app nstrace cr kafkacluster mqtt".split()), _OTHER),
    **{("lb", w): _GLOBAL_LB for w in "parameter sipparameters profile wlm group metrictable route route6".split()},
    ("lb", "action"): _CONTENT,
    ("lb", "policy"): _CONTENT,
    ("lb", "policylabel"): _CONTENT,
    ("lb", "metrictable"): "load figures are for the method CUSTOMLOAD, which is not available",
    ("locationfile",): _OTHER,
    ("location",): _OTHER,
    ("locationparameter",): _OTHER,
    ("feature",): _TUNING,
    ("server", "parameter"): _TUNING,
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

"""NetScaler options that are no fields here: which are refused, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

HTTP = "needs the balancer to read and change HTTP; with direct server return it sees the packets of one direction only"
PROXY = "belongs to a proxy; with direct server return the client's connection ends at the server, not here"
SESSION = "is not available in this version"
REPLIES = "needs the replies, which go from the server straight to the client"
LAYER2 = "does not exist here: the server's segment is reached directly"

# Spelled as on the NetScaler command line, in lower case without hyphens and underscores.
REFUSED: dict[str, str] = {
    "useproxyport": "the client's own source port reaches the server unchanged, since packets are not rewritten",
    "cip": "inserts an HTTP header with the client's address; the server sees that address anyway (use source IP)",
    "cipheader": "inserts an HTTP header with the client's address; the server sees that address anyway",
    "cka": PROXY,
    "tcpb": PROXY,
    "cmp": HTTP,
    "sp": PROXY,
    "sc": PROXY,
    "maxreq": HTTP,
    "maxclient": SESSION,
    "maxbandwidth": REPLIES,
    "clttimeout": SESSION,
    "svrtimeout": SESSION,
    "accessdown": "would bridge packets to a service that is DOWN; they go to a service that is UP instead",
    "customserverid": HTTP,
    "cacheable": HTTP,
    "cachetype": HTTP,
    "rtspsessionidremap": HTTP,
    "tcpprofilename": PROXY,
    "httpprofilename": HTTP,
    "dnsprofilename": PROXY,
    "netprofile": "checks leave from the director's own address",
    "iptunnel": "checks reach the server as its clients' packets do: by its MAC address",
    "tos": "checks reach the server as its clients' packets do: by its MAC address",
    "sslprofile": "what a TLS profile says is said by parameters here: server name (SNI), CA and days of the kind TLS",
    "dispatcherip": "programs are run by the worker itself, so there is no dispatcher",
    "dispatcherport": "programs are run by the worker itself, so there is no dispatcher",
    "kcdaccount": "Kerberos is not available for checks",
    "storedb": "database specific load balancing needs the content of requests",
    "processlocal": LAYER2,
    "redirecturl": HTTP,
    "redirurl": HTTP,
    "redirurlflags": HTTP,
    "redirectportrewrite": HTTP,
    "insertvserveripport": HTTP,
    "authentication": HTTP,
    "authn401": HTTP,
    "push": HTTP,
    "rule": HTTP,
    "hashlength": HTTP,
    "persistencebackup": SESSION,
    "sessionlimit": SESSION,
    "somethod": SESSION,
    "sothreshold": SESSION,
    "sopersistence": SESSION,
    "icmpvsrresponse": "is the field “ping” here, with AUTO, ANSWER, FORWARD and DROP",
    "healththreshold": "is not available in this version",
    "newservicerequest": "slow start is not available: a hash gives a service its share at once",
    "l2conn": SESSION,
    "range": "a vserver has one address here; make one for each",
    "macmoderetainvlan": "tagged frames are not taken in this version; attach the director to the VLAN's own interface",
    "trofspersistence": "new flows never go to a service on its way out; those that it has go on",
    "disableprimaryondown": "a primary takes its clients back as soon as it can",
    "sobackupaction": SESSION,
    "td": "traffic domains are not available",
    "tosid": "belongs to -m TOS; the redirection mode here is MAC",
    "gslb": "global server load balancing is not available",
}
# With these an option asks for what happens anyway, as in lines copied from a saved NetScaler configuration.
NEUTRAL = frozenset({"", "NO", "NONE", "DISABLED", "OFF", "FALSE", "0"})
# A service's time-outs give way to the vserver's, and response times are kept anyway: nothing to set, whatever is said.
WITHOUT_EFFECT = frozenset({"clttimeout", "svrtimeout", "lrtm", "dispatcherip", "dispatcherport"})


def refuse_proxy_options(options: Mapping[str, Any], kind: str = "service") -> None:
    """Raise ValidationError, keyed by option, for options that cannot be had; ``kind`` is what they were given to.

    Spelling, hyphens and underscores do not matter. Neutral values (NO, DISABLED, NONE, 0) pass, and so do options
    without effect: there is nothing to set.
    """
    problems: dict[str, str] = {}
    for option, value in options.items():
        word = squashed(option)
        if word not in REFUSED:
            problems[option] = f"“{option}” is not an option of a {kind}."
        elif word not in WITHOUT_EFFECT and not _is_neutral(value):
            problems[option] = f"“{option}” is refused: {REFUSED[word]}."
    if problems:
        raise ValidationError({name: ValidationError(text, code="invalid") for name, text in problems.items()})


def squashed(option: str) -> str:
    """An option's name without case, hyphens and underscores: ``-lbMethod`` and ``lb_method`` are the same."""
    return option.lower().replace("-", "").replace("_", "")


def _is_neutral(value: Any) -> bool:
    return value is None or value is False or str(value).strip().upper() in NEUTRAL

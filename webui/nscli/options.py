"""Options of each kind of object: which field each sets, and what becomes of NetScaler's others.

The tables are all there is: commands, completion, the saved configuration and the documentation follow from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitors.parameters import Parameter, plain
from monitors.registry import KINDS as MONITOR_KINDS
from webui.choices import (
    AdminState,
    ConnFailover,
    ForwardingMode,
    LbMethod,
    OnOff,
    Persistence,
    PingResponse,
    RedirectionMode,
    ServiceType,
    WhenDown,
)
from webui.events.kinds import KINDS as TARGET_KINDS
from webui.models.monitor import TIMES
from webui.nscli.grammar import Option
from webui.options import NEUTRAL, REFUSED, squashed

YES_NO: Final = ("YES", "NO")
ON_OFF: Final = tuple(OnOff.values)
STATES: Final = tuple(AdminState.values)
SERVICE_TYPES: Final = tuple(ServiceType.values)
MONITOR_TYPES: Final = tuple(MONITOR_KINDS)
TARGET_TYPES: Final = tuple(TARGET_KINDS)

COMMENT: Final = Option("comment", "comment", about="Text for people.")
STATE: Final = Option("state", "state", choices=STATES, about="DISABLED: out of service.")

SERVER: Final = (COMMENT, STATE)
SERVICE: Final = (
    Option("usip", "usip", choices=YES_NO, about="Use source IP; YES is what DSR needs."),
    Option("healthMonitor", "health_monitor", choices=YES_NO, about="NO: counts as UP at all times."),
    Option("monThreshold", "mon_threshold", about="Weights of UP monitors that make it UP; 0: all must be."),
    Option("hashId", "hash_id", about="Keeps its place in the hash when its address changes."),
    Option("downStateFlush", "down_state_flush", choices=ON_OFF, about="Flows move when it goes DOWN."),
    STATE,
    COMMENT,
)
# A group's members have hash IDs of their own.
SERVICE_GROUP: Final = tuple(one for one in SERVICE if one.field != "hash_id")
VSERVER: Final = (
    Option("lbMethod", "lb_method", choices=tuple(LbMethod.values), about="Who gets a new client."),
    Option("netmask", "netmask", about="IPv4 addresses that count as one for the hash."),
    Option("v6netmasklen", "v6_netmask_len", about="The same for IPv6, 1 to 128."),
    Option("m", "mode", choices=tuple(RedirectionMode.values), about="Redirection mode."),
    Option("sessionless", "sessionless", choices=ON_OFF, about="ENABLED: each packet alone decides."),
    Option("connfailover", "conn_failover", choices=tuple(ConnFailover.values)),
    Option("persistenceType", "persistence_type", choices=tuple(Persistence.values)),
    Option("timeout", "timeout", about="Of persistence, minutes."),
    Option("persistMask", "persist_mask", about="IPv4 clients that count as one."),
    Option("v6persistmasklen", "v6_persist_mask_len", about="The same for IPv6."),
    Option("cltTimeout", "clt_timeout", about="Seconds without a packet that end a flow; 0: 9000 for TCP, else 120."),
    Option("downStateFlush", "down_state_flush", choices=ON_OFF),
    Option("backupVServer", "backup_vserver", about="Virtual server that takes over; NONE for none."),
    Option("synRate", "syn_rate", about="New TCP connections a second; 0: no limit."),
    Option("synBurst", "syn_burst", about="How many may come at once; 0: as in a second."),
    Option("sourceSynRate", "source_syn_rate", about="The same for each source network."),
    Option("sourceSynBurst", "source_syn_burst"),
    Option("sourceSynMask", "source_syn_mask", about="IPv4 addresses that count as one source."),
    Option("v6sourceSynMaskLen", "v6_source_syn_mask_len", about="The same for IPv6."),
    Option("ping", "ping", choices=tuple(PingResponse.values), about="What becomes of a ping to the VIP."),
    Option("whenDown", "when_down", choices=tuple(WhenDown.values), about="Packets while no service is UP."),
    Option("failOpen", "fail_open", about="Per cent of services that, failing at once, stay in use; 0: never."),
    STATE,
    COMMENT,
)
MONITOR: Final = (
    Option("interval", "interval", unit=True, about="Time between checks, with SEC, MSEC or MIN."),
    Option("resptimeout", "resp_timeout", unit=True, about="Time to wait for an answer."),
    Option("resptimeoutThresh", "resp_timeout_thresh", about="Per cent of it that is noted as an alert."),
    Option(
        "retryInterval", "retry_interval", unit=True, about="Time between checks that confirm a change; 0: interval."
    ),
    Option("retries", "retries", about="Failed checks that make it DOWN."),
    Option("failureRetries", "failure_retries", about="Failures among the last retries that make it DOWN."),
    Option("successRetries", "success_retries", about="Successes in a row that make it UP."),
    Option("downTime", "down_time", unit=True, about="Time between checks while DOWN."),
    Option("alertRetries", "alert_retries", about="Failed checks that are noted as an alert."),
    Option("LRTM", "lrtm", choices=ON_OFF, about="Learn response times."),
    Option("deviation", "deviation", unit=True, about="Above the learned time that an answer may take."),
    Option("destIP", "dest_ip", about="The VIP, or nothing."),
    Option("destPort", "dest_port", about="0: the service's port."),
    Option("transparent", "transparent", choices=YES_NO, about="Without effect."),
    Option("secure", "secure", choices=YES_NO, about="Through TLS."),
    Option("reverse", "reverse", choices=YES_NO, about="Success makes it DOWN."),
    STATE,
)
UNIT_OPTIONS: Final = {name: option for name, (_label, _longest, option) in TIMES.items()}
UNITS: Final = tuple(
    Option(option, f"{of}_unit", choices=("SEC", "MSEC", "MIN")) for of, option in UNIT_OPTIONS.items()
)
TARGET: Final = (
    Option("transitions", "transitions", choices=YES_NO, about="Changes of state."),
    Option("alerts", "alerts", choices=YES_NO, about="Alerts of monitors."),
    Option("alarms", "alarms", choices=YES_NO, about="Checks that stall, fail-open."),
    Option("directorEvents", "director_events", choices=YES_NO, about="What directors notice."),
    Option("audit", "audit", choices=YES_NO, about="Entries of the audit."),
    Option("giveUpHours", "give_up_hours", about="An event that cannot be sent for so long is dropped."),
    STATE,
    COMMENT,
)
PARAM: Final = (
    Option("ttlRule", "ttl_rule", choices=ON_OFF, about="Drop packets whose TTL is used up."),
    Option("forwardingMode", "forwarding_mode", choices=tuple(ForwardingMode.values), about="tc or XDP."),
)
# Fields that arguments by position set.
BY_POSITION: Final = {
    "server": ("name", "address"),
    "service": ("name", "server", "service_type", "port"),
    "servicegroup": ("name", "service_type"),
    "vserver": ("name", "service_type", "address", "port", "port_end"),
    "monitor": ("name", "monitor_type"),
    "eventtarget": ("name", "target_type"),
    "installation": (),
}
OWN: Final[Mapping[str, tuple[Option, ...]]] = {
    "server": SERVER,
    "service": SERVICE,
    "servicegroup": SERVICE_GROUP,
    "vserver": VSERVER,
    "monitor": (*MONITOR, *UNITS),
    "eventtarget": TARGET,
    "installation": PARAM,
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """An option of NetScaler's that sets nothing here.

    ``passes`` are values that ask for what happens anyway; None: every value does. ``why`` is the rest of a sentence.
    """

    name: str
    why: str
    passes: frozenset[str] | None = None

    def takes(self, values: tuple[str, ...]) -> bool:
        """Whether the option can be left out without changing what was asked for."""
        return self.passes is None or all(value.upper() in self.passes | NEUTRAL for value in values)


def _foreign(why: str, *options: str) -> dict[str, Foreign]:
    """Options as “name” (any value passes) or “name=VALUE,VALUE” (these do, and NetScaler's words for no)."""
    found = {}
    for one in options:
        name, equals, values = one.partition("=")
        found[name.lower()] = Foreign(name, why, frozenset(values.upper().split(",")) if equals else None)
    return found


_NUMBERING = "is NetScaler's own numbering"
_COUNTED = "sets nothing here: what was forwarded is counted for every service, and logs of flows are not sent"
_ENDS = "would end connections at the balancer; with direct server return they end at the server"
_ANSWERS = "would need the balancer to see the content or the answers"
_OF_SERVICE: Final = (
    _foreign(_NUMBERING, "devno", "serverID", "riseApbrStatsMsgCode")
    | _foreign(_COUNTED, "appflowLog")
    | _foreign("has no effect in MAC mode: packets are not rewritten", "useproxyport")
    | _foreign("gives way to the virtual server's", "cltTimeout")
    | _foreign("has no effect: replies are not seen", "svrTimeout")
    | _foreign(_ENDS, "monConnectionClose=RESET,FIN", "pathMonitor=NO", "pathMonitorIndv=NO", "autoScale=DISABLED")
    | _foreign("traffic domains are not available", "td=0")
    | _foreign("sets nothing here: caches are not redirected to", "cacheType=SERVER", "contentInspectionProfileName=")
)
FOREIGN: Final[Mapping[str, Mapping[str, Foreign]]] = {
    "server": _foreign(_NUMBERING, "devno")
    | _foreign("traffic domains are not available", "td=0")
    | _foreign(
        "servers are known by their addresses, since a frame needs the MAC address of one machine",
        "domainResolveRetry=5",
        "IPv6Address=NO",
        "translationIp=0.0.0.0",
        "translationMask=0.0.0.0",
        "queryType=A,AAAA",
    ),
    "service": _OF_SERVICE,
    "servicegroup": _OF_SERVICE | _foreign(_NUMBERING, "order"),
    "vserver": _foreign(_NUMBERING, "devno", "order", "orderThreshold")
    | _foreign(_COUNTED, "appflowLog")
    | _foreign("is for methods that are refused here", "backupLBMethod", "hashLength", "dataLength", "dataOffset")
    | _foreign("a virtual server has one address here; make one for each", "range=1")
    | _foreign("traffic domains are not available", "td=0")
    | _foreign("the VIP is not advertised by routing protocols", "RHIstate=PASSIVE")
    | _foreign("is the option -ping here, with AUTO, ANSWER, FORWARD and DROP", "icmpVsrResponse=PASSIVE")
    | _foreign("which packets it takes follows from address, protocol and port", "Listenpolicy=NONE", "Listenpriority")
    | _foreign("new flows never go to a service on its way out; those that it has go on", "trofsPersistence=ENABLED")
    | _foreign("spillover is not available in this version", "soPersistenceTimeOut", "soPersistence=DISABLED")
    | _foreign("is for persistence that is refused here", "backupPersistenceTimeout", "cookieName", "resRule=NONE")
    | _foreign("slow start is not available", "newServiceRequestUnit", "newServiceRequestIncrementInterval=0")
    | _foreign("packets of one flow cannot be passed elsewhere", "skippersistency=NONE", "bypassAAAA=NO")
    | _foreign(_ANSWERS, "pushLabel=NONE", "pushMultiClients=NO", "pushVserver", "Authentication=OFF", "authn401=OFF")
    | _foreign(_ANSWERS, "AuthenticationHost", "mssqlServerVersion", "mysqlServerVersion", "mysqlProtocolVersion")
    | _foreign(_ANSWERS, "mysqlCharacterSet", "mysqlServerCapabilities", "recursionAvailable=NO", "dns64=DISABLED")
    | _foreign("patterns of addresses are not available", "IPPattern=0.0.0.0", "IPMask=*"),
    "monitor": _foreign(_NUMBERING, "devno")
    | _foreign("has no effect: each probe is an answer of its own", "maxForwards", "trofsCodeUnset")
    | _foreign("is for types of monitors that are not available", "storefrontcheckbackendservices=NO", "action"),
    "eventtarget": {},
    "installation": {},
}


def foreign(kind: str, key: str) -> Foreign | None:
    """What becomes of a NetScaler option that sets nothing; None when nothing is known of such an option."""
    found = FOREIGN[kind].get(key)
    if found is None and squashed(key) in REFUSED:
        found = Foreign(key, REFUSED[squashed(key)], frozenset())
    return found


def parameters(kind: str) -> dict[str, Parameter]:
    """Parameters of all kinds of monitors (or targets) by name in lower case without hyphens and underscores."""
    every: dict[str, dict[str, Any]] = {"monitor": {**MONITOR_KINDS}, "eventtarget": {**TARGET_KINDS}}
    kinds = every.get(kind, {})
    return {name: one for each in kinds.values() for name, one in each.by_plain_name.items()}


_PARAMETERS: Final = {kind: parameters(kind) for kind in OWN}
SECRETS: Final = frozenset(
    plain(name)
    for found in _PARAMETERS.values()
    for parameter in found.values()
    if parameter.secret
    for name in (parameter.name, parameter.option)
)
_MOST_VALUES: Final = 64
# Parameters of several values with commas between; NetScaler writes them one behind the other.
LISTS: Final = frozenset({"resp_code", "ip_address"})


def more(kind: str, key: str) -> Option | None:
    """The option of an object that is in no table of fields: a parameter, or one of NetScaler's."""
    parameter = _PARAMETERS[kind].get(plain(key))
    if parameter is not None:
        many = _MOST_VALUES if parameter.name in LISTS else 1
        return Option(parameter.option, parameter.name, most=many, secret=parameter.secret, choices=parameter.choices)
    found = foreign(kind, key)
    return None if found is None else Option(found.name, least=0, most=_MOST_VALUES)

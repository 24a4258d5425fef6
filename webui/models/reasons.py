"""What NetScaler offers and this product refuses, with the reason; the sentences go on after “is refused:”."""

from __future__ import annotations

_CONTENT = "the balancer sees the packets of one direction only and cannot follow the protocol; use {} instead"
_SERVICE_TYPES = {
    "TCP": "HTTP SSL SSL_BRIDGE SSL_TCP NNTP DNS_TCP ADNS_TCP RTSP SIP_TCP SIP_SSL RDP MYSQL MSSQL ORACLE DIAMETER "
    "SSL_DIAMETER SMPP SYSLOGTCP FIX SSL_FIX USER_TCP USER_SSL_TCP SSL_PUSH PUSH MQTT MQTT_TLS",
    "UDP": "DTLS DNS ADNS SNMP RPCSVR DHCPRA SIP_UDP RADIUS RADIUSLISTENER SYSLOGUDP QUIC QUIC_BRIDGE",
    "ANY": "PPTP GRE",
}
SERVICE_TYPES: dict[str, str] = {
    word: _CONTENT.format(instead) for instead, words in _SERVICE_TYPES.items() for word in words.split()
} | {
    "FTP": "its data connections use other ports, which must reach the same server; use ANY with port * instead",
    "TFTP": "its replies and further requests use other ports; use ANY with port * instead",
    "HTTP": _CONTENT.format("TCP") + ", or ANY",
}

_LAYER7 = "it looks into the content (layer 7), which direct server return cannot follow; use one of the hash methods"
METHODS: dict[str, str] = dict.fromkeys(
    (
        "URLHASH",
        "DOMAINHASH",
        "TOKEN",
        "CALLIDHASH",
        "USER_TOKEN",
        "AUDITLOGHASH",
        "STATICPROXIMITY",
        "LEASTREQUEST",
    ),
    _LAYER7,
) | {
    "LEASTRESPONSETIME": "the servers' replies go straight to the clients, so nobody here can time them; use LRTM",
    "LEASTPACKETS": "it is not available in this version; use LEASTBANDWIDTH",
    "CUSTOMLOAD": "it needs LOAD monitors, which are not available in this version; use LRTM",
}

MODES: dict[str, str] = {
    "IP": "it rewrites the destination to the server's address, and the server's replies would then have to come back "
    "through the balancer; use MAC",
    "IPTUNNEL": "tunnels to servers on other segments are not available in this version; use MAC",
    "TOS": "it marks the server in the type-of-service byte, which is not available in this version; use MAC",
}

_COOKIES = "COOKIEINSERT SSLSESSION RULE URLPASSIVE CUSTOMSERVERID CALLID RTSPSID DIAMETER FIXSESSION USERSESSION"
PERSISTENCES: dict[str, str] = dict.fromkeys(
    _COOKIES.split(),
    "it looks into the content (layer 7), which direct server return cannot follow; use SOURCEIP",
) | {
    "DESTIP": "it is not available in this version; the method DESTINATIONIPHASH keeps a destination on its server",
    "SRCIPDESTIP": "it is not available in this version; the method SRCIPDESTIPHASH keeps such pairs on their server",
}

FAILOVERS: dict[str, str] = {
    "STATEFUL": "it mirrors sessions between directors, and there are none; use STATELESS, which loses nothing",
}

PINGS: dict[str, str] = {
    "PASSIVE": "it answers for a VIP that nobody serves; use ANSWER, which answers while the VIP is served",
    "ACTIVE": "it is called ANSWER here",
}

# Kinds that exist are taken out of this table (see Monitor.reasons).
_OTHERS = (
    "UDP-ECV DNS DNS-TCP ARP ND6 RTSP SIP-UDP SIP-TCP RADIUS RADIUS_ACCOUNTING LDAP SNMP MYSQL MYSQL-ECV MSSQL-ECV "
    "ORACLE-ECV POSTGRESQL USER CITRIX-WI-EXTENDED DIAMETER SMPP"
)
MONITOR_TYPES: dict[str, str] = dict.fromkeys(
    _OTHERS.split(), "it is not available in this version; use TCP or TCP-ECV with a destination port"
) | {
    "HTTP-INLINE": "it watches replies, which go from the server straight to the client; use HTTP",
    "LOAD": "load figures are for the method CUSTOMLOAD, which is not available in this version; use TCP or PING",
}
